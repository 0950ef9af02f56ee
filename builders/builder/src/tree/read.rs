//! Reading a tree output back: a sorted walk.

use std::fs::{self, DirEntry};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use cairn_formats::RelPath;

use super::merge::Kind;
use super::{FILES, Meta};
use crate::error::{Error, Problem, Result, label};

/// As deep as a store path may be.
const MAX_DEPTH: usize = 512;

/// A tree output on disk.
pub(super) struct Tree {
    pub label: String,
    /// The output itself, which holds more than the tree (`control` of a package).
    pub output: PathBuf,
    pub files: PathBuf,
    pub meta: Meta,
}

impl Tree {
    pub fn open(output: &Path) -> Result<Self> {
        Ok(Self {
            label: label(output),
            output: output.to_owned(),
            files: output.join(FILES),
            meta: Meta::read(output)?,
        })
    }
}

/// Calls `visit` for everything below `root`, directories before what they hold, names in the
/// order of their bytes. Refuses what a store cannot hold.
pub(crate) fn walk(root: &Path, visit: &mut dyn FnMut(&RelPath, Kind) -> Result<()>) -> Result<()> {
    walk_below(root, &RelPath::root(), visit, 0)
}

fn walk_below(
    root: &Path,
    at: &RelPath,
    visit: &mut dyn FnMut(&RelPath, Kind) -> Result<()>,
    depth: usize,
) -> Result<()> {
    let directory = root.join(at.as_path());
    if depth > MAX_DEPTH {
        let problem = Problem::TooDeep { limit: MAX_DEPTH };
        return Err(Error::member(&label(root), directory.display().to_string(), problem));
    }
    let mut entries = fs::read_dir(&directory)
        .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
        .map_err(Error::io("list", &directory))?;
    entries.sort_by_key(DirEntry::file_name);
    for entry in entries {
        let physical = entry.path();
        let fault = || Error::member(&label(root), physical.display().to_string(), Problem::Escapes);
        let path = at.join(entry.file_name().as_bytes()).map_err(|_| fault())?;
        let kind = kind(&entry, &physical)?;
        let descend = kind == Kind::Directory;
        visit(&path, kind)?;
        if descend {
            walk_below(root, &path, visit, depth + 1)?;
        }
    }
    Ok(())
}

fn kind(entry: &DirEntry, physical: &Path) -> Result<Kind> {
    let file_type = entry.file_type().map_err(Error::io("inspect", physical))?;
    if file_type.is_dir() {
        Ok(Kind::Directory)
    } else if file_type.is_symlink() {
        let target = fs::read_link(physical).map_err(Error::io("read the link", physical))?;
        Ok(Kind::Link { target: target.as_os_str().as_bytes().to_vec() })
    } else if file_type.is_file() {
        let metadata = entry.metadata().map_err(Error::io("inspect", physical))?;
        Ok(Kind::File { executable: metadata.permissions().mode() & 0o100 != 0, size: metadata.len() })
    } else {
        let problem = Problem::Kind("device, pipe or socket");
        Err(Error::member(&label(physical), physical.display().to_string(), problem))
    }
}
