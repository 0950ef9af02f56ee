//! The sandbox of a build step.
//!
//! The step's program starts as `PROGRAM enter`, with a [`Sandbox`] in JSON on its standard input.
//! [`enter`] moves it into new user, mount, PID, network, IPC and UTS namespaces, makes a root
//! that holds the declared inputs (read-only), the program, an empty `/tmp`, three devices and one
//! writable folder, and starts the program anew there as process 1. When that ends, or this
//! process dies, the kernel ends whatever else lives in the PID namespace.
//!
//! The work is done in a process of its own because `unshare(CLONE_NEWUSER)` is refused to a
//! process with several threads. No privilege is needed where the kernel lets users make user
//! namespaces; root does without them.

mod mounts;
mod namespaces;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

/// Where the writable folder appears.
pub const BUILD_DIR: &str = "/build";
/// Where the program appears.
const PROGRAM: &str = "/program";
/// Longest description that is read: some thousand inputs.
const MAX_DESCRIPTION: u64 = 64 << 20;

/// What a build step may see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sandbox {
    /// An empty folder that the new root is mounted on; outside it stays empty.
    pub root: PathBuf,
    /// Appears as [`BUILD_DIR`], writable.
    pub build: PathBuf,
    pub inputs: Vec<Input>,
    /// Arguments of the program inside.
    pub arguments: Vec<String>,
    /// Its standard input.
    pub stdin: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Where it lies.
    pub from: PathBuf,
    /// Where it appears: an absolute path.
    pub to: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("cannot read the description of the sandbox: {0}")]
    Description(String),
    #[error(
        "this system lets no unprivileged process make a user namespace ({0})\n  help: run as root, or allow it: `sysctl kernel.unprivileged_userns_clone=1`, `sysctl kernel.apparmor_restrict_unprivileged_userns=0`, `sysctl user.max_user_namespaces=10000`, whichever this system has"
    )]
    Namespaces(nix::Error),
    #[error("cannot {what} for the sandbox, at {}: {source}", at.display())]
    Mount { what: &'static str, at: PathBuf, source: std::io::Error },
    #[error("cannot start the program inside the sandbox: {0}")]
    Start(std::io::Error),
}

impl SandboxError {
    fn at(what: &'static str, at: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let at = at.to_owned();
        move |source| Self::Mount { what, at, source }
    }
}

/// Reads a [`Sandbox`] from standard input, enters it and runs the calling program inside. Gives
/// the program's exit code; 70 when there was no sandbox to run it in.
pub fn enter() -> ExitCode {
    match read().and_then(|sandbox| run(&sandbox)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{}", serde_json::json!({ "error": format!("no sandbox: {error}") }));
            ExitCode::from(70)
        }
    }
}

/// Has the kernel kill the calling process when its parent dies. Both the process that enters the
/// sandbox and the program inside call it first.
pub fn die_with_parent() {
    // Refused only for a number that is no signal.
    let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
}

fn read() -> Result<Sandbox, SandboxError> {
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .take(MAX_DESCRIPTION)
        .read_to_string(&mut text)
        .map_err(|e| SandboxError::Description(e.to_string()))?;
    serde_json::from_str(&text).map_err(|e| SandboxError::Description(e.to_string()))
}

fn run(sandbox: &Sandbox) -> Result<ExitCode, SandboxError> {
    die_with_parent();
    let program = std::env::current_exe().map_err(SandboxError::Start)?;
    namespaces::unshare_all()?;
    mounts::build_root(sandbox, &program)?;
    namespaces::neutral_names();
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));

    let mut child = Command::new(PROGRAM)
        .args(&sandbox.arguments)
        .env_clear()
        .envs([
            ("HOME", "/nonexistent"),
            ("LC_ALL", "C"),
            ("PATH", "/nonexistent"),
            ("SOURCE_DATE_EPOCH", "0"),
            ("TMPDIR", "/tmp"),
            ("TZ", "UTC"),
        ])
        .current_dir(BUILD_DIR)
        .stdin(Stdio::piped())
        .spawn()
        .map_err(SandboxError::Start)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends before it has read all says so by its exit code.
        let _ = stdin.write_all(sandbox.stdin.as_bytes());
    }
    let status = child.wait().map_err(SandboxError::Start)?;
    Ok(status.code().and_then(|c| u8::try_from(c).ok()).map_or(ExitCode::from(71), ExitCode::from))
}
