//! Running a command to its end, with a limit on its time and on what is kept of its output.

use std::collections::VecDeque;
use std::io::{self, Read, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// The longest pause between two looks at a child, on a kernel that does not report its end.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// Runs a command to its end with this on its standard input. One that outlasts the limit is
/// killed: `None`. Being process 1 of a namespace, it takes everything in there with it, and is
/// waited for until all of that is gone.
pub fn converse(mut command: Command, stdin: &str, limit: Option<Duration>) -> io::Result<Option<ExitStatus>> {
    let mut child = command.stdin(Stdio::piped()).spawn()?;
    if let Some(mut pipe) = child.stdin.take() {
        // A program that ends before it has read all says so by its exit code.
        let _ = pipe.write_all(stdin.as_bytes());
    }
    let Some(limit) = limit else { return child.wait().map(Some) };
    if ends_within(&mut child, limit)? {
        return child.wait().map(Some);
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

/// Not by a thread that waits: the kernel makes none for a process whose children live in another
/// PID namespace.
fn ends_within(child: &mut Child, limit: Duration) -> io::Result<bool> {
    let end = Instant::now() + limit;
    let pid = Pid::from_child(child);
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return looks_until(child, end) };
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&timeout)) {
            Ok(0) if left.is_zero() => return Ok(false),
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}

/// For Linux before 5.3.
fn looks_until(child: &mut Child, end: Instant) -> io::Result<bool> {
    let mut pause = Duration::from_millis(1);
    while child.try_wait()?.is_none() {
        if Instant::now() >= end {
            return Ok(false);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    Ok(true)
}

/// Reads to the end and keeps only the last bytes, so that output without an end fills no memory.
pub fn last_bytes(mut from: impl Read, keep: usize) -> io::Result<Vec<u8>> {
    let mut kept = VecDeque::new();
    let mut buffer = [0; 16 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(kept.into()),
            Ok(count) => {
                kept.extend(&buffer[..count]);
                let surplus = kept.len().saturating_sub(keep);
                kept.drain(..surplus);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_the_end_of_a_long_output_is_kept() {
        let endless = io::repeat(b'x').take(10 << 20).chain(&b"the end"[..]);
        assert_eq!(last_bytes(endless, 9).unwrap(), b"xxthe end");
        assert_eq!(last_bytes(&b"short"[..], 9).unwrap(), b"short");
    }

    #[test]
    fn a_command_that_outlasts_its_limit_is_killed() {
        let sleep = || {
            let mut command = Command::new("sleep");
            command.arg("100");
            command
        };
        assert_eq!(converse(sleep(), "", Some(Duration::from_millis(50))).unwrap(), None);
        let status = converse(Command::new("cat"), "", Some(Duration::from_secs(60))).unwrap();
        assert!(status.unwrap().success());
        let mut looked_at = sleep().spawn().unwrap();
        assert!(!looks_until(&mut looked_at, Instant::now() + Duration::from_millis(50)).unwrap());
        looked_at.kill().unwrap();
        assert!(looks_until(&mut looked_at, Instant::now() + Duration::from_secs(60)).unwrap());
    }
}
