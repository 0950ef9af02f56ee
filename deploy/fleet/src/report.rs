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
    /// There was no way to it.
    Unreachable,
    /// Not begun, because of another host or of the operator.
    Skipped,
    /// Switched, and not healthy after that.
    Unhealthy,
    /// Failed and went back by itself.
    Reverted,
    /// Failed, and a person must look.
    Broken,
    /// Somebody else holds the host.
    Locked,
}

impl Outcome {
    pub fn of(error: &FleetError) -> Self {
        match error {
            FleetError::Reverted { .. } => Self::Reverted,
            FleetError::Broken { .. } => Self::Broken,
            FleetError::Skipped { .. } | FleetError::Interrupted { .. } => Self::Skipped,
            other if other.is_locked() => Self::Locked,
            other if other.is_unreachable() => Self::Unreachable,
            _ => Self::Failed,
        }
    }

    /// The exit code of a command that worked on one host.
    const fn exit_code(self) -> u8 {
        match self {
            Self::Switched | Self::RolledBack | Self::Unchanged | Self::Copied | Self::Restarted => 0,
            Self::Failed | Self::Unreachable | Self::Skipped => 1,
            Self::Reverted | Self::Broken | Self::Unhealthy => 3,
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
    /// Whether the host runs what was asked for.
    pub const fn is_success(&self) -> bool {
        self.failure.is_none()
    }

    /// Its health was asked again after the switch.
    pub fn was_unhealthy(&mut self, message: String) {
        self.outcome = Outcome::Unhealthy;
        self.fail(FleetError::Unhealthy { host: self.name.clone(), message });
    }

    /// The host was to go back to the generation before, because `because` failed.
    pub fn was_taken_back(&mut self, because: &str, back: Self) {
        let why = match &self.failure {
            Some(FleetError::Unhealthy { message, .. }) => format!("it was not healthy: {message}"),
            _ => format!("{because} failed"),
        };
        let host = self.name.clone();
        self.seconds += back.seconds;
        match (back.failure, back.generation) {
            (None, Some(generation)) => {
                (self.outcome, self.generation, self.changed) = (Outcome::RolledBack, back.generation, false);
                self.fail(FleetError::TakenBack { host, generation, why });
            }
            (error, _) => {
                if back.outcome == Outcome::Broken {
                    self.outcome = Outcome::Broken;
                }
                let error = error.unwrap_or_else(|| FleetError::NothingBefore { host: host.clone() });
                self.fail(FleetError::NotTakenBack { host, why, error: Box::new(error) });
            }
        }
    }

    fn fail(&mut self, failure: FleetError) {
        self.error = Some(failure.to_string());
        self.log = failure.problem().map(|problem| problem.log.clone()).unwrap_or_default();
        self.failure = Some(failure);
    }

    /// Of a host that was not worked on, because another one failed before.
    pub fn skipped(name: &str, because: &str) -> Self {
        Self::failed(name, FleetError::Skipped { host: name.to_owned(), because: because.to_owned() })
    }

    /// Of a host that was not begun any more.
    pub fn interrupted(name: &str) -> Self {
        Self::failed(name, FleetError::Interrupted { host: name.to_owned() })
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
/// else 4 when some failed. With `skip_unreachable`, hosts that cannot be reached do not count as
/// long as another one can.
pub fn exit_code(reports: &[HostReport], skip_unreachable: bool) -> u8 {
    let left_out = |report: &HostReport| skip_unreachable && report.outcome == Outcome::Unreachable;
    match reports {
        [] => 0,
        [one] => one.outcome.exit_code(),
        many if many.iter().all(|r| r.is_success() || left_out(r)) && !many.iter().all(left_out) => 0,
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
    /// Of a host that fetches by itself what it is to run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull: Option<cairn_protocol::PullStatus>,
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
