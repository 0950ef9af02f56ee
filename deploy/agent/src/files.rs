//! Small files and links that are whole or absent, whatever happens in between.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{AgentError, Result, file};

/// A name beside `path` that no other process uses.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".new-{}", std::process::id()));
    path.with_file_name(name)
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

/// Writes the file so that a reader, and a power loss, find the old content or the new.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = beside(path);
    let write = || {
        let mut out = File::create(&temporary)?;
        out.write_all(bytes)?;
        out.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(parent(path))?.sync_all()
    };
    write().map_err(|error| {
        // What did not fit is not to take what room there is.
        let _ = fs::remove_file(&temporary);
        file("cannot write", path)(error)
    })
}

pub fn replace_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|e| AgentError::Content { path: path.to_owned(), reason: e.to_string() })?;
    bytes.push(b'\n');
    replace(path, &bytes)
}

/// `None` if there is no such file.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(file("cannot read", path)(e)),
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|e| AgentError::Content { path: path.to_owned(), reason: e.to_string() })
}

/// Points the link at `target` in one step: whoever follows it sees the old target or the new.
pub fn point(link: &Path, target: &Path) -> Result<()> {
    if fs::read_link(link).is_ok_and(|now| now == target) {
        return Ok(());
    }
    let temporary = beside(link);
    remove(&temporary)?;
    symlink(target, &temporary).and_then(|()| fs::rename(&temporary, link)).map_err(file("cannot link", link))
}

/// Removes a file or link; that there is none is fine.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(file("cannot remove", path)(e)),
        _ => Ok(()),
    }
}

pub fn make_directories(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(file("cannot make the directory", path))
}

/// The target of a link; `None` if there is no link.
pub fn target(link: &Path) -> Option<PathBuf> {
    fs::read_link(link).ok()
}
