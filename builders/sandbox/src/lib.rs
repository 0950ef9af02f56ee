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
//!
//! A step that runs a command of an image, as its user and with its root, opens a second sandbox
//! in this one: see [`image`].

pub mod image;
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
/// The user that a step's program sees itself as. It owns what it writes; outside that is the caller.
const INSIDE_ID: u32 = 1000;
/// The exit code of who could not make a sandbox.
const NO_SANDBOX: u8 = 70;
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
    /// This computer's `/proc` is in it, too: who cannot see one may not mount another.
    #[serde(default)]
    pub proc: bool,
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
    #[error("cannot start {} inside the sandbox: {source}", program.display())]
    Start { program: PathBuf, source: std::io::Error },
}

impl SandboxError {
    fn at(what: &'static str, at: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let at = at.to_owned();
        move |source| Self::Mount { what, at, source }
    }

    fn start(program: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let program = program.to_owned();
        move |source| Self::Start { program, source }
    }
}

/// Reads a [`Sandbox`] from standard input, enters it and runs the calling program inside. Gives
/// the program's exit code; 70 when there was no sandbox to run it in.
pub fn enter() -> ExitCode {
    match read().and_then(|sandbox| run(&sandbox)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{}", serde_json::json!({ "error": format!("no sandbox: {error}") }));
            ExitCode::from(NO_SANDBOX)
        }
    }
}

/// Has the kernel kill the calling process when its parent dies. Both the process that enters the
/// sandbox and the program inside call it first.
pub fn die_with_parent() {
    // Refused only for a number that is no signal.
    let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
}

fn read<T: serde::de::DeserializeOwned>() -> Result<T, SandboxError> {
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
    let program = this_program()?;
    namespaces::unshare_all(INSIDE_ID, INSIDE_ID)?;
    mounts::build_root(sandbox, &program)?;
    namespaces::neutral_names();
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let mut command = Command::new(PROGRAM);
    command
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
        .current_dir(BUILD_DIR);
    converse(command, &sandbox.stdin).map_err(SandboxError::start(Path::new(PROGRAM)))
}

fn this_program() -> Result<PathBuf, SandboxError> {
    std::env::current_exe().map_err(SandboxError::start(Path::new("this program")))
}

/// Runs a command to its end with this on its standard input; gives its exit code.
fn converse(mut command: Command, stdin: &str) -> std::io::Result<ExitCode> {
    let mut child = command.stdin(Stdio::piped()).spawn()?;
    if let Some(mut pipe) = child.stdin.take() {
        // A program that ends before it has read all says so by its exit code.
        let _ = pipe.write_all(stdin.as_bytes());
    }
    let status = child.wait()?;
    Ok(status.code().and_then(|c| u8::try_from(c).ok()).map_or(ExitCode::from(71), ExitCode::from))
}
