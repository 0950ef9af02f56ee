//! A command of an image, with the image's root as `/` and as the image's user.
//!
//! The caller is a step in its own sandbox, or any other process. Two processes make way for the
//! command, both this program anew:
//!
//! * `PROGRAM enter-image` takes new namespaces. In the user namespace the one user is the
//!   image's; outside, that is still the step's, and nothing can be done that the step could not
//!   do. Files of the root seem to belong to that user; if root builds, to the user `nobody`.
//! * `PROGRAM start-in-image` is process 1 there, where a `/proc` can be mounted. It keeps two
//!   capabilities over its start to mount the root, gives everything up as a step's own program
//!   does, and becomes the command.
//!
//! The command sees the image read-only; empty folders that it may write to (`/run`, `/tmp`,
//! `/var/tmp`, `/dev/shm` and the volumes); its files below `/run`; `/etc/hosts`, a copy that it
//! may write to; four devices; a `/proc` of its own where the kernel allows it, else an empty one
//! (it does not where parts of this computer's own are hidden, as in some containers). Its network
//! has no interface; any address can be listened on, any port too, since the host's are not here.

mod mounts;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, PipeReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use serde::{Deserialize, Serialize};

use crate::filter::Stage;
use crate::namespaces::OwnProcess;
use crate::privileges::{self, UNUSED_ID};
use crate::{
    Input, NO_SANDBOX, SandboxError, WEAK, begin, child, die_with_parent, is_weak, namespaces, read, this_program,
};

/// A command of an image, and what it sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageCommand {
    /// An empty folder that the root is mounted on; outside the sandbox it stays empty.
    pub at: PathBuf,
    /// The image's root file system.
    pub root: PathBuf,
    /// Folders to show, read-only; each at a place below `/run`.
    pub inputs: Vec<Input>,
    /// Further empty folders below `/run`.
    pub folders: Vec<PathBuf>,
    /// Folders of the image that are empty and writable here.
    pub volumes: Vec<PathBuf>,
    pub uid: u32,
    pub gid: u32,
    /// Absolute path of the program, and arguments.
    pub command: Vec<String>,
    /// Nothing else is in the environment.
    pub environment: BTreeMap<String, String>,
    pub directory: PathBuf,
}

impl ImageCommand {
    /// Starts the command by way of this program. It reads nothing; what it writes, on either
    /// output, comes out of the pipe.
    pub fn spawn(&self) -> io::Result<(Child, PipeReader)> {
        let (said, pipe) = io::pipe()?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg("enter-image")
            .env_clear()
            .envs(std::env::var_os(WEAK).map(|value| (WEAK, value)))
            .stdin(Stdio::piped())
            .stdout(pipe.try_clone()?)
            .stderr(pipe)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // If it ends early, its own message says why.
            let _ = stdin.write_all(&serde_json::to_vec(self)?);
        }
        Ok((child, said))
    }
}

/// The first process: reads an [`ImageCommand`] from standard input and ends with the command's
/// exit code, or with 70 and a message when there was no sandbox.
pub fn enter() -> ExitCode {
    or_explain(begin().and_then(|()| read()).and_then(enter_namespaces))
}

/// The second process, which becomes the command.
pub fn start() -> ExitCode {
    or_explain(read().and_then(|command| become_command(&command)))
}

fn or_explain(result: Result<ExitCode, SandboxError>) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("no sandbox: {error}");
        ExitCode::from(NO_SANDBOX)
    })
}

fn enter_namespaces(mut image: ImageCommand) -> Result<ExitCode, SandboxError> {
    let program = this_program()?;
    if is_weak() {
        // Without a user namespace root is this computer's.
        if image.uid == 0 {
            image.uid = UNUSED_ID;
        }
        if image.gid == 0 {
            image.gid = UNUSED_ID;
        }
        namespaces::unshare_all_but_users()?;
    } else {
        namespaces::unshare_all(&OwnProcess::open()?, image.uid, image.gid)?;
        privileges::keep_mounting().map_err(SandboxError::confine("keep the right to mount"))?;
    }
    allow_every_address();
    let description = serde_json::to_string(&image).map_err(|e| SandboxError::Description(e.to_string()))?;
    let mut command = Command::new(&program);
    command.arg("start-in-image").env_clear();
    // The step has a limit for it.
    let status = child::converse(command, &description, None).map_err(SandboxError::start(&program))?;
    Ok(status.map_or(ExitCode::FAILURE, crate::exit_code))
}

/// A configuration names addresses of its host, which are not here, and ports that systemd opens.
fn allow_every_address() {
    for (setting, value) in
        [("ipv4/ip_unprivileged_port_start", "0"), ("ipv4/ip_nonlocal_bind", "1"), ("ipv6/ip_nonlocal_bind", "1")]
    {
        // Where /proc/sys cannot be written to, what wants such an address says so itself.
        let _ = fs::write(Path::new("/proc/sys/net").join(setting), value);
    }
}

fn become_command(image: &ImageCommand) -> Result<ExitCode, SandboxError> {
    die_with_parent();
    mounts::build_root(image)?;
    let (program, arguments) =
        image.command.split_first().ok_or_else(|| SandboxError::Description("there is no command".to_owned()))?;
    let start = |error: io::Error| SandboxError::start(Path::new(program))(error);
    // Without a user namespace this is still root.
    let ids = (nix::unistd::geteuid().as_raw() != image.uid).then_some((image.uid, image.gid));
    privileges::drop_all(Stage::Program, ids).map_err(SandboxError::confine("give up privileges"))?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(&image.environment).current_dir(&image.directory);
    Err(start(command.stdin(Stdio::null()).exec()))
}
