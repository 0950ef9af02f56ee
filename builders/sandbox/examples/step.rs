//! A program in a sandbox, as an application uses this crate: it enters a sandbox, and is started
//! anew inside it, where it does what its first argument says.
//!
//! The tests let it do what a hostile step would do: `try-everything` writes what came of it to
//! `/build/report`, as JSON.
//!
//! ```sh
//! step enter < sandbox.json
//! ```
#![allow(unsafe_code, reason = "no safe wrapper offers what only an attacker calls")]

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::process::ExitCode;
use std::time::Duration;
use std::{fs, ptr, thread};

use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, capabilities, capability_is_in_ambient_set, capability_is_in_bounding_set, no_new_privs,
};
use serde_json::{Value, json};

fn main() -> ExitCode {
    cairn_sandbox::die_with_parent();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["enter"] => cairn_sandbox::enter(),
        ["probe"] => cairn_sandbox::probe(),
        ["start-nested", rest @ ..] => cairn_sandbox::start_nested(rest),
        ["try-everything"] => explain(try_everything()),
        ["fork", limit] => explain(fork_beyond(limit)),
        ["never-end"] => never_end(),
        _ => ExitCode::from(2),
    }
}

fn explain(result: io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", json!({ "error": error.to_string() }));
            ExitCode::FAILURE
        }
    }
}

fn try_everything() -> io::Result<()> {
    let all = || (0..41).map(|number| CapabilitySet::from_bits_retain(1_u64 << number));
    let limits = [Resource::Core, Resource::Fsize, Resource::Nofile, Resource::Nproc];
    let limits = limits.map(|resource| getrlimit(resource).maximum);
    let write = |path: &str| fs::write(path, "").err().and_then(|error| error.raw_os_error());
    // SAFETY: the call takes no pointer.
    let seccomp = unsafe { libc::prctl(libc::PR_GET_SECCOMP) };
    let state = json!({
        "uid": rustix::process::getuid().as_raw(),
        "capabilities": capability_bits()?,
        "bounding": all().filter(|one| capability_is_in_bounding_set(*one) == Ok(true)).count(),
        "ambient": all().filter(|one| capability_is_in_ambient_set(*one) == Ok(true)).count(),
        "no_new_privs": no_new_privs()?,
        "seccomp": seccomp,
        "limits": limits,
        "calls": calls(),
        "files": {
            "root": write("/file"),
            "input": write("/nix/store/input/file"),
            "tmp": write("/tmp/file"),
            "build": write("/build/file"),
        },
        "x32": x32()?,
    });
    fs::write("/build/report", serde_json::to_vec(&state)?)
}

fn capability_bits() -> io::Result<u64> {
    let sets = capabilities(None)?;
    Ok((sets.effective | sets.permitted | sets.inheritable).bits())
}

