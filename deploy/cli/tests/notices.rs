//! `deploy notices` prints the licences of what it is made of, without a project or a store.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Stdio};

#[test]
fn the_program_carries_its_notices() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_deploy"));
    let output = command.arg("notices").current_dir(dir.path()).env_clear().output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), include_str!("../THIRD-PARTY-NOTICES"));

    // Its reader left.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let left = command.stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert!(left.status.success() && left.stderr.is_empty(), "{}", String::from_utf8_lossy(&left.stderr));
}
