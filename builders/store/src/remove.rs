//! Deleting trees whose directories are read-only.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::canonical;
use crate::error::{At as _, Result};

/// Removes a file or tree if it is there. Gives the bytes on disk that had no other name.
pub(crate) fn remove_tree(path: &Path) -> Result<u64> {
    let meta = match path.symlink_metadata() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other.at("read", path)?,
    };
    if !meta.is_dir() {
        std::fs::remove_file(path).at("remove", path)?;
        return Ok(if meta.nlink() == 1 { meta.blocks() * 512 } else { 0 });
    }
    canonical::open_up(path, &meta)?;
    let mut freed = meta.blocks() * 512;
    for entry in std::fs::read_dir(path).at("list", path)? {
        freed += remove_tree(&entry.at("list", path)?.path())?;
    }
    std::fs::remove_dir(path).at("remove", path)?;
    Ok(freed)
}
