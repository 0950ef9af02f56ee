//! What the store knows about a valid path.

use std::collections::BTreeSet;

use cairn_formats::{ContentAddress, Sha256, StorePath};

/// One row of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathInfo {
    pub path: StorePath,
    /// Hash of the path's NAR.
    pub nar_hash: Sha256,
    /// Bytes of the path's NAR.
    pub nar_size: u64,
    /// The paths it refers to, never itself.
    pub references: BTreeSet<StorePath>,
    /// How the path follows from its content; `None` for paths of Nix that are addressed by
    /// their inputs or in a form that we do not use.
    pub ca: Option<ContentAddress>,
    /// Seconds since the epoch; 0 when registering means now.
    pub registered: i64,
    /// The derivation that built it, when Nix did.
    pub deriver: Option<StorePath>,
}
