//! An activation as both sides name it: what is asked for, what happens, how it ends.

use std::fmt;

use cairn_formats::StorePath;
use serde::{Deserialize, Serialize};

use crate::{Expected, Retention, Source};

/// Name of one activation. It becomes part of unit and directory names on the host and therefore
/// holds only lower-case letters, digits and single dashes, at most 64 of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ActivationId(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not the name of an activation: 1 to 64 of a-z 0-9 and -, not starting with -")]
pub struct IdError {
    pub value: String,
}

impl ActivationId {
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if (1..=64).contains(&text.len()) && !text.starts_with('-') && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdError { value: text.chars().take(80).collect() })
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ActivationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ActivationId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        Self::parse(&text)
    }
}

impl From<ActivationId> for String {
    fn from(id: ActivationId) -> Self {
        id.0
    }
}

/// Why a closure is activated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Goal {
    /// A new closure; a commit makes it the next generation.
    Switch,
    /// A generation that exists already; a commit points the profile back at it.
    Rollback { to: u64 },
}

impl Goal {
    /// Whether a commit adds a generation to the profile.
    pub const fn adds_a_generation(self) -> bool {
        matches!(self, Self::Switch)
    }
}

/// What the detached activation needs to know; the agent stores it beside the event file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActivationRequest {
    pub closure: StorePath,
    pub goal: Goal,
    /// Who asks, as the host's records and the lock's holder show it: `user@machine`.
    pub operator: String,
    pub reason: Option<String>,
    /// Seconds within which a fresh connection must confirm, else the host reverts by itself.
    pub confirm_within: u32,
    // Of a switch only. A rollback is carried out by the agent of the generation it goes to, which
    // may be an earlier one, and that refuses a record with keys that it does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Refuses if another generation is live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Expected>,
    /// What is kept after the commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
}

/// The stages of an activation, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    Preflight,
    Stage,
    Start,
    Health,
    Flip,
    Confirm,
    Commit,
    Drain,
    Collect,
    Revert,
}

impl Step {
    /// What is going on, for a person.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Preflight => "checking before anything changes",
            Self::Stage => "staging units in the runtime directory",
            Self::Start => "starting new services beside the old",
            Self::Health => "waiting for health",
            Self::Flip => "moving traffic",
            Self::Confirm => "waiting for confirmation over a fresh connection",
            Self::Commit => "committing the generation",
            Self::Drain => "draining the old services",
            Self::Collect => "collecting old generations",
            Self::Revert => "going back to the recorded generation",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceState {
    Unchanged,
    /// Told to read its configuration again.
    Reloaded,
    Starting,
    Started,
    Healthy,
    Unhealthy,
    Failed,
    Draining,
    Stopped,
    /// A task or a check, and its end.
    Running,
    Done,
}

/// One line of the event file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamped {
    /// Milliseconds since 1970, by the host's clock.
    pub at: u64,
    pub event: ActivationEvent,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum ActivationEvent {
    /// The lock is held and the generation to go back to is recorded.
    Started {
        id: ActivationId,
        closure: StorePath,
        previous: Option<u64>,
    },
    Step {
        step: Step,
    },
    Service {
        service: String,
        unit: Option<String>,
        state: ServiceState,
        detail: Option<String>,
    },
    Note {
        text: String,
    },
    /// What a task or a check wrote.
    Output {
        service: String,
        line: String,
    },
    /// The trial is live and healthy; a fresh connection has `seconds` to confirm.
    AwaitingConfirmation {
        seconds: u32,
    },
    Confirmed {
        by: Option<String>,
    },
    Problem {
        problem: Problem,
    },
    /// Always the last event.
    Ended {
        outcome: Outcome,
    },
}

/// What went wrong, with the evidence that the host kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    pub step: Step,
    pub message: String,
    /// What to do about it.
    pub advice: Option<String>,
    pub service: Option<String>,
    pub unit: Option<String>,
    /// The unit's last log lines, oldest first.
    #[serde(default)]
    pub log: Vec<String>,
    /// The last answer of the health check.
    pub health: Option<String>,
}

/// How an activation ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The closure is generation `generation` now.
    Committed { generation: u64, previous: Option<u64> },
    /// The closure was live already; nothing was touched.
    Unchanged { generation: u64 },
    /// Stopped before anything changed on the host.
    Refused { problem: Problem },
    /// Failed and went back to `generation` (`None`: to a host that runs nothing of ours).
    Reverted { generation: Option<u64>, problem: Problem },
    /// Failed, and going back failed as well: a person must look.
    Broken { problem: Problem },
}

impl Outcome {
    pub const fn is_success(&self) -> bool {
        matches!(self, Self::Committed { .. } | Self::Unchanged { .. })
    }

    pub const fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused { problem } | Self::Reverted { problem, .. } | Self::Broken { problem } => Some(problem),
            Self::Committed { .. } | Self::Unchanged { .. } => None,
        }
    }
}
