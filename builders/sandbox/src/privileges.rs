//! What a process gives up before it runs foreign code: capabilities, the way to get them back,
//! and, where the caller is root, root's user number.

use std::io;

use nix::unistd::{getppid, setgid, setgroups, setuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, configure_capability_in_ambient_set,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities, set_no_new_privs,
};

use crate::die_with_parent;
use crate::filter::{self, Stage};

/// The user and group that a step has outside when root builds. In the range that systemd reserves
/// as unused (<https://systemd.io/UIDS-GIDS/>), and below 65,536, so that containers map it.
pub const UNUSED_ID: u32 = 65_533;

/// What root needs to prepare a sandbox and to leave root. In a container it may lack some.
const OF_ROOT: [CapabilitySet; 7] = [
    CapabilitySet::SYS_ADMIN,
    CapabilitySet::SETPCAP,
    CapabilitySet::SETUID,
    CapabilitySet::SETGID,
    CapabilitySet::CHOWN,
    CapabilitySet::FOWNER,
    CapabilitySet::DAC_OVERRIDE,
];

/// What the first process of a sandbox needs for mounts and for giving up the rest.
const OF_MOUNTING: [CapabilitySet; 2] = [CapabilitySet::SYS_ADMIN, CapabilitySet::SETPCAP];

/// Whether the caller is root with all that root needs here.
pub fn has_those_of_root() -> io::Result<bool> {
    let effective = capabilities(None)?.effective;
    Ok(nix::unistd::geteuid().is_root() && OF_ROOT.iter().all(|needed| effective.contains(*needed)))
}

/// Becomes the unused user for good, but keeps the capabilities for what is left to prepare.
pub fn leave_root() -> io::Result<()> {
    let parent = getppid();
    set_keep_capabilities(true)?;
    become_user(UNUSED_ID, UNUSED_ID)?;
    let sets = capabilities(None)?;
    set_capabilities(None, CapabilitySets { effective: sets.permitted, ..sets })?;
    // Else the process's own files below /proc stay root's, and the map of users is one of them.
    nix::sys::prctl::set_dumpable(true)?;
    set_keep_capabilities(false)?;
    // A parent that died while no signal was armed left this process to another one.
    if getppid() != parent {
        return Err(io::Error::other("the process that started this one has ended"));
    }
    Ok(())
}

fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    setgroups(&[])?;
    setgid(gid.into())?;
    setuid(uid.into())?;
    // The kernel forgets it when the user changes.
    die_with_parent();
    Ok(())
}

/// Another program of a user that is not root has no capabilities, unless they are ambient.
pub fn keep_mounting() -> io::Result<()> {
    let mut sets = capabilities(None)?;
    for capability in OF_MOUNTING {
        sets.inheritable |= capability;
    }
    set_capabilities(None, sets)?;
    for capability in OF_MOUNTING {
        configure_capability_in_ambient_set(capability, true)?;
    }
    Ok(())
}

/// Gives up every capability in every set, and all ways to new ones. `become_ids` is for a process
/// that is still root.
pub fn drop_all(stage: Stage, become_ids: Option<(u32, u32)>) -> io::Result<()> {
    clear_ambient_capability_set()?;
    for number in 0..u64::BITS {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Ok(()) => {}
            // The kernel knows no further ones.
            Err(rustix::io::Errno::INVAL) if number > 0 => break,
            Err(error) => return Err(error.into()),
        }
    }
    if let Some((uid, gid)) = become_ids {
        become_user(uid, gid)?;
    }
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    forgo_new_ones(stage)
}

/// No program gives the process more than it has, and the filter is on. The builder of a weak
/// sandbox keeps its capabilities this way, for the second sandbox.
pub fn forgo_new_ones(stage: Stage) -> io::Result<()> {
    set_no_new_privs(true)?;
    filter::apply(stage)
}
