//! What is told, and in which form. `docs/events.md` describes every event and field: keep it so.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cairn_fleet::{HostReport, Outcome};
use cairn_formats::printable;
use cairn_formats::time::rfc3339;
use cairn_protocol::{ActivationEvent, Problem, ServiceState, Source, Step};
use serde::Serialize;

/// Raised when an event or field goes or means something else; new ones do not raise it.
pub const VERSION: u32 = 1;

/// One line of the stream; the body of a webhook.
#[derive(Debug, Clone, Serialize)]
pub struct Document {
    pub version: u32,
    pub run: String,
    pub number: u64,
    pub time: String,
    #[serde(flatten)]
    pub event: Event,
}

impl Document {
    /// As it is sent. It has the text of hosts and services: what could deceive a reader of the file is
    /// escaped, and means the same to a program.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self).map(|document| printable::json(&document).into_owned())
    }
}

/// What holds for a run as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Facts {
    pub command: String,
    pub operator: String,
    pub message: Option<String>,
    pub revision: Option<String>,
    pub clean: Option<bool>,
}

impl Facts {
    #[must_use]
    pub fn with_source(self, source: Option<&Source>) -> Self {
        Self { revision: source.map(|s| s.revision.clone()), clean: source.map(|s| s.clean), ..self }
    }
}

/// A host that takes part in a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Member {
    pub host: String,
    pub fleet: Option<String>,
}

/// What became of a host.
#[derive(Debug, Clone, Serialize)]
pub struct HostOutcome {
    #[serde(flatten)]
    pub member: Member,
    pub outcome: Outcome,
    pub generation: Option<u64>,
    pub previous: Option<u64>,
    pub changed: bool,
    pub bytes_sent: u64,
    pub seconds: f64,
    pub error: Option<String>,
    pub service: Option<String>,
    pub unit: Option<String>,
    pub log: Vec<String>,
}

/// How a run ended, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Success,
    Revert,
    Failure,
}

impl Verdict {
    /// `Revert` if something went back and nothing is worse than that.
    pub fn of(reports: &[HostReport], exit_code: u8) -> Self {
        let back = |report: &HostReport| match report.outcome {
            Outcome::Reverted => true,
            Outcome::RolledBack => !report.is_success(),
            _ => false,
        };
        let worse = |report: &HostReport| matches!(report.outcome, Outcome::Broken | Outcome::Unhealthy);
        match exit_code {
            0 => Self::Success,
            _ if reports.iter().any(back) && !reports.iter().any(worse) => Self::Revert,
            _ => Self::Failure,
        }
    }
}

#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    Started {
        #[serde(flatten)]
        facts: Facts,
        hosts: Vec<Member>,
    },
    Machine {
        host: String,
        text: String,
    },
    Connected {
        host: String,
        agent_sent: bool,
    },
    Copied {
        host: String,
        bytes: u64,
        files: u64,
    },
    Secrets {
        host: String,
        count: usize,
    },
    ActivationStarted {
        host: String,
        activation: String,
        closure: String,
        previous: Option<u64>,
    },
    Step {
        host: String,
        step: Step,
    },
    Service {
        host: String,
        service: String,
        unit: Option<String>,
        state: ServiceState,
        detail: Option<String>,
    },
    Note {
        host: String,
        text: String,
    },
    Output {
        host: String,
        service: String,
        line: String,
    },
    AwaitingConfirmation {
        host: String,
        seconds: u32,
    },
    Confirmed {
        host: String,
        by: Option<String>,
    },
    Problem {
        host: String,
        step: Step,
        message: String,
        advice: Option<String>,
        service: Option<String>,
        unit: Option<String>,
        health: Option<String>,
        log: Vec<String>,
    },
    Watching {
        host: String,
        seconds: f64,
    },
    Watched {
        host: String,
    },
    TakingBack {
        host: String,
        because: String,
    },
    HostEnded {
        #[serde(flatten)]
        of: HostOutcome,
    },
    Interrupted {
        #[serde(flatten)]
        facts: Facts,
        hosts: Vec<Member>,
    },
    Ended {
        #[serde(flatten)]
        facts: Facts,
        outcome: Verdict,
        exit_code: u8,
        seconds: f64,
        hosts: Vec<HostOutcome>,
    },
    Test {
        operator: String,
    },
}

