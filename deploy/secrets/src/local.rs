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

#[derive(Debug, Clone)]
pub struct LocalVault {
    dir: PathBuf,
}

impl LocalVault {
    /// Of the project at `project`. Nothing is made yet.
    pub fn of(project: &Path) -> Self {
        Self { dir: project.join(".cairn/secrets") }
    }

    /// The value and its version, made when there is none. The version is the second in which the
    /// value was made: a value that is made again has another one, and no committed file has it.
    pub fn value(&self, name: &SecretName, generator: Generator) -> Result<(SecretBytes, u64)> {
        private_dir(&self.dir)?;
        let _lock = files::lock(&self.dir)?;
        if let Some(found) = self.read(name)? {
            return Ok(found);
        }
        let identity = self.identity();
        if !identity.exists() {
            make_identity(&identity)?;
        }
        let identities = Identities::read(&[identity])?;
        let sealed = seal(&generator.generate(), identities.public());
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
        if !file.exists() {
            return Ok(None);
        }
        let ciphertext = fs::read(&file).map_err(at("read", &file))?;
        let made = fs::metadata(&file).and_then(|meta| meta.modified()).map_err(at("read", &file))?;
        let version = made.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
        let identities = Identities::read(&[self.identity()])?;
        match identities.decrypt(&ciphertext)? {
            Ok(value) => Ok(Some((value, version))),
            Err(_) => Err(self.lost(name)),
        }
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
