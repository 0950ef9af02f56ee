//! What a host's records say of the past: attempts, how they ended, how long generations stay.

use cairn_formats::StorePath;
use serde::{Deserialize, Serialize};

use crate::{ActivationId, Goal};

/// The state of the project that a closure was built from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The commit, as git names it.
    pub revision: String,
    /// Whether the project was exactly that.
    pub clean: bool,
}

/// What became of the services, by name, and of the host itself (`/etc/…`, `user …`). Those that went on as they were are not named.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub new: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaced: Vec<String>,
    /// They went on running, and read their configuration again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reloaded: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    UnderWay,
    Committed,
    /// Nothing was touched.
    Refused,
    /// Failed, and went back.
    Reverted,
    /// Failed, and going back failed as well.
    Broken,
}

impl Ending {
    pub const fn word(self) -> &'static str {
        match self {
            Self::UnderWay => "under way",
            Self::Committed => "committed",
            Self::Refused => "refused",
            Self::Reverted => "reverted",
            Self::Broken => "broken",
        }
    }
}

/// One activation, as its record on the host has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    pub id: ActivationId,
    /// Seconds since 1970 at which it began.
    pub began: i64,
    pub operator: String,
    pub reason: Option<String>,
    pub goal: Goal,
    pub closure: StorePath,
    /// The generation that was live before.
    pub from: Option<u64>,
    /// The one that was made or gone back to; `None` for a switch that made none.
    pub to: Option<u64>,
    pub ending: Ending,
    /// The first thing that went wrong.
    pub problem: Option<String>,
    /// What the closure was built from; of a rollback, that of the generation it went to.
    pub source: Option<Source>,
    pub changes: Option<Changes>,
}

/// Which generations before the live one stay: the `keep` newest of all, and those that were live
/// within `keep_for`. Besides these always the one before the live one, and what is pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// The live one among them.
    pub keep: u32,
    /// In seconds.
    pub keep_for: Option<u64>,
}

impl Retention {
    /// What a host keeps whose definition does not say.
    pub const DEFAULT: Self = Self { keep: 10, keep_for: None };
}

/// The generation that a plan was made against: the activation is refused if another one is live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// `None`: a host that runs nothing of ours.
    pub generation: Option<u64>,
}

/// Who took the host's lock last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockHolder {
    pub operator: String,
    pub purpose: String,
    pub reason: Option<String>,
    /// Seconds since 1970.
    pub since: i64,
    pub pid: u32,
    pub activation: Option<ActivationId>,
    /// What its activation is at.
    pub phase: Option<String>,
    /// Whether its process lives: the lock is the kernel's, and falls with it.
    pub held: bool,
}
