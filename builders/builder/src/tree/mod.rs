//! A tree: what most steps produce and what the later ones consume.
//!
//! `OUT/tree/…` holds the files. The store keeps of a file only its content and whether it is
//! executable, so everything else that an image needs stands in `OUT/meta.json`: the entries whose
//! owner or mode differ from root, 0755 for directories and executables, 0644 for other files.

#[cfg(test)]
mod fixtures;
mod merge;
mod read;
mod write;

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

pub(crate) use merge::resolve_links;
pub use merge::{Found, Kind, Union};
pub(crate) use read::walk;
pub use write::TreeWriter;
pub(crate) use write::write_file;

use crate::error::{Error, Result};

/// Name of the directory of files inside a tree output.
pub const FILES: &str = "tree";
/// Name of the file of exceptions inside a tree output.
pub const META: &str = "meta.json";

/// Owner and permission bits (07777) of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attributes {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

impl Attributes {
    pub const DIRECTORY: Self = Self::root(0o755);
    pub const PROGRAM: Self = Self::root(0o755);
    pub const FILE: Self = Self::root(0o644);
    pub const LINK: Self = Self::root(0o777);

    pub const fn root(mode: u32) -> Self {
        Self { mode, uid: 0, gid: 0 }
    }

    pub const fn file(executable: bool) -> Self {
        if executable { Self::PROGRAM } else { Self::FILE }
    }

    /// What Nix asks of a mode: only the owner's bit counts.
    pub const fn executable(self) -> bool {
        self.mode & 0o100 != 0
    }
}

/// `meta.json`. Paths are relative to the image's root, without a leading slash.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meta {
    #[serde(default)]
    pub exceptions: BTreeMap<String, Attributes>,
}

impl Meta {
    /// Reads the exceptions of a tree output.
    pub fn read(output: &Path) -> Result<Self> {
        let path = output.join(META);
        let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
        serde_json::from_slice(&bytes).map_err(|source| Error::Meta { path, source })
    }
}
