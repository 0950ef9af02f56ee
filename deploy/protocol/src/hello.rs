//! What the agent says first: enough to see, without asking, that nothing is to be done.

use cairn_formats::{Platform, StorePath};
use serde::{Deserialize, Serialize};

use crate::{ActivationId, Changes, Ending, Source};

/// A committed generation of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    pub number: u64,
    pub closure: StorePath,
    /// Seconds since 1970 of its commit.
    pub created: i64,
    pub current: bool,
    pub operator: Option<String>,
    pub reason: Option<String>,
    /// What it was built from; `None` when that was no git tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// What it changed when it was switched to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
    /// How the switch that made it ended, and what went wrong in it all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Stays whatever the retention says.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pinned: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`crate::VERSION`] of the agent.
    pub version: u32,
    /// The agent's own version, for messages.
    pub agent: String,
    pub platform: Platform,
    /// Free bytes of the file system that holds the store.
    pub free_bytes: u64,
    pub current: Option<Generation>,
    /// Valid paths of the host's store: all of them when `all_valid`, else those that the
    /// generations need. The current generation's come first.
    pub valid: Vec<StorePath>,
    pub all_valid: bool,
    /// Sealed secrets that the host keeps and can open, as `NAME.vVERSION`.
    #[serde(default)]
    pub secrets: Vec<String>,
    /// The host's public key, which secrets are sealed to: `ssh-ed25519 AAAA…`.
    #[serde(default)]
    pub host_key: Option<String>,
    pub host: HostSummary,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSummary {
    pub hostname: String,
    pub kernel: String,
    /// Whether systemd is the host's first process.
    pub systemd: bool,
    pub uptime_seconds: u64,
    /// An activation that is under way, or waits for its confirmation.
    pub activation: Option<ActivationId>,
}
