//! `closure.json`: what the agent reads.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use cairn_formats::{Platform, Sha256};
use serde::{Deserialize, Serialize};

use crate::{HostName, InstanceId, Millis, ServiceName, StoreDir, UnitName, User};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub version: u32,
    pub name: HostName,
    pub platform: Platform,
    pub agent: StoreDir,
    pub services: BTreeMap<ServiceName, Service>,
    /// The services in the order of starting; those of one group do not wait for each other.
    pub order: Vec<Vec<ServiceName>>,
    /// Units that belong to no service: the target of all, and the step at boot.
    pub units: BTreeMap<UnitName, Sha256>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    pub instance: InstanceId,
    pub image: String,
    pub rootfs: StoreDir,
    pub user: User,
    pub replicas: Vec<Replica>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sockets: Vec<Socket>,
    /// The target that groups the replicas.
    pub target: UnitName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    pub drain: Millis,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replica {
    pub unit: UnitName,
    pub hash: Sha256,
    /// The socket's file name in the instance's directory, if the replica makes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<String>,
}

/// A TCP address held by systemd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Socket {
    pub unit: UnitName,
    pub hash: Sha256,
    pub address: SocketAddr,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    pub path: String,
    pub timeout: Millis,
    pub interval: Millis,
}

impl Manifest {
    /// Every unit of the closure.
    pub fn all_units(&self) -> BTreeSet<&UnitName> {
        let of_services = self.services.values().flat_map(Service::units);
        self.units.keys().chain(of_services).collect()
    }
}

impl Service {
    pub fn units(&self) -> impl Iterator<Item = &UnitName> {
        let replicas = self.replicas.iter().map(|replica| &replica.unit);
        let sockets = self.sockets.iter().map(|socket| &socket.unit);
        replicas.chain(sockets).chain([&self.target])
    }

    /// Whether the replicas are reached through the `current` link.
    pub fn has_unix_sockets(&self) -> bool {
        self.replicas.iter().any(|replica| replica.socket.is_some())
    }
}
