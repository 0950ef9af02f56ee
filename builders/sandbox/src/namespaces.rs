//! New namespaces, with the caller as the one user inside.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid, sethostname};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, openat};

use crate::SandboxError;

/// Everything but users, processes and mounts.
const OTHERS: CloneFlags = CloneFlags::CLONE_NEWNET.union(CloneFlags::CLONE_NEWIPC).union(CloneFlags::CLONE_NEWUTS);
const MOUNTS: CloneFlags = CloneFlags::CLONE_NEWNS;
/// For the processes that the caller starts.
const PROCESSES: CloneFlags = CloneFlags::CLONE_NEWPID;

/// The caller's own directory in `/proc`. It stays usable when the root has changed.
pub struct OwnProcess(OwnedFd);

impl OwnProcess {
    pub fn open() -> Result<Self, SandboxError> {
        let path = Path::new("/proc/self");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty()).map(Self).map_err(|e| SandboxError::at("open", path)(e.into()))
    }

    fn write(&self, file: &str, text: &str) -> Result<(), SandboxError> {
        openat(&self.0, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(Into::into)
            .and_then(|file| File::from(file).write_all(text.as_bytes()))
            .map_err(SandboxError::at("map the user", &Path::new("/proc/self").join(file)))
    }
}

/// Moves the calling process into a user namespace and all others. It sees itself as this user and
/// group from then on.
pub fn unshare_all(process: &OwnProcess, inside_uid: u32, inside_gid: u32) -> Result<(), SandboxError> {
    unshare_user(process, OTHERS | MOUNTS | PROCESSES, inside_uid, inside_gid)
}

/// What root makes itself, so that it can prepare the mounts before it leaves root.
pub fn unshare_as_root() -> Result<(), SandboxError> {
    unshare(OTHERS | MOUNTS).map_err(SandboxError::Mounts)
}

/// The rest of [`unshare_as_root`]: the user namespace and what belongs to it.
pub fn unshare_rest(process: &OwnProcess, inside_id: u32) -> Result<(), SandboxError> {
    // Once more the mounts: only in those of the user namespace can a process of it mount.
    unshare_user(process, MOUNTS | PROCESSES, inside_id, inside_id)
}

/// The rest of [`unshare_as_root`] in a weak sandbox.
pub fn unshare_processes() -> Result<(), SandboxError> {
    unshare(PROCESSES).map_err(SandboxError::Mounts)
}

/// All but the user namespace, for the second sandbox in a weak one.
pub fn unshare_all_but_users() -> Result<(), SandboxError> {
    unshare(OTHERS | MOUNTS | PROCESSES).map_err(SandboxError::Mounts)
}

fn unshare_user(process: &OwnProcess, with: CloneFlags, uid: u32, gid: u32) -> Result<(), SandboxError> {
    let (outside_uid, outside_gid) = (geteuid(), getegid());
    unshare(with | CloneFlags::CLONE_NEWUSER).map_err(SandboxError::Users)?;
    process.write("setgroups", "deny")?;
    process.write("uid_map", &format!("{uid} {outside_uid} 1"))?;
    process.write("gid_map", &format!("{gid} {outside_gid} 1"))
}

/// Whether this system makes user namespaces for the caller. Ends up in one if so.
pub fn try_user_namespace() -> Result<(), SandboxError> {
    unshare(CloneFlags::CLONE_NEWUSER).map_err(SandboxError::Users)
}

/// The same host name in every sandbox.
pub fn neutral_names() {
    // A program that prints the host name would make two machines differ; none of ours does, so a
    // kernel that refuses is no reason to stop.
    let _ = sethostname("localhost");
}
