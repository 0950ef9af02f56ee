//! `.links`: one name for each regular file of the store, so that equal files share their bytes.
//!
//! The name is the nix32 hash of the file's own NAR, as Nix's optimiser has it; `nix-store
//! --verify --check-contents` checks these names.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use cairn_formats::Sha256;

use crate::error::{At as _, Result, StoreError};
use crate::layout::Layout;

/// What became of a file that was to share its bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Adopted {
    /// It is the store's copy now.
    Shared,
    /// The store has no such file yet.
    Unknown,
    /// The store's copy has as many names as the file system allows; the file stays its own.
    Full,
}

pub(crate) struct Links {
    dir: PathBuf,
    /// Names for a moment; beside the tree, where no collector looks.
    scratch: PathBuf,
}

impl Links {
    /// For the files of `tree`, which may be renamed, and so its directory written.
    pub fn for_tree(layout: &Layout, tree: &Path) -> Self {
        let mut scratch = tree.as_os_str().to_owned();
        scratch.push(".link");
        Self { dir: layout.links(), scratch: scratch.into() }
    }

    /// Puts the store's copy of a file in its place, if there is one.
    pub fn adopt(&self, file: &Path, hash: &Sha256, len: u64) -> Result<Adopted> {
        let link = self.dir.join(hash.nix32());
        let meta = match link.symlink_metadata() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Adopted::Unknown),
            other => other.at("read", &link)?,
        };
        if !meta.is_file() || meta.len() != len {
            // Cut short by a crash of whoever wrote it: nobody shall share it any more.
            tracing::warn!(link = %link.display(), expected = len, found = meta.len(), "removing a damaged link");
            remove_if_there(&link)?;
            return Ok(Adopted::Unknown);
        }
        let own = file.symlink_metadata().at("read", file)?;
        if own.ino() == meta.ino() && own.dev() == meta.dev() {
            return Ok(Adopted::Shared);
        }
        match std::fs::hard_link(&link, &self.scratch) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::TooManyLinks => return Ok(Adopted::Full),
            // A collector took it away just now.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Adopted::Unknown),
            Err(e) => return Err(StoreError::io("link", &link, e)),
        }
        std::fs::rename(&self.scratch, file).at("replace", file)?;
        Ok(Adopted::Shared)
    }

    /// Makes a canonical file, whose bytes are on disk, the store's copy.
    pub fn offer(&self, file: &Path, hash: &Sha256, len: u64) -> Result<()> {
        let link = self.dir.join(hash.nix32());
        match std::fs::hard_link(file, &link) {
            Ok(()) => Ok(()),
            // Another file of the tree, or another process, was first.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => self.adopt(file, hash, len).map(|_| ()),
            // ext4 says ENOSPC when a directory's index is full. The path is complete without
            // the link; a disk that is really full fails at the next step.
            Err(e) if matches!(e.kind(), io::ErrorKind::TooManyLinks | io::ErrorKind::StorageFull) => {
                tracing::debug!(file = %file.display(), error = %e, "not shared");
                Ok(())
            }
            Err(e) => Err(StoreError::io("link", &link, e)),
        }
    }
}

pub(crate) fn remove_if_there(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.at("remove", path),
    }
}
