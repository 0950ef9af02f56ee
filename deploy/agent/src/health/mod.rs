//! Whether services answer: one question ([`http`]), or asking until all are healthy ([`wait`]).

pub mod http;
pub mod wait;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use cairn_closure::{Health, Service, ServiceName, UnitName};

use crate::paths::Paths;

/// Where a replica is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// One replica that must be healthy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub service: ServiceName,
    pub unit: UnitName,
    /// Where and what to ask; without it the unit must merely stay up.
    pub ask: Option<(Endpoint, Health)>,
}

/// By which path a UNIX socket is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// The instance's own directory.
    Instance,
    /// The `current` link: what clients use.
    Current,
}

/// The checks for the replicas of a service that `wanted` names.
pub fn checks(
    paths: &Paths,
    name: &ServiceName,
    service: &Service,
    via: Via,
    wanted: impl Fn(&UnitName) -> bool,
) -> Vec<Check> {
    let directory = match via {
        Via::Instance => paths.instance_dir(name, &service.instance),
        Via::Current => paths.current_link(name),
    };
    let endpoint = |socket: Option<&String>| match socket {
        Some(socket) => Some(Endpoint::Unix(directory.join(socket))),
        None => service.sockets.first().map(|socket| Endpoint::Tcp(reachable(socket.address))),
    };
    service
        .replicas
        .iter()
        .filter(|replica| wanted(&replica.unit))
        .map(|replica| Check {
            service: name.clone(),
            unit: replica.unit.clone(),
            ask: endpoint(replica.socket.as_ref()).zip(service.health.clone()),
        })
        .collect()
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
