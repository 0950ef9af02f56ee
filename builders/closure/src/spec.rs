//! What goes in: one host, with its services and their root file systems already realised.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use cairn_formats::Platform;
use serde::{Deserialize, Serialize};

use crate::{CredentialName, HostName, SecretName, ServiceName, StateName, StoreDir, SystemSpec};

/// The version of [`HostSpec`] and of the manifest that is made from it.
pub const VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostSpec {
    pub version: u32,
    pub name: HostName,
    pub platform: Platform,
    /// The store path of the agent; the program is `bin/cairn-agent` below it.
    pub agent: StoreDir,
    pub services: BTreeMap<ServiceName, ServiceSpec>,
    /// The host itself.
    #[serde(default, skip_serializing_if = "SystemSpec::is_empty")]
    pub system: SystemSpec,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceSpec {
    /// The root file system that the processes see as `/`.
    pub rootfs: StoreDir,
    /// The image's name, for people.
    pub image: String,
    #[serde(default, skip_serializing_if = "Kind::is_service")]
    pub kind: Kind,
    #[serde(default = "one")]
    pub replicas: u32,
    /// Program (an absolute path inside the root file system) and arguments. In arguments and
    /// in the environment `{socket}` stands for the replica's socket, `{replica}` for its
    /// number from 1; nothing else is replaced.
    pub command: Vec<String>,
    pub user: User,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<Listen>,
    /// A store path whose files the processes see at `/run/cairn/config`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<StoreDir>,
    /// Configuration that it can read again while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload: Option<Reload>,
    /// A file in the folder of its sockets; while it is there, the service says that it is in
    /// maintenance. No part of the instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<String>,
    /// Folders that outlive every generation, and where the processes see them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub state: BTreeMap<StateName, String>,
    /// State of other services that this one may read, or write.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<Read>,
    /// Secrets, handed over as files of these names in `$CREDENTIALS_DIRECTORY`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub credentials: BTreeMap<CredentialName, Secret>,
    /// Services whose sockets this one connects to, at `/run/cairn/SERVICE/current/N.sock`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upstreams: Vec<ServiceName>,
    /// IP addresses, prefixes (`10.0.0.0/8`), `localhost` or `any` that the service may reach.
    /// Without any, the service has no network of its own: only the sockets it was given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub network: Vec<String>,
    /// How long the old instance may take to finish its requests before it is killed.
    #[serde(default = "thirty_seconds")]
    pub drain: Millis,
    #[serde(default)]
    pub stop_signal: StopSignal,
    #[serde(default, skip_serializing_if = "is_default")]
    pub ready: Ready,
    #[serde(default, skip_serializing_if = "is_default")]
    pub replace: Replace,
    /// How long the start may take, and a task or a job as a whole.
    #[serde(default = "a_minute", skip_serializing_if = "is_a_minute")]
    pub timeout: Millis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthSpec>,
    #[serde(default)]
    pub limits: Limits,
    /// Directives of [`crate::hardening`] that this service needs otherwise.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hardening: BTreeMap<String, Loosened>,
    /// Services that must be healthy before this one starts. Upstreams are so without saying.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<ServiceName>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

const fn a_minute() -> Millis {
    Millis(60_000)
}

fn is_a_minute(value: &Millis) -> bool {
    *value == a_minute()
}

fn one() -> u32 {
    1
}

fn thirty_seconds() -> Millis {
    Millis(30_000)
}

/// When the command runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Kind {
    /// All the time.
    #[default]
    Service,
    /// Once, before traffic moves to a generation in which it is new or changed. A failure stops
    /// the switch.
    Task {},
    /// Once in each activation, when traffic has moved and before the commit. A failure reverts.
    Check {},
    /// By the clock.
    Timer {
        /// As in systemd's `OnCalendar=`.
        calendar: String,
        /// Also as soon as the timer is started.
        #[serde(default, skip_serializing_if = "is_default")]
        at_start: bool,
    },
}

impl Kind {
    pub const fn is_service(&self) -> bool {
        matches!(self, Self::Service)
    }

    /// Whether the command runs to its end rather than all the time.
    pub const fn ends(&self) -> bool {
        !self.is_service()
    }
}

/// When a service counts as started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ready {
    /// When its program has been executed.
    #[default]
    Exec,
    /// When it says so itself (`READY=1`, sd_notify(3)).
    Notify,
}

