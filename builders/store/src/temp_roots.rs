//! Temporary roots: paths that a living process needs before anything permanent refers to them.
//!
//! Nix's protocol (2.8): each process has a file `temproots/<pid>` that it keeps locked and to
//! which it appends paths, each with a NUL behind it. Who holds a shared lock on `gc.lock` may
//! append: no collection is under way. A collector takes `gc.lock` alone; a file that it can lock
//! belongs to a dead process.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use cairn_formats::StorePath;
use rustix::fs::FlockOperation;

use crate::error::{At as _, Result};
use crate::layout::Layout;
use crate::lock::{open_lock_file, try_exclusive};

pub(crate) struct TempRoots {
    dir: PathBuf,
    gc_lock: PathBuf,
    state: Mutex<Option<State>>,
}

struct State {
    file: File,
    path: PathBuf,
    gc_lock: File,
    written: BTreeSet<StorePath>,
}

impl TempRoots {
    pub fn new(layout: &Layout) -> Self {
        Self { dir: layout.temp_roots(), gc_lock: layout.gc_lock(), state: Mutex::new(None) }
    }

    pub fn add<'a>(&self, paths: impl IntoIterator<Item = &'a StorePath>) -> Result<()> {
        let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = match guard.take() {
            Some(state) => guard.insert(state),
            None => guard.insert(self.create()?),
        };
        let new: Vec<&StorePath> = paths.into_iter().filter(|path| !state.written.contains(*path)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let text: String = new.iter().map(|path| format!("{}\0", path.absolute())).collect();
        rustix::fs::flock(&state.gc_lock, FlockOperation::LockShared).at("lock", &self.gc_lock)?;
        let appended = state.file.write_all(text.as_bytes()).at("write", &state.path);
        rustix::fs::flock(&state.gc_lock, FlockOperation::Unlock).at("unlock", &self.gc_lock)?;
        appended?;
        state.written.extend(new.into_iter().cloned());
        Ok(())
    }

    fn create(&self) -> Result<State> {
        let pid = std::process::id();
        let mut suffix = 0;
        loop {
            // A second store of this process, or one with our number in another PID namespace,
            // may have the name. Nix reads the number in front.
            let name = if suffix == 0 { pid.to_string() } else { format!("{pid}-{suffix}") };
            let path = self.dir.join(name);
            let file = open_lock_file(&path)?;
            if !try_exclusive(&file, &path)? {
                suffix += 1;
                continue;
            }
            let meta = file.metadata().at("read the state of", &path)?;
            if meta.nlink() == 0 {
                // A collector removed it before we had the lock.
                continue;
            }
            // Left by a dead process with our number, or by nobody.
            file.set_len(0).at("empty", &path)?;
            let gc_lock = open_lock_file(&self.gc_lock)?;
            return Ok(State { file, path, gc_lock, written: BTreeSet::new() });
        }
    }
}

impl Drop for TempRoots {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = state.take() {
            // What stays behind is found unlocked, and removed, by the next collector.
            let _ = std::fs::remove_file(&state.path);
        }
    }
}

/// What living processes protect. Call with `gc.lock` held alone.
pub(crate) fn read_all(dir: &Path) -> Result<BTreeSet<StorePath>> {
    let mut roots = BTreeSet::new();
    for entry in std::fs::read_dir(dir).at("list", dir)? {
        let path = entry.at("list", dir)?.path();
        let mut file = match File::options().read(true).write(true).open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            other => other.at("open the temporary roots", &path)?,
        };
        if try_exclusive(&file, &path)? {
            // Only what still has the name: its owner may have removed it and ended since we
            // opened it, and the name may be that of another living process by now.
            if file.metadata().at("read the state of", &path)?.nlink() > 0 {
                std::fs::remove_file(&path).at("remove the stale temporary roots", &path)?;
                file.write_all(b"d").at("write", &path)?;
            }
            continue;
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).at("read the temporary roots", &path)?;
        for root in bytes.split(|b| *b == 0) {
            if let Some(root) = std::str::from_utf8(root).ok().and_then(|text| StorePath::from_absolute(text).ok()) {
                roots.insert(root);
            }
        }
    }
    Ok(roots)
}
