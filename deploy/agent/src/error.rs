//! Why the agent could not do something, with the facts to act on.

use std::io;
use std::path::{Path, PathBuf};

use cairn_protocol::{ActivationId, Failure, FailureKind, Problem, Step};

use crate::activation::Holder;

pub type Result<T> = std::result::Result<T, AgentError>;

#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("{doing} {path}: {source}", path = path.display())]
    File { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("{path} does not hold what it should: {reason}", path = path.display())]
    Content { path: PathBuf, reason: String },
    #[error("`{command}` failed ({status}): {stderr}")]
    Command { command: String, status: String, stderr: String },
    #[error("cannot run `{command}`: {source}")]
    Spawn { command: String, source: io::Error },
    #[error("{}", .0.describe())]
    Locked(Box<Holder>),
    #[error("there is no activation {0} on this host")]
    NoSuchActivation(ActivationId),
    #[error("activation {id} is {is}, so it cannot be {wanted}")]
    WrongState { id: ActivationId, is: &'static str, wanted: &'static str },
    #[error("there is no generation {0} on this host")]
    NoSuchGeneration(u64),
    #[error("this host has no generation before the current one to go back to")]
    NoEarlierGeneration,
    #[error("{}", moved_on(*.planned, *.live))]
    MovedOn { planned: Option<u64>, live: Option<u64> },
    #[error("{0}")]
    Unsupported(String),
    /// A step of an activation failed; the evidence is collected already.
    #[error("{}", .0.message)]
    Fault(Box<Fault>),
    #[error(transparent)]
    Store(#[from] cairn_store::StoreError),
}

/// What went wrong in a step, before it is known in which step it was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fault {
    pub message: String,
    pub advice: Option<String>,
    pub service: Option<String>,
    pub unit: Option<String>,
    pub log: Vec<String>,
    pub health: Option<String>,
}

impl Fault {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    #[must_use]
    pub fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

impl From<Fault> for AgentError {
    fn from(fault: Fault) -> Self {
        Self::Fault(Box::new(fault))
    }
}

impl AgentError {
    /// What to do about it.
    pub fn advice(&self) -> Option<&str> {
        match self {
            Self::Fault(fault) => fault.advice.as_deref(),
            _ => None,
        }
    }

    /// As the evidence of a failed step.
    pub fn into_problem(self, step: Step) -> Problem {
        let fault = match self {
            Self::Fault(fault) => *fault,
            other => Fault::new(other.to_string()),
        };
        Problem {
            step,
            message: fault.message,
            advice: fault.advice,
            service: fault.service,
            unit: fault.unit,
            log: fault.log,
            health: fault.health,
        }
    }
}

fn moved_on(planned: Option<u64>, live: Option<u64>) -> String {
    let generation = |number: Option<u64>| number.map_or("no generation".to_owned(), |n| format!("generation {n}"));
    format!("the plan was made against {}, and {} is live now", generation(planned), generation(live))
}

/// For `map_err`: the file and what was being done with it.
pub fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> AgentError {
    let path = path.to_owned();
    move |source| AgentError::File { doing, path, source }
}

impl From<AgentError> for Failure {
    fn from(error: AgentError) -> Self {
        let message = error.to_string();
        let (kind, advice) = match error {
            AgentError::Locked(holder) => (
                FailureKind::Locked {
                    holder: holder.operator.clone(),
                    reason: holder.reason.clone(),
                    since: Some(holder.since),
                    activation: holder.activation,
                },
                Some("wait until it has ended, or ask its holder".to_owned()),
            ),
            AgentError::NoSuchGeneration(number) => (
                FailureKind::NoSuchGeneration { number },
                Some("`deploy generations HOST` lists those that the host keeps".to_owned()),
            ),
            AgentError::NoEarlierGeneration => (
                FailureKind::NoEarlierGeneration,
                Some("`deploy generations HOST` lists those that the host keeps".to_owned()),
            ),
            AgentError::MovedOn { planned, live } => (
                FailureKind::MovedOn { planned, live },
                Some("make the plan again: `deploy plan HOST --out FILE`".to_owned()),
            ),
            AgentError::NoSuchActivation(id) => (FailureKind::NoSuchActivation { id }, None),
            AgentError::WrongState { id, .. } => (FailureKind::WrongState { id }, None),
            AgentError::Unsupported(_) => (FailureKind::Unsupported, None),
            AgentError::Fault(fault) => (FailureKind::Other, fault.advice),
            AgentError::File { .. }
            | AgentError::Content { .. }
            | AgentError::Command { .. }
            | AgentError::Spawn { .. }
            | AgentError::Store(_) => (FailureKind::Other, None),
        };
        Self { kind, message, advice }
    }
}
