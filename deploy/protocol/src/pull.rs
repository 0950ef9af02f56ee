//! Hosts that fetch by themselves what they are to run.

use cairn_formats::StorePath;
use serde::{Deserialize, Serialize};

/// `/etc/cairn/pull.json`: whom a host believes, and where it looks. Nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PullConfig {
    /// `https://…`, `s3://…` or `file:///…`.
    pub cache: String,
    /// The definition whose closure it runs; many hosts may run the same.
    pub host: String,
    /// `NAME:BASE64`, as Nix writes them.
    pub trusted_public_keys: Vec<String>,
}

/// What came of it last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullStatus {
    pub cache: String,
    pub host: String,
    /// Of the newest pointer that it has seen.
    pub sequence: Option<u64>,
    pub closure: Option<StorePath>,
    /// Seconds since 1970 of its last look.
    pub checked: Option<i64>,
    /// Why it does not run what the pointer says.
    pub problem: Option<String>,
}
