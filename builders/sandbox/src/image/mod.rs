//! A command of an image, with the image's root as `/` and as the image's user.
//!
//! The caller is a step in its own sandbox, or any other process. Two processes make way for the
//! command, both this program anew:
//!
//! * `PROGRAM enter-image` takes new namespaces. In the user namespace the one user is the
//!   image's; outside, that is still whoever builds, so everything in the root seems to belong to
//!   that user, and nothing can be done that the builder could not do.
//! * `PROGRAM start-in-image` is process 1 there, where a `/proc` can be mounted. It keeps one
//!   capability over its start to mount the root, gives it up and becomes the command.
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

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, configure_capability_in_ambient_set,
    set_capabilities, set_no_new_privs,
};
use serde::{Deserialize, Serialize};

use crate::{Input, NO_SANDBOX, SandboxError, die_with_parent, namespaces, read, this_program};

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
    or_explain(read().and_then(|command| enter_namespaces(&command)))
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

fn enter_namespaces(image: &ImageCommand) -> Result<ExitCode, SandboxError> {
    die_with_parent();
    let program = this_program()?;
    let description = serde_json::to_string(image).map_err(|e| SandboxError::Description(e.to_string()))?;
    namespaces::unshare_all(image.uid, image.gid)?;
    allow_every_address();
    keep_mounting().map_err(|e| SandboxError::start(&program)(e.into()))?;
    let mut command = Command::new(&program);
    command.arg("start-in-image").env_clear();
    crate::converse(command, &description).map_err(SandboxError::start(&program))
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

/// Another program of a user that is not root has no capabilities, unless they are ambient.
fn keep_mounting() -> rustix::io::Result<()> {
    let mut sets = capabilities(None)?;
    sets.inheritable |= CapabilitySet::SYS_ADMIN;
    set_capabilities(None, sets)?;
    configure_capability_in_ambient_set(CapabilitySet::SYS_ADMIN, true)
}

fn become_command(image: &ImageCommand) -> Result<ExitCode, SandboxError> {
    die_with_parent();
    mounts::build_root(image)?;
    let (program, arguments) =
        image.command.split_first().ok_or_else(|| SandboxError::Description("there is no command".to_owned()))?;
    let start = |error: io::Error| SandboxError::start(Path::new(program))(error);
    give_up_rights(image).map_err(start)?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(&image.environment).current_dir(&image.directory);
    Err(start(command.stdin(Stdio::null()).exec()))
}

fn give_up_rights(image: &ImageCommand) -> io::Result<()> {
    clear_ambient_capability_set()?;
    let sets = capabilities(None)?;
    set_capabilities(None, CapabilitySets { inheritable: CapabilitySet::empty(), ..sets })?;
    set_no_new_privs(true)?;
    // Without a user namespace this is still the real root.
    if nix::unistd::geteuid().as_raw() != image.uid {
        nix::unistd::setgroups(&[])?;
        nix::unistd::setgid(image.gid.into())?;
        nix::unistd::setuid(image.uid.into())?;
        // The kernel forgets it when the user changes.
        die_with_parent();
    }
    Ok(())
}
