//! Private directories on the store's file system, for trees that are not finished.

use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{At as _, Result};
use crate::lock::try_exclusive;
use crate::remove::remove_tree;
use crate::store::Store;

/// A directory that is removed on drop. It is locked while it lives; the collector removes those
/// that nobody holds.
#[derive(Debug)]
pub struct BuildDir {
    path: PathBuf,
    _lock: File,
}

impl BuildDir {
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl AsRef<Path> for BuildDir {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

impl Drop for BuildDir {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.path) {
            tracing::warn!(%error, "build directory left behind; the next collection removes it");
        }
    }
}

impl Store {
    /// A new, empty, private directory from which [`Store::add_output`] can take a tree.
    pub fn build_dir(&self) -> Result<BuildDir> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        loop {
            let next = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = self.layout().builds().join(format!("{}-{next}", std::process::id()));
            match std::fs::DirBuilder::new().mode(0o700).create(&path) {
                // Left by a dead process, or of one with our number in another PID namespace.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                other => other.at("create the build directory", &path)?,
            }
            let lock = match File::open(&path) {
                // Swept by a collector before it was locked.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                other => other.at("open the build directory", &path)?,
            };
            if try_exclusive(&lock, &path)? && lock.metadata().at("read", &path)?.nlink() > 0 {
                return Ok(BuildDir { path, _lock: lock });
            }
        }
    }
}

/// Removes the build directories that no process holds. Gives how many, and what went wrong with
/// others: one that cannot be removed keeps no collection from its end.
pub(crate) fn sweep(dir: &Path, dry_run: bool) -> Result<(usize, Vec<String>)> {
    let (mut swept, mut problems) = (0, Vec::new());
    for entry in std::fs::read_dir(dir).at("list", dir)? {
        match sweep_one(&entry.at("list", dir)?.path(), dry_run) {
            Ok(removed) => swept += usize::from(removed),
            Err(error) => {
                tracing::warn!(%error, "a build directory stays");
                problems.push(error.to_string());
            }
        }
    }
    Ok((swept, problems))
}

/// Whether no process holds it, so that it was removed.
fn sweep_one(path: &Path, dry_run: bool) -> Result<bool> {
    let lock = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other.at("open the build directory", path)?,
    };
    if !try_exclusive(&lock, path)? {
        return Ok(false);
    }
    if !dry_run {
        // With the lock held: a process that has just created it sees that, and takes another.
        remove_tree(path)?;
    }
    Ok(true)
}
