//! Two system calls that no safe wrapper in use here offers.
#![allow(unsafe_code)]

use std::fs;
use std::io;

/// Closes every descriptor above standard error that the caller's parents left open. Each leads
/// past the sandbox: a folder's to `openat`, a terminal's to its input.
///
/// For the first lines of a program: no object of the program may own one of them yet.
pub fn close_inherited() -> io::Result<()> {
    const FIRST: libc::c_uint = 3;
    // SAFETY: the call takes three numbers and touches no memory. The program has just begun and
    // has opened nothing, so no owner of a closed descriptor exists.
    if unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, 0) } == 0 {
        return Ok(());
    }
    // Linux before 5.9, or a container's filter.
    let listed = fs::read_dir("/proc/self/fd")?.collect::<io::Result<Vec<_>>>()?;
    for entry in listed {
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse::<libc::c_int>().ok()) else {
            continue;
        };
        if number > 2 {
            // SAFETY: as above. The list's own descriptor is closed already, which is refused.
            unsafe { libc::close(number) };
        }
    }
    Ok(())
}

/// Leaves the operator's session keyring for a new, empty one.
pub fn new_session_keyring() {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: the null pointer asks for a keyring without a name; no memory is touched.
    // A kernel without keys and a container whose filter forbids them refuse. The sandbox's own
    // filter forbids them as well, so nothing inside can ask for a key either way.
    let _ = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>()) };
}
