//! What became of each host, for people and for programs.

use serde::Serialize;

use crate::FleetError;

/// How a switch or rollback of one host ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Switched,
    RolledBack,
    Unchanged,
    /// The closure is there; what runs is as it was.
    Copied,
    /// What runs is what ran before, in new processes.
    Restarted,
    /// Failed with nothing changed.
    Failed,
    /// Failed and went back by itself.
    Reverted,
    /// Failed, and a person must look.
    Broken,
    /// Somebody else holds the host.
    Locked,
}

impl Outcome {
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Switched | Self::RolledBack | Self::Unchanged | Self::Copied | Self::Restarted)
    }

    pub fn of(error: &FleetError) -> Self {
        match error {
            FleetError::Reverted { .. } => Self::Reverted,
            FleetError::Broken { .. } => Self::Broken,
            other if other.is_locked() => Self::Locked,
            _ => Self::Failed,
        }
    }

    /// The exit code of a command that worked on one host.
    const fn exit_code(self) -> u8 {
        match self {
            Self::Switched | Self::RolledBack | Self::Unchanged | Self::Copied | Self::Restarted => 0,
            Self::Failed => 1,
            Self::Reverted | Self::Broken => 3,
            Self::Locked => 5,
        }
    }
}

/// The result of `deploy switch`, `rollback`, `copy` and `restart` for one host.
#[derive(Debug, Serialize)]
pub struct HostReport {
    pub name: String,
    pub outcome: Outcome,
    /// The generation that is live now.
    pub generation: Option<u64>,
    /// The one that was live before.
    pub previous: Option<u64>,
    /// Whether the host runs something else than before.
    pub changed: bool,
    /// Over the connection, after compression.
    pub bytes_sent: u64,
    pub seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Last log lines of the unit that failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
    #[serde(skip)]
    pub failure: Option<FleetError>,
}

impl HostReport {
    /// Of a host that was not worked on, because another one failed before.
    pub fn skipped(name: &str, because: &str) -> Self {
        Self::failed(name, FleetError::Skipped { host: name.to_owned(), because: because.to_owned() })
    }

    /// Of a host on which nothing was done.
    pub fn failed(name: &str, failure: FleetError) -> Self {
        Self {
            name: name.to_owned(),
            outcome: Outcome::of(&failure),
            generation: None,
            previous: None,
            changed: false,
            bytes_sent: 0,
            seconds: 0.0,
            error: Some(failure.to_string()),
            log: Vec::new(),
            failure: Some(failure),
        }
    }
}

/// 0 when all is well; the one host's own code; of several hosts 5 when somebody else holds them all,
/// else 4 when some failed.
pub fn exit_code(reports: &[HostReport]) -> u8 {
    match reports {
        [one] => one.outcome.exit_code(),
        many if many.iter().all(|r| r.outcome.is_success()) => 0,
        many if many.iter().all(|r| r.outcome == Outcome::Locked) => 5,
        _ => 4,
    }
}

/// One host in `deploy status`.
#[derive(Debug, Serialize)]
pub struct StatusEntry {
    pub name: String,
    pub generation: Option<u64>,
    /// RFC 3339.
    pub since: Option<String>,
    pub health: String,
    pub endpoints: Vec<Endpoint>,
    pub services: Vec<cairn_protocol::ServiceStatus>,
    /// An activation that is under way.
    pub activation: Option<String>,
    /// Drift, reboot, disks and maintenance.
    #[serde(flatten)]
    pub condition: cairn_protocol::Condition,
    /// Of a host that serves names by TLS: the one that ends first.
    pub certificate: Option<CertificateStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The certificate with the fewest days left among those that a host shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CertificateStatus {
    pub name: String,
    /// Whole days; below zero when it has ended.
    pub days_left: i64,
}

/// Where a service answers, seen from this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    pub service: String,
    pub url: String,
}
