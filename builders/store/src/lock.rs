//! Lock files as Nix uses them.
//!
//! A path being made is guarded by `flock` on `<path>.lock`. The owner removes the file when
//! done, so that whoever waited on the removed file notices and starts over. Nix notices by a `d` that
//! is written into it; we look at the number of its names, and write the `d` for Nix.

use std::fs::File;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use cairn_formats::StorePath;
use rustix::fs::FlockOperation;

use crate::error::{At as _, Result};
use crate::store::Store;

/// The right to create, replace or delete one store path. Given back on drop.
#[derive(Debug)]
#[must_use = "dropping it unlocks the path"]
pub struct PathLock {
    file: File,
    path: PathBuf,
}

impl Store {
    /// Waits until nobody else makes this path, here or in a Nix on the same root.
    pub fn lock_path(&self, path: &StorePath) -> Result<PathLock> {
        PathLock::acquire(lock_file_of(&self.physical(path)))
    }
}

pub(crate) fn lock_file_of(physical: &Path) -> PathBuf {
    let mut name = physical.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

pub(crate) fn open_lock_file(path: &Path) -> Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .at("open the lock file", path)
}

/// Takes the lock if it is free.
pub(crate) fn try_exclusive(file: &File, path: &Path) -> Result<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno).at("lock", path),
    }
}

impl PathLock {
    fn acquire(path: PathBuf) -> Result<Self> {
        loop {
            let file = open_lock_file(&path)?;
            if !try_exclusive(&file, &path)? {
                tracing::info!(path = %path.display(), "waiting for a lock");
                rustix::fs::flock(&file, FlockOperation::LockExclusive).at("lock", &path)?;
            }
            if !is_stale(&file, &path)? {
                return Ok(Self { file, path });
            }
        }
    }

    /// The lock if it is free, for sweeping: never waits, never creates the file.
    pub(crate) fn try_existing(path: &Path) -> Result<Option<Self>> {
        let file = match File::options().read(true).write(true).open(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.at("open the lock file", path)?,
        };
        let free = try_exclusive(&file, path)? && !is_stale(&file, path)?;
        Ok(free.then(|| Self { file, path: path.to_path_buf() }))
    }
}

/// Whether the file was removed by its last owner while we waited for it.
fn is_stale(file: &File, path: &Path) -> Result<bool> {
    Ok(file.metadata().at("read the state of", path)?.nlink() == 0)
}

impl Drop for PathLock {
    fn drop(&mut self) {
        use std::io::Write as _;
        // Failing to tidy up is harmless: the lock ends with the descriptor, and the collector
        // removes lock files that nobody holds.
        let tidied = std::fs::remove_file(&self.path).and_then(|()| self.file.write_all(b"d"));
        if let Err(error) = tidied {
            tracing::debug!(path = %self.path.display(), %error, "lock file left behind");
        }
    }
}
