//! Why the agent could not do what was asked, with the facts to act on.

use cairn_formats::{Sha256, StorePath};
use serde::{Deserialize, Serialize};

use crate::ActivationId;

/// An answer of the agent that ends a request without success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub kind: FailureKind,
    /// What happened, where, with the values: a full sentence for a person.
    pub message: String,
    /// What to do.
    pub advice: Option<String>,
}

/// What a program can tell apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FailureKind {
    /// Another activation holds the host's lock (exit code 5).
    Locked {
        holder: String,
        reason: Option<String>,
        since: Option<i64>,
        activation: Option<ActivationId>,
    },
    NoSpace {
        needed: u64,
        free: u64,
        directory: String,
    },
    /// A tree that came out with another hash than announced: a store is damaged, here or there.
    Mismatch {
        path: StorePath,
        expected: Sha256,
        got: Sha256,
    },
    /// A file that arrived with other bytes than announced: the sender's store is damaged.
    FileMismatch {
        path: StorePath,
        expected: Sha256,
        got: Sha256,
    },
    /// Paths that the client took for valid and that the host has not (or no longer).
    NotValid {
        paths: Vec<StorePath>,
    },
    /// The sender's data break the rules of the format.
    Malformed,
    NoSuchGeneration {
        number: u64,
    },
    NoEarlierGeneration,
    NoSuchActivation {
        id: ActivationId,
    },
    /// Another generation is live than the plan was made against.
    MovedOn {
        planned: Option<u64>,
        live: Option<u64>,
    },
    /// The activation is not in the state that the request needs.
    WrongState {
        id: ActivationId,
    },
    /// The host cannot do this: no systemd, wrong platform, not root.
    Unsupported,
    Other,
}

impl Failure {
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), advice: None }
    }

    pub fn other(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Other, message)
    }

    #[must_use]
    pub fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    pub const fn is_locked(&self) -> bool {
        matches!(self.kind, FailureKind::Locked { .. })
    }
}
