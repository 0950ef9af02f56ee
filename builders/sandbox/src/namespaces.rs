//! New namespaces, with the caller as the one user inside.

use std::fs;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid, sethostname};

use crate::SandboxError;

/// The user that the program sees itself as. It owns what it writes; outside that is the caller.
const INSIDE_ID: u32 = 1000;

pub fn unshare_all() -> Result<(), SandboxError> {
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
            map("uid_map", format!("{INSIDE_ID} {uid} 1"))?;
            map("gid_map", format!("{INSIDE_ID} {gid} 1"))
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
