//! Waits until no connection waits in an old instance's listen backlogs.
//!
//! Once traffic has moved, nobody connects to the old sockets any more, but connections may wait
//! there that the server has not accepted yet; a server that is told to stop would drop them. The
//! kernel tells the length of a backlog through `NETLINK_SOCK_DIAG` (sock_diag(7),
//! `linux/unix_diag.h`), for the sockets of the asker's network namespace: services have their
//! own, so a thread of ours enters it to ask.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

use crate::folder::FileId;

/// Between two looks at the backlogs.
const PAUSE: Duration = Duration::from_millis(20);
/// A client may have followed the link just before it moved and connect just after, and a handshake
/// may be under way; a backlog counts as empty when it was so this often in a row.
const TIMES_EMPTY: u32 = 3;

/// A listening socket of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    pub pid: i32,
    pub socket: FileId,
}

/// Waits until the backlogs are empty; false if they were not within `limit`.
pub fn wait_until_empty(listeners: &[Listener], limit: Duration) -> bool {
    if listeners.is_empty() {
        return true;
    }
    // A server that cannot be asked has ended, and so has its backlog.
    until_none(limit, || listeners.iter().filter_map(|l| backlog(l).ok()).any(|waiting| waiting > 0))
}

/// Waits until nobody is waiting any more; false if somebody was, all the time until `limit`.
pub fn until_none(limit: Duration, is_waiting: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    let mut empty = 0;
    loop {
        empty = if is_waiting() { 0 } else { empty + 1 };
        if empty >= TIMES_EMPTY {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(PAUSE);
    }
}

/// Connections that wait to be accepted.
pub fn backlog(listener: &Listener) -> io::Result<u32> {
    let wanted = (listener.socket.inode as u32, kernel_device(listener.socket.device));
    let namespace = File::open(Path::new("/proc").join(listener.pid.to_string()).join("ns/net"))?;
    // A thread's namespace is its own; the thread ends with the question.
    let answer = thread::spawn(move || {
        setns(&namespace, CloneFlags::CLONE_NEWNET)?;
        dump()
    })
    .join()
    .map_err(|_| io::Error::other("the thread that asks for backlogs panicked"))??;
    answer
        .into_iter()
        .find(|listening| (listening.inode, listening.device) == wanted)
        .map(|listening| listening.waiting)
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "nobody listens on it"))
}

/// The kernel's own encoding of a device number, which `stat` translates (`MKDEV` in
/// `linux/kdev_t.h`: 20 bits for the minor number).
fn kernel_device(device: u64) -> u32 {
    let major = nix::sys::stat::major(device);
    let minor = nix::sys::stat::minor(device);
    ((major << 20) | minor) as u32
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listening {
    inode: u32,
    device: u32,
    waiting: u32,
}

// linux/sock_diag.h, linux/netlink.h, linux/unix_diag.h
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 0x001;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const AF_UNIX: u8 = 1;
const LISTEN_STATE: u32 = 1 << 10;
const UDIAG_SHOW_VFS: u32 = 0x02;
const UDIAG_SHOW_RQLEN: u32 = 0x10;
const UNIX_DIAG_VFS: u16 = 1;
const UNIX_DIAG_RQLEN: u16 = 4;
const HEADER: usize = 16;
const UNIX_DIAG_MSG: usize = 16;

fn request() -> Vec<u8> {
    let mut out = Vec::with_capacity(40);
    out.extend(40_u32.to_ne_bytes());
    out.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    out.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    out.extend(1_u32.to_ne_bytes()); // sequence number
    out.extend(0_u32.to_ne_bytes()); // port: the kernel fills it in
    out.extend([AF_UNIX, 0, 0, 0]);
    out.extend(LISTEN_STATE.to_ne_bytes());
    out.extend(0_u32.to_ne_bytes()); // any inode
    out.extend((UDIAG_SHOW_VFS | UDIAG_SHOW_RQLEN).to_ne_bytes());
    out.extend([0xff; 8]); // no cookie
    out
}

/// All listening UNIX sockets of this thread's network namespace.
fn dump() -> io::Result<Vec<Listening>> {
    let netlink: OwnedFd =
        socket(AddressFamily::Netlink, SockType::Datagram, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkSockDiag)?;
    send(netlink.as_raw_fd(), &request(), MsgFlags::empty())?;
    let mut found = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = recv(netlink.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        if !parse(&buffer[..length], &mut found)? {
            return Ok(found);
        }
    }
}

/// Reads one datagram; false when it was the last.
pub(crate) fn parse(mut bytes: &[u8], found: &mut Vec<Listening>) -> io::Result<bool> {
    let short = || io::Error::new(io::ErrorKind::InvalidData, "a netlink message is cut short");
    while bytes.len() >= HEADER {
        let length = u32_at(bytes, 0).ok_or_else(short)? as usize;
        let kind = u16_at(bytes, 4).ok_or_else(short)?;
        let message = bytes.get(HEADER..length).ok_or_else(short)?;
        match kind {
            NLMSG_DONE => return Ok(false),
            NLMSG_ERROR => {
                let code = u32_at(message, 0).ok_or_else(short)? as i32;
                return Err(io::Error::from_raw_os_error(code.wrapping_neg()));
            }
            SOCK_DIAG_BY_FAMILY => found.extend(listening(message.get(UNIX_DIAG_MSG..).ok_or_else(short)?)),
            _ => {}
        }
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
    }
    Ok(true)
}

/// A socket with a file; sockets of the abstract namespace have none.
fn listening(mut attributes: &[u8]) -> Option<Listening> {
    let (mut file, mut waiting) = (None, None);
    while let (Some(length), Some(kind)) = (u16_at(attributes, 0), u16_at(attributes, 2)) {
        let value = attributes.get(4..usize::from(length))?;
        match kind {
            UNIX_DIAG_VFS => file = Some((u32_at(value, 0)?, u32_at(value, 4)?)),
            UNIX_DIAG_RQLEN => waiting = Some(u32_at(value, 0)?),
            _ => {}
        }
        attributes = attributes.get(aligned(length.into())..).unwrap_or_default();
    }
    let (inode, device) = file?;
    Some(Listening { inode, device, waiting: waiting? })
}

/// Messages and attributes begin at multiples of four bytes.
fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_ne_bytes(four))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let two = bytes.get(at..at + 2)?.try_into().ok()?;
    Some(u16::from_ne_bytes(two))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    /// Asking needs no privilege within one's own namespace.
    fn waiting(path: &Path) -> Option<u32> {
        let file = fs::metadata(path).unwrap();
        let wanted = (file.ino() as u32, kernel_device(file.dev()));
        dump().unwrap().into_iter().find(|l| (l.inode, l.device) == wanted).map(|l| l.waiting)
    }

    #[test]
    fn connections_are_counted_until_they_are_accepted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("1.sock");
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(waiting(&path), Some(0));
        let _one = UnixStream::connect(&path).unwrap();
        let _two = UnixStream::connect(&path).unwrap();
        assert_eq!(waiting(&path), Some(2));
        let _accepted = listener.accept().unwrap();
        assert_eq!(waiting(&path), Some(1));
        drop(listener);
        assert_eq!(waiting(&path), None);
    }

    #[test]
    fn messages_that_are_cut_short_are_refused() {
        let mut message = request();
        message[0] = 200;
        assert!(parse(&message, &mut Vec::new()).is_err());
        assert!(parse(&[], &mut Vec::new()).unwrap());
    }
}
