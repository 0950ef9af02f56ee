//! Addresses: which listeners exclude each other, and whom `network` lets in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Whether two listeners exclude each other: one port, at one address or at one that stands for
/// all of its kind.
pub fn collide(one: &SocketAddr, other: &SocketAddr) -> bool {
    let (a, b) = (one.ip(), other.ip());
    let overlap = a == b || a.is_unspecified() || b.is_unspecified();
    one.port() == other.port() && a.is_ipv4() == b.is_ipv4() && overlap
}

/// The address at which the host itself reaches a listener.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// An entry of `network`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peers {
    Any,
    Localhost,
    Prefix { address: IpAddr, bits: u8 },
}

impl Peers {
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "any" => return Some(Self::Any),
            "localhost" => return Some(Self::Localhost),
            _ => {}
        }
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(longest);
        (bits <= longest).then_some(Self::Prefix { address, bits })
    }

    pub fn include(self, peer: IpAddr) -> bool {
        match (self, peer) {
            (Self::Any, _) => true,
            (Self::Localhost, peer) => peer.is_loopback(),
            (Self::Prefix { address: IpAddr::V4(address), bits }, IpAddr::V4(peer)) => {
                (u32::from(address) ^ u32::from(peer)).leading_zeros() >= u32::from(bits)
            }
            (Self::Prefix { address: IpAddr::V6(address), bits }, IpAddr::V6(peer)) => {
                (u128::from(address) ^ u128::from(peer)).leading_zeros() >= u32::from(bits)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn listeners_exclude_each_other_on_one_port() {
        for (one, other, expected) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("10.0.0.1:80", "0.0.0.0:80", true),
            ("[::]:80", "[::1]:80", true),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("0.0.0.0:80", "[::1]:80", false),
        ] {
            assert_eq!(collide(&one.parse().unwrap(), &other.parse().unwrap()), expected, "{one} {other}");
        }
    }

    #[test]
    fn peers_are_named_by_word_address_or_prefix() {
        for (text, peer, expected) in [
            ("any", "8.8.8.8", true),
            ("localhost", "127.0.0.9", true),
            ("localhost", "::1", true),
            ("localhost", "10.0.0.1", false),
            ("10.0.0.0/8", "10.9.8.7", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "::1", false),
            ("fd00::/8", "fd12::1", true),
            ("fd00::/8", "fe80::1", false),
        ] {
            assert_eq!(Peers::parse(text).unwrap().include(peer.parse().unwrap()), expected, "{text} {peer}");
        }
        for bad in ["example.com", "10.0.0.0/33", "::/129", "10.0.0.0/x", ""] {
            assert_eq!(Peers::parse(bad), None, "{bad}");
        }
    }
}