impl Event {
    /// As `event` in the document says it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::Machine { .. } => "machine",
            Self::Connected { .. } => "connected",
            Self::Copied { .. } => "copied",
            Self::Secrets { .. } => "secrets",
            Self::ActivationStarted { .. } => "activation-started",
            Self::Step { .. } => "step",
            Self::Service { .. } => "service",
            Self::Note { .. } => "note",
            Self::Output { .. } => "output",
            Self::AwaitingConfirmation { .. } => "awaiting-confirmation",
            Self::Confirmed { .. } => "confirmed",
            Self::Problem { .. } => "problem",
            Self::Watching { .. } => "watching",
            Self::Watched { .. } => "watched",
            Self::TakingBack { .. } => "taking-back",
            Self::HostEnded { .. } => "host-ended",
            Self::Interrupted { .. } => "interrupted",
            Self::Ended { .. } => "ended",
            Self::Test { .. } => "test",
        }
    }

    /// Of what happens on a host; `None` for what is no news. `member` finds a host of the run.
    pub fn of(event: &cairn_fleet::Event, member: impl Fn(&str) -> Member) -> Option<Self> {
        use cairn_fleet::Event as Fleet;
        let own = |host: &str| host.to_owned();
        Some(match event {
            Fleet::Machine { host, text } => Self::Machine { host: own(host), text: text.clone() },
            Fleet::Connected { host, bootstrapped } => Self::Connected { host: own(host), agent_sent: *bootstrapped },
            // Many times a second.
            Fleet::Copying { .. } => return None,
            Fleet::Copied { host, bytes, files } => Self::Copied { host: own(host), bytes: *bytes, files: *files },
            Fleet::Secrets { host, count } => Self::Secrets { host: own(host), count: *count },
            Fleet::Activation { host, line } => return Self::of_activation(own(host), &line.event),
            Fleet::Watching { host, wait } => Self::Watching { host: own(host), seconds: wait.as_secs_f64() },
            Fleet::Watched { host } => Self::Watched { host: own(host) },
            Fleet::TakingBack { host, because } => Self::TakingBack { host: own(host), because: own(because) },
            Fleet::Ended { host, report } => Self::HostEnded { of: HostOutcome::of(report, member(host)) },
        })
    }

    fn of_activation(host: String, event: &ActivationEvent) -> Option<Self> {
        Some(match event.clone() {
            ActivationEvent::Started { id, closure, previous } => {
                Self::ActivationStarted { host, activation: id.to_string(), closure: closure.absolute(), previous }
            }
            ActivationEvent::Step { step } => Self::Step { host, step },
            ActivationEvent::Service { service, unit, state, detail } => {
                Self::Service { host, service, unit, state, detail }
            }
            ActivationEvent::Note { text } => Self::Note { host, text },
            ActivationEvent::Output { service, line } => Self::Output { host, service, line },
            ActivationEvent::AwaitingConfirmation { seconds } => Self::AwaitingConfirmation { host, seconds },
            ActivationEvent::Confirmed { by } => Self::Confirmed { host, by },
            ActivationEvent::Problem { problem } => {
                let Problem { step, message, advice, service, unit, log, health } = problem;
                Self::Problem { host, step, message, advice, service, unit, health, log }
            }
            // `host-ended` says it.
            ActivationEvent::Ended { .. } => return None,
        })
    }
}

impl HostOutcome {
    pub fn of(report: &HostReport, member: Member) -> Self {
        let problem = report.failure.as_ref().and_then(|failure| failure.problem());
        Self {
            member,
            outcome: report.outcome,
            generation: report.generation,
            previous: report.previous,
            changed: report.changed,
            bytes_sent: report.bytes_sent,
            seconds: report.seconds,
            error: report.error.clone(),
            service: problem.and_then(|problem| problem.service.clone()),
            unit: problem.and_then(|problem| problem.unit.clone()),
            log: report.log.clone(),
        }
    }
}

/// Now, to the millisecond.
pub(crate) fn now() -> String {
    let since = since_1970();
    let seconds = rfc3339(i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
    format!("{}.{:03}Z", seconds.trim_end_matches('Z'), since.subsec_millis())
}

/// No two runs of one computer have the same.
pub(crate) fn new_run() -> String {
    format!("{}-{}", since_1970().as_millis(), std::process::id())
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
