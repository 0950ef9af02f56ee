//! Small helpers over the file system.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::Result;
use crate::error::at;

/// Replaces a file by rename, so that a reader or a crash sees the old one or the new one.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_extension("new");
    fs::write(&temporary, bytes).map_err(at("write", &temporary))?;
    fs::rename(&temporary, path).map_err(at("write", path))
}

/// Writes a file afresh: whatever was there, a link for example, is removed and not followed.
pub(crate) fn fresh(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    absent_is_fine(fs::remove_file(path)).map_err(at("remove", path))?;
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(bytes)).map_err(at("write", path))
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
