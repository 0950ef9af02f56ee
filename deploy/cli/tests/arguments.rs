//! What is wrong with arguments, which may be names of files that somebody else has chosen.
#![allow(clippy::unwrap_used)]

use std::process::Command;

const HOSTILE: &str = "x\x1b[2J\x1b]0;owned\x07\u{9b}31m\u{202e}";
const VISIBLE: &str = "x\\u{1b}[2J\\u{1b}]0;owned\\u{7}\\u{9b}31m\\u{202e}";

/// Its exit code, and both of its outputs.
fn deploy(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_deploy"));
    // As on a terminal.
    command.args(arguments).env("CLICOLOR_FORCE", "1").env_remove("DEPLOY_PROJECT").env_remove("DEPLOY_STORE");
    let output = command.output().unwrap();
    let shown = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    (output.status.code(), shown)
}

#[test]
fn wrong_arguments_are_shown_and_not_obeyed() {
    let value = format!("--lines={HOSTILE}");
    for (arguments, code) in [
        (vec![HOSTILE], 2),
        (vec!["switch", "--no-such", HOSTILE], 2),
        (vec!["logs", "api", &value], 2),
        (vec!["build", "images", "--project", HOSTILE], 1),
        (vec!["config", "show", "web", "--project", HOSTILE], 1),
    ] {
        let (ended, shown) = deploy(&arguments);
        assert_eq!(ended, Some(code), "{arguments:?}: {shown}");
        assert!(!shown.contains(['\x1b', '\x07', '\u{9b}', '\u{202e}']), "{arguments:?}: {shown:?}");
        assert!(shown.contains("error: "), "{shown}");
        if !arguments.contains(&"--no-such") {
            assert!(shown.contains(VISIBLE), "{arguments:?}: {shown}");
        }
    }
}

#[test]
fn help_and_version_are_results() {
    for arguments in [["--help"], ["--version"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_deploy")).args(arguments).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        assert!(output.stdout.starts_with(b"Reproducible images") || output.stdout.starts_with(b"deploy "));
    }
}
