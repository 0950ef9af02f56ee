//! Who listens on a TCP port of the host: the process, and the unit that it belongs to.

use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;

use cairn_closure::collide;

use crate::process;

/// `TCP_LISTEN` in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// Whoever has a port. What is not known is left out: a process may end while it is looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortHolder {
    pub pid: Option<u32>,
    pub program: Option<String>,
    pub unit: Option<String>,
}

impl fmt::Display for PortHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let process = match (&self.program, self.pid) {
            (Some(program), Some(pid)) => format!("{program} (process {pid})"),
            (_, Some(pid)) => format!("process {pid}"),
            _ => "somebody".to_owned(),
        };
        match &self.unit {
            Some(unit) => write!(f, "{process} of {unit}"),
            None => f.write_str(&process),
        }
    }
}

impl PortHolder {
    /// How the port is set free.
    pub fn advice(&self) -> String {
        match self.unit.as_ref().filter(|unit| unit.ends_with(".service") || unit.ends_with(".socket")) {
            Some(unit) => format!(
                "let the switch take its place: `deploy adopt HOST --unit {unit}`; or end it for good: `systemctl disable --now {unit}` \
                 on the host, where `ss -ltnp` shows who listens"
            ),
            None => {
                "end it on the host, where `ss -ltnp` shows who listens, or give the service another address".to_owned()
            }
        }
    }
}

/// Who keeps `address` from us; `None` if it can be had. Binds it for an instant.
pub fn taken(address: SocketAddr) -> Option<(std::io::Error, PortHolder)> {
    let error = TcpListener::bind(address).err()?;
    Some((error, holder(address)))
}

fn holder(address: SocketAddr) -> PortHolder {
    let mut inodes = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = fs::read_to_string(table).unwrap_or_default();
        inodes
            .extend(listeners(&text).into_iter().filter(|(at, _)| is_in_the_way(at, &address)).map(|(_, inode)| inode));
    }
    let Some(pid) = inodes.iter().find_map(|inode| owner(*inode)) else { return PortHolder::default() };
    let of = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    // systemd itself holds the sockets of socket units.
    let unit = if pid == 1 { socket_unit(address.port()) } else { unit(&of("cgroup")) };
    PortHolder { pid: Some(pid), program: Some(of("comm").trim().to_owned()).filter(|comm| !comm.is_empty()), unit }
}

/// A socket for all addresses of IPv6 mostly takes those of IPv4 as well.
fn is_in_the_way(held: &SocketAddr, wanted: &SocketAddr) -> bool {
    let for_all = held.is_ipv6() && held.ip().is_unspecified() && held.port() == wanted.port();
    for_all || collide(held, wanted)
}

/// Addresses and inodes of the listening sockets in a table of `/proc/net` (proc_net_tcp).
fn listeners(table: &str) -> Vec<(SocketAddr, u64)> {
    let row = |line: &str| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, local, _, LISTEN, _, _, _, _, _, inode, ..] = columns.as_slice() else { return None };
        Some((address(local)?, inode.parse().ok()?))
    };
    table.lines().filter_map(row).collect()
}

/// `0100007F:1F90`: words of four bytes, each as a number of this machine.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |at: usize| u32::from_str_radix(ip.get(at * 8..at * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for at in 0..4 {
                bytes[at * 4..at * 4 + 4].copy_from_slice(&word(at)?);
            }
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

/// The process that has the socket open; that of the lowest number, which the others come from.
fn owner(inode: u64) -> Option<u32> {
    let wanted = format!("socket:[{inode}]");
    let mut pids: Vec<u32> =
        fs::read_dir("/proc").ok()?.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    pids.into_iter().find(|pid| {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        open.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|target| target == Path::new(&wanted))
    })
}

/// The unit in `/proc/PID/cgroup`: the last part of the path that is a service or a scope.
pub(crate) fn unit(cgroup: &str) -> Option<String> {
    let parts = cgroup.lines().filter_map(|line| line.rsplit(':').next()).flat_map(|path| path.rsplit('/'));
    let mut units = parts.filter(|part| part.ends_with(".service") || part.ends_with(".scope"));
    units.next().map(str::to_owned)
}

fn socket_unit(port: u16) -> Option<String> {
    let output = process::run("systemctl", &["--no-legend", "--plain", "--full", "list-sockets"]).ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().find_map(|line| {
        let mut columns = line.split_ascii_whitespace();
        let at = columns.next()?.rsplit(':').next()?.parse::<u16>().ok()?;
        (at == port).then(|| columns.next().map(str::to_owned)).flatten()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tables_of_the_kernel_are_read() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            \u{20}  0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000 100 0\n\
            \u{20}  1: 0100007F:1F90 0100007F:AAAA 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0000 100 0\n";
        assert_eq!(listeners(text), [("127.0.0.1:8080".parse().unwrap(), 4711)]);
        assert_eq!(address("00000000000000000000000001000000:0050"), "[::1]:80".parse().ok());
        for bad in ["", "0100007F", "01:50", "0100007F:zz"] {
            assert_eq!(address(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_unit_is_the_innermost_one() {
        for (cgroup, expected) in [
            ("0::/system.slice/nginx.service\n", Some("nginx.service")),
            ("0::/user.slice/user-0.slice/session-3.scope\n", Some("session-3.scope")),
            ("0::/system.slice/docker.service/sub\n", Some("docker.service")),
            ("0::/init.scope\n", Some("init.scope")),
            ("0::/\n", None),
        ] {
            assert_eq!(unit(cgroup).as_deref(), expected, "{cgroup}");
        }
    }

    #[test]
    fn a_port_that_is_held_is_told_with_its_process() {
        let held = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = held.local_addr().unwrap();
        let (_, holder) = taken(address).unwrap();
        assert_eq!(holder.pid, Some(std::process::id()), "{holder}");
        assert!(holder.to_string().contains("process "), "{holder}");
        drop(held);
        assert!(taken(address).is_none());
    }
}
