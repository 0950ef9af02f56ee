//! What runs on a host.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use cairn_closure::{CredentialName, DnsName, Inherit, Ready, Replace, SecretName, StateName, StopSignal};
use serde::Deserialize;

use crate::duration;

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceEntry {
    pub image: String,
    #[serde(default)]
    pub kind: KindEntry,
    /// When a timer runs, as in systemd's `OnCalendar=`.
    pub schedule: Option<String>,
    /// A timer that also runs as soon as it is started.
    #[serde(default)]
    pub at_start: bool,
    #[serde(default = "one")]
    pub replicas: u32,
    /// Default: the image's entry point and command.
    #[serde(default)]
    pub command: Vec<String>,
    /// Default: the image's user.
    pub user: Option<String>,
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Values of the image's schema, over those of the host.
    #[serde(default)]
    pub config: toml::Table,
    /// Values of the image's templates, over those of its `settings.toml`.
    #[serde(default)]
    pub settings: toml::Table,
    /// Credential → secret, besides those that `config` names.
    #[serde(default)]
    pub credentials: BTreeMap<CredentialName, SecretName>,
    /// State folder → one of the image's volumes. A volume that is not named here nor in `reads`
    /// is a state folder with the name of its last part.
    #[serde(default)]
    pub state: BTreeMap<StateName, String>,
    /// `SERVICE/STATE` → one of the image's volumes: another service's folder, to read.
    #[serde(default)]
    pub reads: BTreeMap<String, String>,
    /// As `reads`, and to write as well.
    #[serde(default)]
    pub shares: BTreeMap<String, String>,
    #[serde(default)]
    pub listen: ListenEntry,
    /// The names under which clients reach it, the main one first; of a service without an address,
    /// those that it gets certificates for.
    #[serde(default)]
    pub names: Vec<DnsName>,
    /// Addresses, prefixes (`10.0.0.0/8`), `localhost` or `any` that the service may reach; none
    /// by default.
    #[serde(default)]
    pub network: Vec<String>,
    /// Services that must be healthy before this one starts; upstreams are so without saying.
    #[serde(default)]
    pub after: Vec<String>,
    /// Services on this host whose sockets this one may reach.
    #[serde(default)]
    pub upstreams: Vec<String>,
    /// The signal that makes the service finish its requests and end: `term`, `quit` or `int`.
    #[serde(default)]
    pub stop_signal: StopSignal,
    /// `notify`: the service says when it is ready. Else it is as soon as it runs.
    #[serde(default)]
    pub ready: Ready,
    /// `beside` or `restart`; by default a service with state restarts.
    pub replace: Option<Replace>,
    /// How long the start may take, or a task as a whole.
    #[serde(with = "duration", default = "a_minute")]
    pub timeout: Duration,
    /// How long an old version may finish its requests.
    #[serde(with = "duration", default = "ten_seconds")]
    pub drain: Duration,
    pub health: Option<HealthEntry>,
    #[serde(default)]
    pub limits: LimitsEntry,
    /// systemd directives set otherwise than by default, each with its reason.
    #[serde(default)]
    pub hardening: BTreeMap<String, LoosenedEntry>,
    /// The most that `systemd-analyze security` may give it, from 0 (closed) to 10.
    #[serde(default = "two")]
    pub exposure: f64,
}

/// When a service's command runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KindEntry {
    /// All the time.
    #[default]
    Service,
    /// Once before traffic moves, when it is new or changed.
    Task,
    /// In each switch, before it is committed.
    Check,
    /// By the clock.
    Timer,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenEntry {
    /// Each replica listens on the UNIX socket named by `CAIRN_SOCKET`.
    #[serde(default)]
    pub unix: bool,
    /// systemd holds these sockets and hands them over.
    #[serde(default)]
    pub tcp: Vec<SocketAddr>,
    /// As `tcp`, and the service speaks TLS there.
    #[serde(default)]
    pub tls: Vec<SocketAddr>,
    /// The service opens these by itself.
    #[serde(default)]
    pub own: Vec<SocketAddr>,
    /// How the program is told of them: `listen-fds` (systemd's protocol) or `nginx`.
    #[serde(default)]
    pub inherit: Inherit,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthEntry {
    /// Path of a GET request that must be answered with a status below 400.
    pub path: String,
    #[serde(with = "duration", default = "half_minute")]
    pub timeout: Duration,
    #[serde(with = "duration", default = "quarter_second")]
    pub interval: Duration,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsEntry {
    /// As in systemd's MemoryMax=: `512M`.
    pub memory: Option<String>,
    /// As in systemd's CPUQuota=: `100%` is one processor.
    pub cpu: Option<String>,
    pub tasks: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoosenedEntry {
    pub value: String,
    pub reason: String,
}

impl ListenEntry {
    /// Every address, whoever opens it.
    pub fn addresses(&self) -> impl Iterator<Item = &SocketAddr> {
        self.tcp.iter().chain(&self.tls).chain(&self.own)
    }
}

const fn one() -> u32 {
    1
}
const fn two() -> f64 {
    2.0
}
const fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}
const fn a_minute() -> Duration {
    Duration::from_secs(60)
}
const fn half_minute() -> Duration {
    Duration::from_secs(30)
}
const fn quarter_second() -> Duration {
    Duration::from_millis(250)
}
