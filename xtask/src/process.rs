//! The one place that runs other programs.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};

/// A program to run in the checkout, with the environment that our compilers and tests need.
pub struct Program {
    command: Command,
    shown: String,
    input: Option<File>,
}

/// Starts the description of a run.
pub fn program(name: impl AsRef<OsStr>) -> Program {
    let mut command = Command::new(name.as_ref());
    command.current_dir(crate::root());
    Program { command, shown: name.as_ref().to_string_lossy().into_owned(), input: None }
}

/// The same cargo that runs this task.
pub fn cargo() -> Program {
    let mut cargo = program(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    cargo.shown = "cargo".to_owned();
    // Variables of the outer cargo would make the inner one rebuild what depends on them.
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("CARGO_PKG_")
            || name_text.starts_with("CARGO_MANIFEST_")
            || name_text == "CARGO_CRATE_NAME"
        {
            cargo.command.env_remove(name);
        }
    }
    cargo.env("CARGO_BUILD_TARGET", crate::build::TARGET)
}

impl Program {
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        for argument in arguments {
            self.shown.push(' ');
            self.shown.push_str(&argument.as_ref().to_string_lossy());
            self.command.arg(argument);
        }
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// What it reads; nothing, if this is not said.
    pub fn input(mut self, file: File) -> Self {
        self.input = Some(file);
        self
    }

    /// Starts it silently.
    pub fn spawn(mut self) -> Result<Child> {
        self.command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.command.spawn().with_context(|| format!("cannot start `{}`", self.shown))
    }

    /// Runs it with our own output; an exit code other than 0 is an error.
    pub fn run(mut self) -> Result<()> {
        eprintln!("+ {}", self.shown);
        let status = self.command.status().with_context(|| format!("cannot start `{}`", self.shown))?;
        if !status.success() {
            bail!("`{}` failed with {status}", self.shown);
        }
        Ok(())
    }

    /// Runs it with both of its outputs in a file; its exit code is for the caller to judge.
    pub fn run_logged(mut self, log: File) -> Result<ExitStatus> {
        let other = log.try_clone().context("cannot share the log")?;
        self.command.stdin(Stdio::null()).stdout(other).stderr(log);
        self.command.status().with_context(|| format!("cannot start `{}`", self.shown))
    }

    /// As [`Self::run`], with all its output on standard error: ours is for somebody's `eval`.
    pub fn run_aside(mut self) -> Result<()> {
        self.command.stdout(std::io::stderr());
        self.run()
    }

    /// Runs it silently and gives what it printed; an exit code other than 0 is an error that
    /// shows what it wrote to its standard error.
    pub fn output(mut self) -> Result<String> {
        self.command.stdin(self.input.map_or_else(Stdio::null, Stdio::from));
        let output = self.command.output().with_context(|| format!("cannot start `{}`", self.shown))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("`{}` failed with {}\n{}", self.shown, output.status, said.trim_end());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// Whether it can be started and ends well, silently.
    pub fn succeeds(mut self) -> bool {
        self.command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }
}

/// Whether a program of this name is on the search path; or there, if it is an absolute path.
pub fn is_installed(name: &str) -> bool {
    if name.starts_with('/') {
        return Path::new(name).is_file();
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(std::path::PathBuf::from);
    std::env::split_paths(&paths).chain(system).any(|dir| dir.join(name).is_file())
}