/// Files that may change under a service that runs. They are no part of its instance: when nothing
/// else changes, it goes on running and is told to read them again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reload {
    /// A store path. The agent copies its files to where the processes see them, at
    /// [`LIVE_DIR`](crate::layout::LIVE_DIR).
    pub files: StoreDir,
    #[serde(default)]
    pub signal: ReloadSignal,
}

/// The signal that makes a service read its configuration again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReloadSignal {
    #[default]
    Hup,
    Usr1,
    Usr2,
}

impl ReloadSignal {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hup => "SIGHUP",
            Self::Usr1 => "SIGUSR1",
            Self::Usr2 => "SIGUSR2",
        }
    }
}

/// How a new version of a service takes over from the old one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Replace {
    /// Both run until traffic has moved.
    #[default]
    Beside,
    /// The old one stops first: for what only one process may have, such as a data folder.
    Restart,
}

impl Replace {
    pub const fn is_beside(&self) -> bool {
        matches!(self, Self::Beside)
    }
}

/// A folder of another service's state, which both see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Read {
    pub service: ServiceName,
    pub state: StateName,
    /// Where the processes see it.
    pub path: String,
    /// Whether they may write there, too.
    #[serde(default, skip_serializing_if = "is_default")]
    pub write: bool,
}

/// A secret's name, and the number that its value has: a new value is a new number, and changes
/// the services that use it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secret {
    pub name: SecretName,
    pub version: u64,
}

impl Secret {
    /// The name of its file on the host.
    pub fn file_name(&self) -> String {
        format!("{}.v{}", self.name, self.version)
    }
}

/// Numeric ids: systemd looks names up on the host, where the image's users do not exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

/// Where a service is reached. Both may be set: a proxy with TCP ports can listen on a UNIX
/// socket as well, for its own health, which the shared port cannot tell from its predecessor's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// Each replica makes a UNIX socket at `{socket}`.
    #[serde(default)]
    pub unix: bool,
    /// Addresses that the service opens by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub own: Vec<SocketAddr>,
    /// Addresses held by systemd and handed over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tcp: Vec<SocketAddr>,
    /// As `tcp`, and the service speaks TLS there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tls: Vec<SocketAddr>,
    #[serde(default)]
    pub inherit: Inherit,
}

impl Listen {
    /// Every address that systemd holds, in the order of the descriptors, and whether TLS is spoken
    /// there.
    pub fn held(&self) -> impl Iterator<Item = (&SocketAddr, bool)> {
        self.tcp.iter().map(|address| (address, false)).chain(self.tls.iter().map(|address| (address, true)))
    }

    /// Whether there is somewhere to ask without TLS.
    pub fn speaks_plainly(&self) -> bool {
        self.unix || !self.tcp.is_empty() || !self.own.is_empty()
    }

    /// Every TCP address, whoever opens it.
    pub fn addresses(&self) -> impl Iterator<Item = &SocketAddr> {
        self.held().map(|(address, _)| address).chain(&self.own)
    }
}

/// How a program is told of the TCP sockets it inherits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Inherit {
    /// systemd's own protocol: `LISTEN_FDS`, from descriptor 3.
    #[default]
    ListenFds,
    /// nginx's upgrade protocol: `NGINX=3;4;`. It finds each by its address.
    Nginx,
}

/// The signal that makes the service finish its requests and end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StopSignal {
    #[default]
    Term,
    Quit,
    Int,
}

impl StopSignal {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Term => "SIGTERM",
            Self::Quit => "SIGQUIT",
            Self::Int => "SIGINT",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthSpec {
    /// What is asked for with GET; any answer of 200 to 399 is healthy.
    pub path: String,
    /// How long an instance may take to become healthy.
    #[serde(default = "thirty_seconds")]
    pub timeout: Millis,
    /// The longest pause between two questions.
    #[serde(default = "half_a_second")]
    pub interval: Millis,
}

fn half_a_second() -> Millis {
    Millis(500)
}

/// For each replica.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Percent of one processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
    /// Processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<u32>,
}

/// A hardening directive set otherwise, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loosened {
    pub value: String,
    pub reason: String,
}

/// A duration in whole milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Millis {
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

/// As systemd reads it: `30s`, `1500ms`.
impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1000) { write!(f, "{}s", self.0 / 1000) } else { write!(f, "{}ms", self.0) }
    }
}
