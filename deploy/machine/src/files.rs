//! Small helpers over the file system.

use std::fs;
use std::io;
use std::path::Path;

use crate::Result;
use crate::error::at;

/// Replaces a file by rename, so that a reader or a crash sees the old one or the new one.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_extension("new");
    fs::write(&temporary, bytes).map_err(at("write", &temporary))?;
    fs::rename(&temporary, path).map_err(at("write", path))
}

pub(crate) fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

pub(crate) fn remove_dir_all(path: &Path) -> Result<()> {
    absent_is_fine(fs::remove_dir_all(path)).map_err(at("remove", path))
}
