//! The kernel's tables of TCP sockets (proc_net_tcp), of the network that the agent runs in.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// States, as the tables write them (`net/tcp_states.h`).
const SYN_RECEIVED: &str = "03";
const LISTEN: &str = "0A";

/// A socket that listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    pub address: SocketAddr,
    pub inode: u64,
    /// Connections that nobody has accepted yet.
    pub waiting: u32,
}

pub fn listeners() -> Vec<Listener> {
    tables().iter().flat_map(|table| parse_listeners(table)).collect()
}

/// The local ports of connections that are half open, once for each.
pub fn half_open() -> Vec<u16> {
    tables().iter().flat_map(|table| parse_half_open(table)).collect()
}

fn tables() -> [String; 2] {
    ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default())
}

pub(crate) fn parse_listeners(table: &str) -> Vec<Listener> {
    let row = |line: &str| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, local, _, LISTEN, queues, _, _, _, _, inode, ..] = columns.as_slice() else { return None };
        let (_, waiting) = queues.split_once(':')?;
        Some(Listener {
            address: address(local)?,
            inode: inode.parse().ok()?,
            waiting: u32::from_str_radix(waiting, 16).ok()?,
        })
    };
    table.lines().filter_map(row).collect()
}

pub(crate) fn parse_half_open(table: &str) -> Vec<u16> {
    let row = |line: &str| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, local, _, SYN_RECEIVED, ..] = columns.as_slice() else { return None };
        Some(address(local)?.port())
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tables_of_the_kernel_are_read() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            \u{20}  0: 0100007F:1F90 00000000:0000 0A 00000000:00000003 00:00000000 00000000     0        0 4711 1 0000 100 0\n\
            \u{20}  1: 0100007F:1F90 0100007F:AAAA 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0000 100 0\n\
            \u{20}  2: 0100007F:1F91 0100007F:AAAA 03 00000000:00000000 00:00000000 00000000     0        0 0 1 0000\n";
        let address = |text| super::address(text);
        let expected = Listener { address: "127.0.0.1:8080".parse().unwrap(), inode: 4711, waiting: 3 };
        assert_eq!(parse_listeners(text), [expected]);
        assert_eq!(parse_half_open(text), [8081]);
        assert_eq!(address("00000000000000000000000001000000:0050"), "[::1]:80".parse().ok());
        for bad in ["", "0100007F", "01:50", "0100007F:zz"] {
            assert_eq!(address(bad), None, "{bad}");
        }
    }
}
