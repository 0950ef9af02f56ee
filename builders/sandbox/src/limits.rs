//! Limits on what one step may use of the computer.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Larger than any image; a file that grows without an end stops here, not at the end of the disk.
const FILE_BYTES: u64 = 64 << 30;
/// Redis wants ten thousand.
const OPEN_FILES: u64 = 65_536;
/// Of the step's user. Kernels before 5.14 count all of the user's processes on this computer.
const PROCESSES: u64 = 8192;

/// Address space is not limited: Java and Python reserve far more than they use.
const LIMITS: [(Resource, u64); 4] =
    [(Resource::Core, 0), (Resource::Fsize, FILE_BYTES), (Resource::Nofile, OPEN_FILES), (Resource::Nproc, PROCESSES)];

/// Lowers the limits of the calling process and all that it starts. A limit that is lower already
/// stays.
pub fn apply() -> rustix::io::Result<()> {
    for (resource, wanted) in LIMITS {
        let maximum = getrlimit(resource).maximum.map_or(wanted, |now| now.min(wanted));
        setrlimit(resource, Rlimit { current: Some(maximum), maximum: Some(maximum) })?;
    }
    Ok(())
}
