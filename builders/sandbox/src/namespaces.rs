//! New namespaces, with the caller as the one user inside.

use std::fs;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid, sethostname};

use crate::SandboxError;

/// Moves the calling process. It sees itself as this user and group from then on, unless it is
/// root on a system without user namespaces.
pub fn unshare_all(inside_uid: u32, inside_gid: u32) -> Result<(), SandboxError> {
    let others = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    let (uid, gid) = (geteuid(), getegid());
    match unshare(others | CloneFlags::CLONE_NEWUSER) {
        Ok(()) => {
            let map = |file: &str, text: String| {
                fs::write(format!("/proc/self/{file}"), text)
                    .map_err(|e| SandboxError::Namespaces(Errno::from_raw(e.raw_os_error().unwrap_or(0))))
            };
            map("setgroups", "deny".to_owned())?;
            map("uid_map", format!("{inside_uid} {uid} 1"))?;
            map("gid_map", format!("{inside_gid} {gid} 1"))
        }
        // Some systems forbid user namespaces altogether; root needs none for the others.
        Err(Errno::EPERM | Errno::ENOSPC | Errno::EINVAL) if uid.is_root() => {
            unshare(others).map_err(SandboxError::Namespaces)
        }
        Err(error) => Err(SandboxError::Namespaces(error)),
    }
}

/// The same host name in every sandbox.
pub fn neutral_names() {
    // A program that prints the host name would make two machines differ; none of ours does, so a
    // kernel that refuses is no reason to stop.
    let _ = sethostname("localhost");
}
