//! The one place that starts a process.

use std::ffi::OsStr;
use std::process::{Command, Output, Stdio};

use crate::error::{AgentError, Result};

/// Runs a program to its end; its failure is an error.
pub fn run<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> Result<Output> {
    let output = output(program, arguments)?;
    if output.status.success() {
        return Ok(output);
    }
    Err(AgentError::Command {
        command: command_line(program, arguments),
        status: output.status.to_string(),
        stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

/// As [`run`], for programs whose failure says something.
pub fn output<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> Result<Output> {
    Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .env("SYSTEMD_COLORS", "0")
        .stdin(Stdio::null())
        .output()
        .map_err(|source| AgentError::Spawn { command: command_line(program, arguments), source })
}

/// For messages only.
fn command_line<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> String {
    let mut words = vec![program.to_owned()];
    words.extend(arguments.iter().map(|a| a.as_ref().to_string_lossy().into_owned()));
    words.join(" ")
}
