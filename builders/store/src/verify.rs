//! Checking the store against its database, and the bytes against their hashes.

use std::fmt;
use std::path::{Path, PathBuf};

use cairn_formats::{Sha256, StorePath};

use crate::error::{At as _, Result};
use crate::lock::{PathLock, lock_file_of};
use crate::store::Store;
use crate::walk;

/// Something in the store that is not as the database says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Valid, and not on disk.
    Missing { path: StorePath },
    /// Valid, and its content has another hash.
    Modified { path: StorePath, expected: Sha256, found: Sha256 },
    /// Valid, and cannot be read.
    Unreadable { path: StorePath, reason: String },
    /// On disk, and not valid.
    Unregistered { path: PathBuf },
    /// A shared file whose content is not what its name says; paths that hold it are modified too.
    ModifiedLink { link: PathBuf },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { path } => write!(f, "{path} is valid but missing; add it again"),
            Self::Modified { path, expected, found } => write!(
                f,
                "{path} was modified: its NAR hash should be {expected} and is {found}; delete it and add it again"
            ),
            Self::Unreadable { path, reason } => write!(f, "{path} cannot be read: {reason}"),
            Self::Unregistered { path } => write!(
                f,
                "{} is in the store but not registered; the next garbage collection removes it",
                path.display()
            ),
            Self::ModifiedLink { link } => {
                write!(f, "the shared file {} was modified; remove it", link.display())
            }
        }
    }
}

impl Store {
    /// Compares the store's directory with the database; with `check_contents` also every byte
    /// with its hash. Gives the faults in order of names; changes nothing.
    pub fn verify(&self, check_contents: bool) -> Result<Vec<Fault>> {
        let mut faults = Vec::new();
        for path in self.valid_paths()? {
            faults.extend(self.verify_path(&path, check_contents)?);
        }
        faults.extend(self.unregistered()?.into_iter().map(|path| Fault::Unregistered { path }));
        if check_contents {
            for name in walk::sorted_names(&self.links_dir())? {
                let link = self.links_dir().join(name);
                if !link_is_intact(&link) {
                    faults.push(Fault::ModifiedLink { link });
                }
            }
        }
        Ok(faults)
    }

    fn verify_path(&self, path: &StorePath, check_contents: bool) -> Result<Option<Fault>> {
        let path = path.clone();
        let physical = self.physical(&path);
        if physical.symlink_metadata().is_err() {
            return Ok(Some(Fault::Missing { path }));
        }
        if !check_contents {
            return Ok(None);
        }
        // Collected since the list was made.
        let Some(info) = self.query(&path)? else { return Ok(None) };
        Ok(match crate::tree::hash(&physical) {
            Err(error) => Some(Fault::Unreadable { path, reason: error.to_string() }),
            Ok((found, _)) if found != info.nar_hash => Some(Fault::Modified { path, expected: info.nar_hash, found }),
            Ok(_) => None,
        })
    }

    /// What lies in the store's directory without being valid, or being made right now.
    pub(crate) fn unregistered(&self) -> Result<Vec<PathBuf>> {
        let dir = self.layout().store_dir();
        let mut found = Vec::new();
        for name in walk::sorted_names(&dir)? {
            let physical = dir.join(&name);
            let Some(text) = name.to_str() else {
                found.push(physical);
                continue;
            };
            if text == ".links" || text.ends_with(".lock") {
                continue;
            }
            let Ok(path) = StorePath::parse(text) else {
                found.push(physical);
                continue;
            };
            if self.is_valid(&path)? || self.is_being_made(&path)? {
                continue;
            }
            // It may have become valid, and its lock free, in between.
            if !self.is_valid(&path)? {
                found.push(physical);
            }
        }
        Ok(found)
    }

    fn is_being_made(&self, path: &StorePath) -> Result<bool> {
        let file = lock_file_of(&self.physical(path));
        Ok(file.try_exists().at("read", &file)? && PathLock::try_existing(&file)?.is_none())
    }
}

fn link_is_intact(link: &Path) -> bool {
    let hash = crate::tree::hash(link).map(|(hash, _)| hash.nix32());
    hash.is_ok_and(|hash| link.file_name().is_some_and(|name| name == hash.as_str()))
}
