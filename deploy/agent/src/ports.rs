//! Who listens on a TCP port of the host: the process, and the unit that it belongs to.

use std::fmt;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use cairn_closure::collide;

use crate::{process, tcp};

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
    let held = tcp::listeners().into_iter().filter(|held| is_in_the_way(&held.address, &address));
    let inodes: Vec<u64> = held.map(|held| held.inode).collect();
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
