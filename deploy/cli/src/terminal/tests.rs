#![allow(clippy::unwrap_used)]
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::*;

const HOSTILE: &str = "a\x1b[2J\x1b]52;c;aGk=\x07\u{9b}2J\x7f\u{202e}b\u{2066}\u{200b}\r\u{2028}c";

/// What each way out prints of a text that nobody should print.
#[test]
fn whatever_is_printed_is_printable() {
    let visible = "a\\u{1b}[2J\\u{1b}]52;c;aGk=\\u{7}\\u{9b}2J\\u{7f}\\u{202e}b\\u{2066}\\u{200b}\\r\\u{2028}c";
    let shown = capture::of(|| {
        say(HOSTILE);
        assert!(result(HOSTILE).unwrap());
        prompt(HOSTILE);
        Log.write_all(HOSTILE.as_bytes()).unwrap();
        Bar::alone().keep(HOSTILE);
        Bars::default().aside(|| say(HOSTILE));
    });
    assert_eq!(shown, format!("{visible}\n{visible}\n{visible}{visible}{visible}\n{visible}\n"));
    let bar = Bars::default().add(HOSTILE);
    bar.set(&format!("{HOSTILE}\nx"));
    assert_eq!(bar.drawn(), format!("{visible} {visible}\\nx"));
}

#[test]
fn json_means_the_same_to_a_program() {
    let value = json!({ HOSTILE: [HOSTILE, "\u{e0001}", "ä", "\n"] });
    let shown = capture::of(|| assert!(json(&value).unwrap()));
    assert!(shown.trim_end().chars().all(|c| !printable::is_harmful(c)), "{shown:?}");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
}

/// The sources of this crate but those of this module, without their tests and comments.
fn sources(dir: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "terminal" {
            sources(&path, found);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
            let code = code.lines().filter(|line| !line.trim_start().starts_with("//"));
            found.push((path.clone(), code.collect::<Vec<_>>().join("\n")));
        }
    }
}

#[test]
fn nothing_else_in_this_crate_writes_to_a_terminal() {
    let mut found = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.len() > 40, "{} files: the sources are elsewhere", found.len());
    for (file, code) in found {
        for way in [
            "print!(",
            "println!(",
            "dbg!(",
            "stdout()",
            "stderr()",
            "indicatif",
            "/dev/tty",
            "/dev/std",
            "\\x1b",
            "\\u{1b}",
            "\\033",
            "console::",
        ] {
            assert!(
                !code.contains(way),
                "{} uses `{way}`: print through crate::terminal, which makes foreign text printable",
                file.display()
            );
        }
    }
}
