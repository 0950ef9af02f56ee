//! The sandbox of a build step.
//!
//! The step's program starts as `PROGRAM enter`, with a [`Sandbox`] in JSON on its standard input.
//! [`enter`] moves it into new user, mount, PID, network, IPC and UTS namespaces, makes a root
//! that holds the declared inputs (read-only), the program, an empty `/tmp`, three devices and one
//! writable folder, and starts the program anew there as process 1. When that ends, exceeds its
//! time, or this process dies, the kernel ends whatever else lives in the PID namespace.
//!
//! Before the program starts, it gives up all that it does not need: every capability and the way to
//! new ones, the caller's session, keyring and descriptors, root's user number, and the system calls
//! in [`filter`]; [`limits`] bound what it may use.
//!
//! The work is done in a process of its own because `unshare(CLONE_NEWUSER)` is refused to a
//! process with several threads. No privilege is needed where the kernel lets users make user
//! namespaces. Where it does not, there is no sandbox, unless the caller is root and allows
//! a weak one: without a user namespace, with everything else.
//!
//! A step that runs a command of an image, as its user and with its root, opens a second sandbox
//! in this one: see [`image`].

mod child;
mod filter;
pub mod image;
mod kernel;
mod limits;
mod mounts;
mod namespaces;
mod privileges;

use std::io::Read;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

pub use child::last_bytes;

use crate::filter::Stage;
use crate::namespaces::OwnProcess;
use crate::privileges::UNUSED_ID;

/// Where the writable folder appears.
pub const BUILD_DIR: &str = "/build";
/// Where the program appears.
const PROGRAM: &str = "/program";
/// The user that a step's program sees itself as. It owns what it writes; outside that is the
/// caller, or an unused user if the caller is root.
const INSIDE_ID: u32 = 1000;
/// The exit code of a process that could not make a sandbox.
const NO_SANDBOX: u8 = 70;
/// The exit code after a step that took too long.
const TOOK_TOO_LONG: u8 = 72;
/// Longest description that is read: some thousand inputs.
const MAX_DESCRIPTION: u64 = 64 << 20;
/// Set for a program whose second sandbox is to be weak as well.
const WEAK: &str = "CAIRN_WEAK_SANDBOX";

