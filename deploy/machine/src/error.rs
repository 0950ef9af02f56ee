//! What can go wrong, with what to do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub type Result<T, E = MachineError> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    #[error("local machines need root, for namespaces and mounts; run the command with sudo")]
    NotRoot,

    #[error("cannot run {program}: it is not installed. Install the Debian package {package}")]
    MissingTool { program: &'static str, package: &'static str },

    #[error("{command} failed with {status}:\n{stderr}")]
    Tool { command: String, status: String, stderr: String },

    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },

    #[error("{name:?} cannot be a machine's name; use 1 to 32 lower-case letters, digits and '-', a letter first")]
    Name { name: String },

    #[error("there is no machine {name:?} in {}; `deploy machine list` shows those that exist", state.display())]
    Unknown { name: String, state: PathBuf },

    #[error("the machine {name} is not running; start it with `deploy machine start {name}`")]
    NotRunning { name: String },

    #[error("there is no home directory to keep machines in; set XDG_STATE_HOME")]
    NoStateDir,

    #[error("{} was written by another version: {reason}. Remove the machine and start it again", path.display())]
    Record { path: PathBuf, reason: String },

    #[error("no free private network is left: 10.213.0.0/16 to 10.254.0.0/16 are all routed on this computer")]
    NoFreeNetwork,

    #[error("the network of the machines in {} is full; remove some", state.display())]
    NetworkFull { state: PathBuf },

    #[error("the machine {name} ended while it booted; its console said:\n{console}")]
    Died { name: String, console: String },

    #[error("the machine {name} did not answer on {address}:22 within {} s; its console said:\n{console}", waited.as_secs())]
    NoAnswer { name: String, address: std::net::Ipv4Addr, waited: Duration, console: String },

    #[error("{} is still mounted; something on this computer uses it (`fuser -vm {}` shows what)", path.display(), path.display())]
    StillMounted { path: PathBuf },

    #[error(
        "{} {found}, and a file of a machine is not changed through what the machine may have put there. \
         Restore it inside the machine, or remove the machine with `deploy machine remove`",
        path.display()
    )]
    Foreign { path: PathBuf, found: &'static str },

    #[error("processes of the machine {name} do not end: {pids:?}")]
    Unkillable { name: String, pids: Vec<u32> },
}

/// Names the file and what was tried with it.
pub(crate) fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> MachineError {
    move |source| MachineError::Io { action, path: path.to_owned(), source }
}
