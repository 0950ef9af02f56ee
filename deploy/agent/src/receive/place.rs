//! The last step: all trees to their names, one transaction for all.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use cairn_store::{PathInfo, PathLock, Store};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::ReceiveError;
use super::build::Tree;

/// Moves the trees into the store and registers them. `dir` takes what is in the way. Returns how
/// many paths were new.
pub fn place(store: &Store, dir: &Path, mut trees: Vec<Tree>) -> Result<u64, ReceiveError> {
    allow_locks(trees.len());
    // Everyone takes locks in the order of the names, so that two copies cannot wait for each other.
    trees.sort_by(|a, b| a.info.path.cmp(&b.info.path));
    let mut locks: Vec<PathLock> = Vec::with_capacity(trees.len());
    let mut placed: Vec<PathInfo> = Vec::with_capacity(trees.len());
    let registered = trees.into_iter().try_for_each(|tree| {
        let lock = store.lock_path(&tree.info.path)?;
        if !store.is_valid(&tree.info.path)? {
            put(store, dir, &tree)?;
            placed.push(tree.info);
            locks.push(lock);
        }
        Ok(())
    });
    let registered = registered.and_then(|()| {
        if placed.is_empty() { Ok(()) } else { store.register_all(&placed).map_err(ReceiveError::from) }
    });
    if let Err(error) = registered {
        for info in &placed {
            let at = store.physical(&info.path);
            let _ = move_away(&at, dir);
        }
        return Err(error);
    }
    drop(locks);
    Ok(placed.len() as u64)
}

fn put(store: &Store, dir: &Path, tree: &Tree) -> Result<(), ReceiveError> {
    let to = store.physical(&tree.info.path);
    // Left by a crash: not valid, so nobody's.
    move_away(&to, dir)?;
    fs::rename(&tree.at, &to).map_err(ReceiveError::file("move a tree to", &to))?;
    let kind = fs::symlink_metadata(&to).map_err(ReceiveError::file("read", &to))?;
    if kind.is_dir() {
        fs::set_permissions(&to, Permissions::from_mode(0o555)).map_err(ReceiveError::file("set the mode of", &to))?;
    }
    Ok(())
}

/// Into the build directory, which is removed with all that it holds.
fn move_away(at: &Path, dir: &Path) -> Result<(), ReceiveError> {
    let Some(name) = at.file_name() else { return Ok(()) };
    let mut aside = std::ffi::OsString::from("aside-");
    aside.push(name);
    match fs::rename(at, dir.join(aside)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(ReceiveError::file("move away", at)),
    }
}

/// Each lock is an open file. A login session may hold 1,024 by default, and many more on request.
fn allow_locks(count: usize) {
    let limit = getrlimit(Resource::Nofile);
    let needed = count as u64 + 256;
    if limit.current.is_some_and(|current| current < needed) {
        let current = Some(limit.maximum.map_or(needed, |maximum| maximum.min(needed)));
        // Should this not help, opening the lock that is too many says so.
        let _ = setrlimit(Resource::Nofile, Rlimit { current, maximum: limit.maximum });
    }
}