/// Error numbers by call; 0 where it worked.
fn calls() -> BTreeMap<&'static str, Value> {
    let path = |text: &str| CString::new(text).unwrap_or_default();
    let (build, device, tmpfs, etc) = (path("/build"), path("/build/device"), path("tmpfs"), path("etc"));
    let null = ptr::null::<u8>();
    let call =
        |result: libc::c_long| if result < 0 { json!(io::Error::last_os_error().raw_os_error()) } else { json!(0) };
    let mut results = BTreeMap::new();
    let mut attempt = |name, result| results.insert(name, call(result));
    // SAFETY: of every call: strings end with NUL and outlive it; other pointers are null.
    unsafe {
        let block = libc::S_IFBLK | 0o600;
        attempt("mknod", libc::syscall(libc::SYS_mknodat, libc::AT_FDCWD, device.as_ptr(), block, 0x800));
        attempt("mount", libc::syscall(libc::SYS_mount, tmpfs.as_ptr(), build.as_ptr(), tmpfs.as_ptr(), 0, null));
        attempt("umount2", libc::syscall(libc::SYS_umount2, build.as_ptr(), libc::MNT_DETACH));
        attempt("unshare", libc::syscall(libc::SYS_unshare, libc::CLONE_NEWUSER));
        attempt("clone", libc::syscall(libc::SYS_clone, libc::CLONE_NEWUSER | libc::SIGCHLD, 0, 0, 0, 0));
        attempt("clone3", libc::syscall(libc::SYS_clone3, null, 0));
        attempt("setns", libc::syscall(libc::SYS_setns, 0, 0));
        attempt("keyctl", libc::syscall(libc::SYS_keyctl, 0, -3, 0));
        attempt("ptrace", libc::syscall(libc::SYS_ptrace, libc::PTRACE_TRACEME, 0, 0, 0));
        attempt("bpf", libc::syscall(libc::SYS_bpf, 0, null, 0));
        attempt("perf_event_open", libc::syscall(libc::SYS_perf_event_open, null, 0, -1, -1, 0));
        attempt("open_by_handle_at", libc::syscall(libc::SYS_open_by_handle_at, libc::AT_FDCWD, null, 0));
        attempt("io_uring_setup", libc::syscall(libc::SYS_io_uring_setup, 1, null));
        attempt("personality", libc::syscall(libc::SYS_personality, libc::READ_IMPLIES_EXEC));
        attempt("socket of packets", libc::syscall(libc::SYS_socket, libc::AF_PACKET, libc::SOCK_RAW, 0));
        attempt("socket of vsock", libc::syscall(libc::SYS_socket, libc::AF_VSOCK, libc::SOCK_STREAM, 0));
        attempt("netlink audit", libc::syscall(libc::SYS_socket, libc::AF_NETLINK, libc::SOCK_RAW, 9));
        attempt("inherited", libc::syscall(libc::SYS_openat, 9, etc.as_ptr(), libc::O_RDONLY));
        // What programs do need.
        attempt(
            "fifo",
            libc::syscall(libc::SYS_mknodat, libc::AT_FDCWD, path("/build/fifo").as_ptr(), libc::S_IFIFO | 0o600, 0),
        );
        attempt("socket unix", libc::syscall(libc::SYS_socket, libc::AF_UNIX, libc::SOCK_STREAM, 0));
        attempt("socket inet6", libc::syscall(libc::SYS_socket, libc::AF_INET6, libc::SOCK_STREAM, 0));
        attempt("netlink route", libc::syscall(libc::SYS_socket, libc::AF_NETLINK, libc::SOCK_RAW, 0));
        attempt("fixed addresses", libc::syscall(libc::SYS_personality, libc::ADDR_NO_RANDOMIZE));
    }
    let thread = thread::spawn(|| 0).join();
    results.insert("thread", json!(thread.unwrap_or(-1)));
    results
}

/// The signal that ends a child which calls `getpid` by its x32 number.
fn x32() -> io::Result<Option<i32>> {
    if !cfg!(target_arch = "x86_64") {
        return Ok(Some(libc::SIGSYS));
    }
    // SAFETY: the child calls two functions that are safe after a fork.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::syscall(0x4000_0000 | libc::SYS_getpid);
            libc::_exit(0);
        }
        let mut status = 0;
        if child < 0 || libc::waitpid(child, &mut status, 0) != child {
            return Err(io::Error::last_os_error());
        }
        Ok(libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status)))
    }
}

/// Starts twice as many processes as it allows itself; the number that could be started.
fn fork_beyond(limit: &str) -> io::Result<()> {
    let limit: u64 = limit.parse().map_err(io::Error::other)?;
    let now = getrlimit(Resource::Nproc);
    setrlimit(Resource::Nproc, rustix::process::Rlimit { current: Some(limit), ..now })?;
    let mut started = 0_u64;
    for _ in 0..2 * limit {
        // SAFETY: the child calls nothing but `pause`.
        match unsafe { libc::fork() } {
            0 => loop {
                unsafe { libc::pause() };
            },
            child if child > 0 => started += 1,
            _ => break,
        }
    }
    fs::write("/build/report", started.to_string())
}

/// With a child in a session of its own, which has closed its output.
fn never_end() -> ExitCode {
    // SAFETY: the child calls functions that are safe after a fork, and sleeps.
    unsafe {
        if libc::fork() == 0 {
            libc::setsid();
            (0..3).for_each(|fd| {
                libc::close(fd);
            });
            thread::sleep(Duration::from_secs(600));
        }
    }
    loop {
        thread::sleep(Duration::from_secs(600));
    }
}
