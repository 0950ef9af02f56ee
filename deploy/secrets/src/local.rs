//! The local vault: values for machines on this computer, which nobody shares.
//!
//! Each clone of a project makes its own machines, with their own host keys, so no committed file
//! can be encrypted to them, and somebody who only tries the project has no operator's key. A
//! secret that is declared with `generate` and has no committed file is therefore made on first
//! use, in `.cairn/secrets/` below the project (which version control ignores):
//!
//! ```text
//! identity.txt     mode 0600, made with the folder
//! NAME.age         encrypted to that identity
//! ```
//!
//! It serves hosts that are machines on this computer and no others. Key and values lie in one
//! folder, so this protects against a glance, a search and a careless copy of single files; it is
//! the folder's mode that keeps others out. Once a secret has a committed file, that one counts.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::error::at;
use crate::files::{self, private_dir};
use crate::generate::Generator;
use crate::identity::{Identities, make_identity};
use crate::name::SecretName;
use crate::seal::seal;
use crate::value::SecretBytes;
use crate::{Result, SecretsError};

/// The folder below the project's.
const FOLDER: &str = ".cairn/secrets";

#[derive(Debug, Clone)]
pub struct LocalVault {
    project: PathBuf,
    dir: PathBuf,
}

impl LocalVault {
    /// Of the project at `project`. Nothing is made yet.
    pub fn of(project: &Path) -> Self {
        Self { project: project.to_owned(), dir: project.join(FOLDER) }
    }

    /// The value and its version, made when there is none. The version is the second in which the
    /// value was made: a value that is made again has another one, and no committed file has it.
    pub fn value(&self, name: &SecretName, generator: Generator) -> Result<(SecretBytes, u64)> {
        self.check()?;
        private_dir(&self.dir)?;
        let _lock = files::lock(&self.dir)?;
        if let Some(found) = self.read(name)? {
            return Ok(found);
        }
        let identity = self.identity();
        if identity.symlink_metadata().is_err() {
            make_identity(&identity)?;
        }
        self.check_file(&identity)?;
        let identities = Identities::read(&[identity])?;
        let sealed = seal(&generator.generate(), identities.public(), None);
        let sealed = sealed.map_err(|reason| SecretsError::Seal { name: name.clone(), reason })?;
        files::replace(&self.file(name), &sealed, 0o600)?;
        self.read(name)?.ok_or_else(|| self.lost(name))
    }

    /// The value, when there is one.
    pub fn existing(&self, name: &SecretName) -> Result<Option<SecretBytes>> {
        Ok(self.read(name)?.map(|(value, _)| value))
    }

    fn read(&self, name: &SecretName) -> Result<Option<(SecretBytes, u64)>> {
        let file = self.file(name);
        self.check()?;
        if file.symlink_metadata().is_err() {
            return Ok(None);
        }
        self.check_file(&file)?;
        self.check_file(&self.identity())?;
        let ciphertext = fs::read(&file).map_err(at("read", &file))?;
        let made = fs::metadata(&file).and_then(|meta| meta.modified()).map_err(at("read", &file))?;
        let version = made.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
        let identities = Identities::read(&[self.identity()])?;
        match identities.decrypt(&ciphertext)? {
            Ok(value) => Ok(Some((value, version))),
            Err(_) => Err(self.lost(name)),
        }
    }

    /// Refuses a folder that a repository brings along: nothing is written through a link, and values are
    /// not encrypted to a key that others know.
    fn check(&self) -> Result<()> {
        let below = Path::new(FOLDER).ancestors().filter(|below| !below.as_os_str().is_empty());
        for path in below.map(|below| self.project.join(below)) {
            let meta = match path.symlink_metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other.map_err(at("read", &path))?,
            };
            let is_private = meta.mode() & 0o077 == 0 && meta.uid() == nix::unistd::geteuid().as_raw();
            match meta.is_dir() {
                false => return Err(self.not_ours(path, "it is not a folder")),
                true if path == self.dir && !is_private => {
                    return Err(self.not_ours(path, "it does not belong to this user alone (mode 0700)"));
                }
                true => {}
            }
        }
        Ok(())
    }

    fn check_file(&self, file: &Path) -> Result<()> {
        match file.symlink_metadata() {
            Ok(meta) if !meta.is_file() => Err(self.not_ours(file.to_owned(), "it is not a regular file")),
            Ok(_) => Ok(()),
            Err(error) => Err(at("read", file)(error)),
        }
    }

    fn not_ours(&self, path: PathBuf, problem: &'static str) -> SecretsError {
        SecretsError::NotLocal { path, problem, dir: self.dir.clone() }
    }

    fn lost(&self, name: &SecretName) -> SecretsError {
        SecretsError::LocalLost { name: name.clone(), file: self.file(name) }
    }

    fn identity(&self) -> PathBuf {
        self.dir.join("identity.txt")
    }

    fn file(&self, name: &SecretName) -> PathBuf {
        self.dir.join(name.file_name())
    }
}
