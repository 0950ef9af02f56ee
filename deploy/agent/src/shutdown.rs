//! `cairn-shutdown.service`, when the host goes down: nobody is let in any more, before services end.
//!
//! systemd stops a service before the sockets that it has handed to it. Whoever connects meanwhile
//! waits in a backlog that nobody reads, and is cut off with it. So the addresses are closed first, in
//! an order in which nobody who was let in is lost:
//!
//! 1. A filter on each listening socket drops the first packet of new connections, which a client
//!    sends again a second later (RFC 6298).
//! 2. The service takes what was let in before.
//! 3. It is told to stop: it listens no more, and finishes what it has.
//! 4. The sockets end. From now on the kernel refuses at once, and a balancer goes elsewhere.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread;
use std::time::Duration;

use cairn_closure::{Service, UnitName};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use socket2::{SockFilter, SockRef};

use crate::error::{Fault, Result, file};
use crate::paths::Paths;
use crate::tcp::Listener;
use crate::{drain, manifests, output, systemd, tcp};

/// For a service that accepts nothing any more.
const PATIENCE: Duration = Duration::from_secs(5);
/// For a service to let go of what it listens on.
const LET_GO: Duration = Duration::from_millis(200);

pub fn run() -> Result<()> {
    // Somebody may stop the unit by hand, and `uninstall` does.
    if !systemd::is_going_down()? {
        return Ok(());
    }
    let manifest = manifests::live(&Paths::host())?;
    let services: Vec<&Service> = manifest.services.values().filter(|service| !service.sockets.is_empty()).collect();
    let units: Vec<UnitName> =
        services.iter().flat_map(|service| &service.replicas).map(|replica| replica.unit.clone()).collect();
    if units.is_empty() {
        return Ok(());
    }
    let addresses: Vec<SocketAddr> =
        services.iter().flat_map(|service| &service.sockets).map(|socket| socket.address).collect();
    let pids: Vec<i32> = systemd::states(&units)?.into_values().filter_map(|state| state.main_pid).collect();

    let sockets = sockets(&addresses, &pids)?;
    for socket in &sockets {
        refuse_new(socket).map_err(|error| Fault::new(format!("cannot put a filter on a socket: {error}")))?;
    }
    if !wait_until_taken(&addresses) {
        output::warn("cairn-agent: connections still wait to be accepted by services that are stopped now");
    }
    for (unit, signal) in systemd::stop_signals(&units)? {
        systemd::signal(&[unit], &signal)?;
    }
    thread::sleep(LET_GO);
    for socket in &sockets {
        // One that is gone meanwhile is closed as well.
        let _ = SockRef::from(socket).shutdown(std::net::Shutdown::Read);
    }
    Ok(())
}

/// The sockets that listen on these addresses, taken from whichever of the processes has them.
fn sockets(addresses: &[SocketAddr], pids: &[i32]) -> Result<Vec<OwnedFd>> {
    let listeners = tcp::listeners();
    let wanted: Vec<&Listener> = listeners.iter().filter(|held| addresses.contains(&held.address)).collect();
    let mut found = Vec::new();
    for listener in wanted {
        for pid in pids {
            let socket = open_by(*pid, listener.inode)
                .map_err(file("cannot take a socket from", &Path::new("/proc").join(pid.to_string())))?;
            if let Some(socket) = socket {
                found.push(socket);
                break;
            }
        }
    }
    Ok(found)
}

/// A process's socket, if it has that one open.
fn open_by(pid: i32, inode: u64) -> io::Result<Option<OwnedFd>> {
    let wanted = format!("socket:[{inode}]");
    let open = fs::read_dir(format!("/proc/{pid}/fd"))?.flatten();
    let number = open.filter(|entry| fs::read_link(entry.path()).is_ok_and(|to| to == Path::new(&wanted)));
    let number = number.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).next();
    let (Some(number), Some(pid)) = (number, Pid::from_raw(pid)) else { return Ok(None) };
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    Ok(Some(pidfd_getfd(process, number, PidfdGetfdFlags::empty())?))
}

/// Drops packets that open a connection: those with SYN and without ACK. A program of the kernel's
/// packet filter (`linux/filter.h`), which sees a packet of TCP from its header on; the flags are its
/// byte 13 (RFC 9293).
fn refuse_new(socket: &OwnedFd) -> io::Result<()> {
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    SockRef::from(socket).attach_filter(&[
        SockFilter::new(LOAD_BYTE, 0, 0, 13),
        SockFilter::new(AND, 0, 0, SYN | ACK),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ])
}

/// Waits until nobody is left who was let in and not taken.
fn wait_until_taken(addresses: &[SocketAddr]) -> bool {
    drain::until_none(PATIENCE, || {
        let half_open = tcp::half_open().iter().any(|port| addresses.iter().any(|address| address.port() == *port));
        half_open || tcp::listeners().iter().any(|held| held.waiting > 0 && addresses.contains(&held.address))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn who_was_let_in_is_served_and_who_comes_later_is_refused() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(300)).map_err(|e| e.kind());
        let early = connect().unwrap();

        let own = i32::try_from(std::process::id()).unwrap();
        let sockets = sockets(&[address], &[own]).unwrap();
        assert_eq!(sockets.len(), 1);
        refuse_new(&sockets[0]).unwrap();
        assert_eq!(connect().unwrap_err(), io::ErrorKind::TimedOut);
        let waiting = tcp::listeners().into_iter().find(|held| held.address == address).unwrap().waiting;
        assert_eq!(waiting, 1);

        let (mut served, _) = listener.accept().unwrap();
        assert!(wait_until_taken(&[address]));
        SockRef::from(&sockets[0]).shutdown(std::net::Shutdown::Read).unwrap();
        assert_eq!(connect().unwrap_err(), io::ErrorKind::ConnectionRefused);
        io::Write::write_all(&mut served, b"answer").unwrap();
        drop(served);
        let mut answer = String::new();
        io::Read::read_to_string(&mut &early, &mut answer).unwrap();
        assert_eq!(answer, "answer");
    }
}
