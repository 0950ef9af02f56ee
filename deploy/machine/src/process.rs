//! The one place that runs another program and waits for it.

use std::ffi::OsStr;
use std::io;
use std::process::{Command, Stdio};

use crate::{MachineError, Result};

/// The programs that we use and the Debian packages that bring them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    Cp,
    Ip,
    Mmdebstrap,
    Nspawn,
    Setsid,
    SshKeygen,
}

impl Tool {
    pub const fn program(self) -> &'static str {
        match self {
            Self::Cp => "cp",
            Self::Ip => "ip",
            Self::Mmdebstrap => "mmdebstrap",
            Self::Nspawn => "systemd-nspawn",
            Self::Setsid => "setsid",
            Self::SshKeygen => "ssh-keygen",
        }
    }

    const fn package(self) -> &'static str {
        match self {
            Self::Cp => "coreutils",
            Self::Ip => "iproute2",
            Self::Mmdebstrap => "mmdebstrap",
            Self::Nspawn => "systemd-container",
            Self::Setsid => "util-linux",
            Self::SshKeygen => "openssh-client",
        }
    }

    pub const fn missing(self) -> MachineError {
        MachineError::MissingTool { program: self.program(), package: self.package() }
    }

    /// Says what is missing before anything is changed.
    pub fn require(self) -> Result<()> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).any(|dir| dir.join(self.program()).is_file());
        if found { Ok(()) } else { Err(self.missing()) }
    }
}

/// Runs a program to its end and gives its standard output; an exit status but 0 is an error with
/// what it said on standard error.
pub(crate) fn run<S: AsRef<OsStr>>(tool: Tool, args: &[S]) -> Result<String> {
    let output = Command::new(tool.program()).args(args).stdin(Stdio::null()).output().map_err(|e| spawn(tool, e))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = args.iter().map(|arg| arg.as_ref().to_string_lossy().into_owned());
    Err(MachineError::Tool {
        command: std::iter::once(tool.program().to_owned()).chain(words).collect::<Vec<_>>().join(" "),
        status: output.status.to_string(),
        stderr: last_lines(&String::from_utf8_lossy(&output.stderr), 20),
    })
}

pub(crate) fn spawn(tool: Tool, error: io::Error) -> MachineError {
    if error.kind() == io::ErrorKind::NotFound {
        return tool.missing();
    }
    MachineError::Io { action: "run", path: tool.program().into(), source: error }
}

pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_failing_program_is_quoted_with_its_own_words() {
        let error = run(Tool::Cp, &["/does/not/exist", "/dev/null"]).unwrap_err().to_string();
        assert!(error.starts_with("cp /does/not/exist /dev/null failed with exit status: 1"), "{error}");
        assert!(error.contains("No such file"), "{error}");
    }

    #[test]
    fn the_last_lines_that_say_something() {
        assert_eq!(last_lines("a\n\nb\n \nc\n", 2), "b\nc");
        assert_eq!(last_lines("", 2), "");
    }
}
