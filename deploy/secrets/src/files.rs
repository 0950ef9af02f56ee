//! Files that are replaced whole, and files that only their owner may read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::error::at;
use crate::{Result, SecretsError};

/// A file written in full beside the one it will replace. Dropped without [`Self::commit`] it goes
/// away; a crash leaves it for the next writer, who starts it afresh.
pub(crate) struct Prepared {
    temporary: PathBuf,
    path: PathBuf,
    committed: bool,
}

impl Prepared {
    /// Callers hold the folder's lock, so the temporary name is theirs.
    pub fn new(path: &Path, bytes: &[u8], mode: u32) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = path.with_file_name(format!(".{name}.new"));
        absent_is_fine(fs::remove_file(&temporary)).map_err(at("remove", &temporary))?;
        let prepared = Self { temporary, path: path.to_owned(), committed: false };
        let written = create(&prepared.temporary, bytes, mode);
        written.map_err(at("write", &prepared.temporary))?;
        Ok(prepared)
    }

    pub fn commit(mut self) -> Result<()> {
        fs::rename(&self.temporary, &self.path).map_err(at("replace", &self.path))?;
        self.committed = true;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        File::open(folder).and_then(|dir| dir.sync_all()).map_err(at("write", folder))
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if !self.committed {
            // What is left is ciphertext; `check` names it as a stray file.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    Prepared::new(path, bytes, mode)?.commit()
}

/// Makes a file that must not be there yet, and makes it last.
pub(crate) fn create(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    // The umask may have taken bits that others need to read a committed file.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// A folder for this user alone, with the folders above it as they are or by the umask.
pub(crate) fn private_dir(dir: &Path) -> Result<()> {
    if let Some(above) = dir.parent() {
        fs::create_dir_all(above).map_err(at("make", above))?;
    }
    match fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        other => other.map_err(at("make", dir)),
    }
}

/// An exclusive lock on a folder, until it is dropped. The folder itself is locked, so that no lock
/// file lies about in the repository.
pub(crate) fn lock(dir: &Path) -> Result<File> {
    let file = File::open(dir).map_err(at("open", dir))?;
    file.lock().map_err(at("lock", dir))?;
    Ok(file)
}

/// Refuses a private file that others may read, as ssh does.
pub(crate) fn must_be_private(path: &Path) -> Result<()> {
    let mode = fs::metadata(path).map_err(at("read", path))?.mode();
    match mode & 0o077 {
        0 => Ok(()),
        _ => Err(SecretsError::Exposed { file: path.to_owned(), mode: mode & 0o777 }),
    }
}

pub(crate) fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.age");
        fs::write(&path, "old").unwrap();
        // Left by a crash.
        fs::write(dir.path().join(".a.age.new"), "half").unwrap();
        drop(Prepared::new(&path, b"new", 0o644).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        replace(&path, b"new", 0o640).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_private_file_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        create(&path, b"x", 0o600).unwrap();
        must_be_private(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = must_be_private(&path).unwrap_err().to_string();
        assert!(error.contains("640") && error.contains("chmod 600"), "{error}");
    }
}
