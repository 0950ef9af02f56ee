//! A host that is to become ours, is ours, or is to be its own again.

use std::net::SocketAddr;

use cairn_formats::{Sha256, StorePath};
use serde::{Deserialize, Serialize};

/// What the host is looked at for. Nothing is changed by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Examination {
    /// TCP addresses that the declared services want, each with its service.
    pub addresses: Vec<(String, SocketAddr)>,
    /// Ids that the declared services run with.
    pub users: Vec<u32>,
    pub groups: Vec<u32>,
    /// The agent that the client brings.
    pub agent: StorePath,
    /// Milliseconds since 1970, by the client's clock.
    pub now: u64,
    /// Reads every file of the store and compares hashes.
    pub verify: bool,
    /// Of a host that pulls: seconds after which its newest pointer is old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_warn_after: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Good,
    /// Good to know, and no fault.
    Note,
    Wrong,
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What was looked at: `systemd`, `disk`, `port 80`.
    pub check: String,
    pub level: Level,
    pub what: String,
    /// Why it matters, and the next step; absent where all is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Finding {
    pub fn good(check: impl Into<String>, what: impl Into<String>) -> Self {
        Self { check: check.into(), level: Level::Good, what: what.into(), why: None, next: None }
    }

    pub fn note(
        check: impl Into<String>,
        what: impl Into<String>,
        why: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        let (why, next) = (Some(why.into()), Some(next.into()));
        Self { check: check.into(), level: Level::Note, what: what.into(), why, next }
    }

    pub fn wrong(
        check: impl Into<String>,
        what: impl Into<String>,
        why: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self { level: Level::Wrong, ..Self::note(check, what, why, next) }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Examined {
    /// Whether there is something of ours on the host.
    pub ours: bool,
    pub generation: Option<u64>,
    pub findings: Vec<Finding>,
    /// What an installation would do; empty if all is done.
    pub steps: Vec<String>,
}

/// An existing file that a generation may replace, as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptedFile {
    pub path: String,
    #[serde(flatten)]
    pub content: AdoptedContent,
    pub uid: u32,
    pub gid: u32,
    /// Who adopted it, and when (seconds since 1970).
    pub operator: String,
    pub since: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum AdoptedContent {
    File {
        sha256: Sha256,
        /// Permission bits.
        mode: u32,
        /// Extended attributes, their values in hexadecimal.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        xattrs: Vec<(String, String)>,
    },
    Link {
        target: String,
    },
}

/// A unit of the host in whose place a generation comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptedUnit {
    pub unit: String,
    /// The first generation that has its place; until there is one, it runs as before.
    pub from: Option<u64>,
    pub operator: String,
    pub since: i64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopted {
    pub files: Vec<AdoptedFile>,
    pub units: Vec<AdoptedUnit>,
}

/// Adopts these, and answers with all that is adopted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdoptRequest {
    pub paths: Vec<String>,
    pub units: Vec<String>,
    pub operator: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UninstallRequest {
    /// Only says what would be done.
    pub dry_run: bool,
    /// Removes the state of services as well.
    pub delete_data: bool,
    pub operator: String,
    pub reason: Option<String>,
}

/// Something of ours on a host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Part {
    pub kind: PartKind,
    pub name: String,
}

/// In the order in which they go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartKind {
    Unit,
    /// A link that systemd reads.
    UnitLink,
    Generator,
    /// Below `/etc`, and what makes a host pull.
    File,
    Mount,
    /// Sockets and links of services.
    RunDirectory,
    User,
    Group,
    /// What a program that was killed has left.
    Temporary,
    Generation,
    Root,
    /// State of services.
    Data,
    /// Records, sealed secrets, the lock.
    Records,
    Store,
}

impl PartKind {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::UnitLink => "unit file",
            Self::Generator => "boot generator",
            Self::File => "file",
            Self::Mount => "mount",
            Self::RunDirectory => "run directory",
            Self::User => "user",
            Self::Group => "group",
            Self::Temporary => "temporary file",
            Self::Generation => "generation",
            Self::Root => "garbage-collection root",
            Self::Data => "data",
            Self::Records => "records",
            Self::Store => "store",
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uninstalled {
    /// What went, or would go.
    pub removed: Vec<Part>,
    /// What is given back: files that were adopted, units that run again.
    pub given_back: Vec<String>,
    /// What stays, each with its reason.
    pub kept: Vec<String>,
}
