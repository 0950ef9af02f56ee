//! `closure.json`: what the agent reads.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use cairn_formats::{Platform, Sha256};
use serde::{Deserialize, Serialize};

use crate::{
    HostName, InstanceId, Kind, Millis, Read, Reload, Replace, Secret, ServiceName, StateName, StoreDir, System,
    UnitName, User,
};

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
    /// Units that belong to no service: the target of all, and the steps at boot and at shutdown.
    pub units: BTreeMap<UnitName, Sha256>,
    /// The host itself.
    #[serde(default, skip_serializing_if = "System::is_empty")]
    pub system: System,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    pub instance: InstanceId,
    pub image: String,
    pub rootfs: StoreDir,
    #[serde(default, skip_serializing_if = "Kind::is_service")]
    pub kind: Kind,
    pub user: User,
    /// What is up all the time: the service's processes, or a timer.
    pub replicas: Vec<Replica>,
    /// What runs to its end: the command of a task, a check or a timer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Job>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sockets: Vec<Socket>,
    /// TCP addresses that the service opens by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub own: Vec<SocketAddr>,
    /// The target that groups the replicas.
    pub target: UnitName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    pub drain: Millis,
    #[serde(default, skip_serializing_if = "Replace::is_beside")]
    pub replace: Replace,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub state: BTreeSet<StateName>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<Read>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub secrets: BTreeSet<Secret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload: Option<Reload>,
    /// A file in the instance's folder that says that the service is in maintenance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    pub unit: UnitName,
    pub hash: Sha256,
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
    /// Whether TLS is spoken there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tls: bool,
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

    /// The units that stand for others: only while one is active is what comes after it stopped before
    /// what it stands for.
    pub fn milestones(&self) -> impl Iterator<Item = &UnitName> {
        self.units.keys().chain(self.services.values().map(|service| &service.target))
    }

    /// Whether some service may write in a folder of this one's state.
    pub fn is_shared(&self, service: &ServiceName, state: &StateName) -> bool {
        let reads = self.services.values().flat_map(|other| &other.reads);
        reads.filter(|read| read.write).any(|read| read.service == *service && read.state == *state)
    }

    /// Every secret that any service is handed.
    pub fn secrets(&self) -> BTreeSet<&Secret> {
        self.services.values().flat_map(|service| &service.secrets).collect()
    }
}

impl Service {
    /// Whether this is the same as `old` but for the files that it is told to read again.
    pub fn only_reloads(&self, old: &Self) -> bool {
        self.instance == old.instance && self.reload != old.reload
    }

    /// Every unit of the service.
    pub fn units(&self) -> impl Iterator<Item = &UnitName> {
        self.lasting_units().chain(self.job.iter().map(|job| &job.unit)).chain([&self.target])
    }

    /// What is up as long as the generation is live: replicas, timers, sockets.
    pub fn lasting_units(&self) -> impl Iterator<Item = &UnitName> {
        let replicas = self.replicas.iter().map(|replica| &replica.unit);
        replicas.chain(self.sockets.iter().map(|socket| &socket.unit))
    }

    /// Whether the replicas are reached through the `current` link.
    pub fn has_unix_sockets(&self) -> bool {
        self.replicas.iter().any(|replica| replica.socket.is_some())
    }
}