/// What a build step may see and use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sandbox {
    /// An empty folder that the new root is mounted on; outside it stays empty.
    pub root: PathBuf,
    /// Appears as [`BUILD_DIR`], writable.
    pub build: PathBuf,
    pub inputs: Vec<Input>,
    /// The program opens a second sandbox, so it may still make namespaces and mounts.
    #[serde(default)]
    pub nested: bool,
    /// The system makes no user namespaces. Only for root.
    #[serde(default)]
    pub weak: bool,
    /// Milliseconds until the program is stopped.
    pub timeout: u64,
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
        "this system makes no user namespace for a build step ({0})\n  help: allow them, whichever this system has: `sysctl user.max_user_namespaces=10000`, `sysctl kernel.unprivileged_userns_clone=1` (Debian), `sysctl kernel.apparmor_restrict_unprivileged_userns=0` (Ubuntu); in Docker, the default seccomp profile forbids them: start the container with a profile that permits `unshare`, `mount` and `pivot_root`, or with `--security-opt seccomp=unconfined`; root can build in a weaker sandbox with `--allow-weak-sandbox`"
    )]
    Users(nix::Error),
    #[error(
        "this system makes no mount, PID and network namespaces for a build step ({0})\n  help: without user namespaces root needs CAP_SYS_ADMIN for them; in Docker: `--cap-add SYS_ADMIN --security-opt apparmor=unconfined`"
    )]
    Mounts(nix::Error),
    #[error(
        "this process cannot make a weak sandbox: it is not root, lacks capabilities of root, or user {UNUSED_ID} does not exist in its user namespace\n  help: allow user namespaces (`sysctl user.max_user_namespaces=10000`), or run as root"
    )]
    WeakNeedsRoot,
    #[error("cannot {what} for the sandbox, at {}: {source}", at.display())]
    Mount { what: &'static str, at: PathBuf, source: std::io::Error },
    #[error("cannot {what} before a build step starts: {source}")]
    Confine { what: &'static str, source: std::io::Error },
    #[error("cannot start {} inside the sandbox: {source}", program.display())]
    Start { program: PathBuf, source: std::io::Error },
    #[error("users other than root cannot run {}\n  help: a step does not run as root: `chmod 755 {}`", program.display(), program.display())]
    Unreadable { program: PathBuf },
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

    fn confine(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Confine { what, source }
    }
}

/// Reads a [`Sandbox`] from standard input, enters it and runs the calling program inside. Gives
/// the program's exit code; 70 when there was no sandbox to run it in, 72 when it took too long.
/// To be called first of all: it closes every descriptor but the standard three.
pub fn enter() -> ExitCode {
    let entered = begin().and_then(|()| read()).and_then(|sandbox| Ok((run(&sandbox)?, sandbox)));
    match entered {
        Ok((Some(status), _)) => exit_code(status),
        Ok((None, sandbox)) => {
            let limit = Duration::from_millis(sandbox.timeout);
            let error = format!(
                "the step did not end within {limit:?} and was stopped\n  help: `--step-timeout` or DEPLOY_STEP_TIMEOUT gives it more time"
            );
            eprintln!("{}", serde_json::json!({ "error": error }));
            ExitCode::from(TOOK_TOO_LONG)
        }
        Err(error) => {
            eprintln!("{}", serde_json::json!({ "error": format!("no sandbox: {error}") }));
            ExitCode::from(NO_SANDBOX)
        }
    }
}

/// Says by exit code 0 that user namespaces can be made here; otherwise why not.
pub fn probe() -> ExitCode {
    match namespaces::try_user_namespace() {
        Ok(()) => ExitCode::SUCCESS,
        Err(SandboxError::Users(errno)) => {
            eprintln!("{errno}");
            ExitCode::from(NO_SANDBOX)
        }
        Err(error) => {
            eprintln!("{error}");
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

/// Lets go of what the calling process has from its parents.
fn begin() -> Result<(), SandboxError> {
    kernel::close_inherited().map_err(SandboxError::confine("close inherited descriptors"))?;
    die_with_parent();
    // Refused to the leader of a process group, which has no terminal of another session to lose.
    let _ = nix::unistd::setsid();
    kernel::new_session_keyring();
    Ok(())
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

/// The program's end, or none when it took too long.
fn run(sandbox: &Sandbox) -> Result<Option<ExitStatus>, SandboxError> {
    let program = this_program()?;
    if is_root(sandbox)? {
        enter_as_root(sandbox, &program)?
    } else {
        enter_as_user(sandbox, &program)?
    }
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    limits::apply().map_err(|e| SandboxError::confine("set limits")(e.into()))?;
    if sandbox.nested {
        // The program's first lines give up the rest, when it has a /proc of its own.
        if !sandbox.weak {
            privileges::keep_mounting().map_err(SandboxError::confine("keep the right to mount"))?;
        }
    } else {
        let ids = sandbox.weak.then_some((UNUSED_ID, UNUSED_ID));
        privileges::drop_all(Stage::Program, ids).map_err(SandboxError::confine("give up privileges"))?;
    }
    let mut command = Command::new(PROGRAM);
    if sandbox.nested {
        command.arg("start-nested");
    }
    command.args(&sandbox.arguments).env_clear().envs([
        ("HOME", "/nonexistent"),
        ("LC_ALL", "C"),
        ("PATH", "/nonexistent"),
        ("SOURCE_DATE_EPOCH", "0"),
        ("TMPDIR", "/tmp"),
        ("TZ", "UTC"),
    ]);
    if sandbox.nested && sandbox.weak {
        command.env(WEAK, "1");
    }
    command.current_dir(BUILD_DIR);
    let limit = Duration::from_millis(sandbox.timeout);
    child::converse(command, &sandbox.stdin, Some(limit)).map_err(SandboxError::start(Path::new(PROGRAM)))
}

/// Whether to prepare the sandbox as root. The writable folder then belongs to the unused user.
fn is_root(sandbox: &Sandbox) -> Result<bool, SandboxError> {
    let has_all = privileges::has_those_of_root().map_err(SandboxError::confine("read the capabilities"))?;
    // Refused where the caller's own user namespace lacks that user, and by some file servers.
    Ok(has_all && chown(&sandbox.build, Some(UNUSED_ID), Some(UNUSED_ID)).is_ok())
}

/// Root makes the mounts and then leaves root, so that not even a step that breaks out of the user
/// namespace is root.
fn enter_as_root(sandbox: &Sandbox, program: &Path) -> Result<(), SandboxError> {
    let mode = program.metadata().map_err(SandboxError::start(program))?.permissions().mode();
    if mode & 0o005 != 0o005 {
        return Err(SandboxError::Unreadable { program: program.to_owned() });
    }
    let process = OwnProcess::open()?;
    namespaces::unshare_as_root()?;
    namespaces::neutral_names();
    mounts::build_root(sandbox, program)?;
    if sandbox.weak {
        return namespaces::unshare_processes();
    }
    privileges::leave_root().map_err(SandboxError::confine("leave root"))?;
    namespaces::unshare_rest(&process, INSIDE_ID)
}

fn enter_as_user(sandbox: &Sandbox, program: &Path) -> Result<(), SandboxError> {
    if sandbox.weak {
        return Err(SandboxError::WeakNeedsRoot);
    }
    namespaces::unshare_all(&OwnProcess::open()?, INSIDE_ID, INSIDE_ID)?;
    namespaces::neutral_names();
    mounts::build_root(sandbox, program)
}

/// The first process of a sandbox whose program opens a second one: mounts a `/proc` of its own
/// namespace, gives up its privileges, and becomes the program with these arguments.
pub fn start_nested(arguments: &[&str]) -> ExitCode {
    die_with_parent();
    mounts::own_processes(Path::new(mounts::PROC), true);
    // In a weak sandbox the second one is made by root; its command gives up everything itself.
    let confined = if is_weak() {
        privileges::forgo_new_ones(Stage::OpensSandbox)
    } else {
        privileges::drop_all(Stage::OpensSandbox, None)
    };
    let error = match confined {
        Ok(()) => SandboxError::start(Path::new(PROGRAM))(Command::new(PROGRAM).args(arguments).exec()),
        Err(source) => SandboxError::confine("give up privileges")(source),
    };
    eprintln!("{}", serde_json::json!({ "error": format!("no sandbox: {error}") }));
    ExitCode::from(NO_SANDBOX)
}

fn is_weak() -> bool {
    std::env::var_os(WEAK).is_some()
}

fn this_program() -> Result<PathBuf, SandboxError> {
    std::env::current_exe().map_err(SandboxError::start(Path::new("this program")))
}

fn exit_code(status: ExitStatus) -> ExitCode {
    status.code().and_then(|c| u8::try_from(c).ok()).map_or(ExitCode::from(71), ExitCode::from)
}
