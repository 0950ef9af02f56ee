//! Which keys an archive's InRelease file is verified with.
//!
//! The definition's own keyring, if it names one, decides for every address. Otherwise an address has
//! the keys of its own apt stanza, or Debian's; the keys of one stanza never verify another's address.
//! A stanza's file that is not named as Debian's may belong to any vendor: what it verifies counts only
//! if a key of Debian's keyring has signed it as well.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cairn_fetch::{ArchiveSource, Mirrors, is_debian_keyring, without_login};
use cairn_formats::Sha256;

use super::clearsign::ClearSigned;
use super::error::DebianError;
use super::keyring::Keyring;

/// Where Debian's package `debian-archive-keyring` puts its keys; for messages.
const DEFAULT_KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Bytes of a keyring file; Debian's has 60 kB.
const KEYRING_LIMIT: u64 = 16 << 20;

/// Keys, and the files that they are from.
#[derive(Debug)]
pub struct KeyFiles {
    pub files: Vec<PathBuf>,
    pub keyring: Keyring,
    /// Of the first file's bytes.
    pub sha256: Sha256,
}

impl KeyFiles {
    /// Reads files, all of which must be there.
    pub fn read(suite: &str, files: Vec<PathBuf>) -> Result<Self, DebianError> {
        let none = || DebianError::NoKeyring { suite: suite.to_owned(), searched: files.clone() };
        let mut read: Option<(Keyring, Sha256)> = None;
        for file in &files {
            if !file.is_file() {
                return Err(none());
            }
            let bad = |problem: String| DebianError::Keyring { path: file.clone(), problem };
            let bytes = read_limited(file).map_err(|error| bad(error.to_string()))?;
            let keyring = Keyring::parse(&bytes).map_err(bad)?;
            match &mut read {
                Some((all, _)) => all.extend(keyring),
                None => read = Some((keyring, Sha256::of(&bytes))),
            }
        }
        let Some((keyring, sha256)) = read else { return Err(none()) };
        Ok(Self { files, keyring, sha256 })
    }

    /// Debian's own on this machine.
    fn of_debian(suite: &str, mirrors: &Mirrors) -> Result<Self, DebianError> {
        let mut files = mirrors.debian_keyrings();
        if files.is_empty() {
            files.push(PathBuf::from(DEFAULT_KEYRING));
        }
        Self::read(suite, files)
    }

    /// Those of one address.
    pub fn of_source(suite: &str, source: &ArchiveSource, mirrors: &Mirrors) -> Result<Self, DebianError> {
        match source.signed_by.as_slice() {
            [] => Self::of_debian(suite, mirrors),
            own => Self::read(suite, own.to_vec()),
        }
    }

    /// Fingerprints of the keys that have signed.
    pub fn verify(&self, suite: &str, signed: &ClearSigned, now: SystemTime) -> Result<Vec<String>, DebianError> {
        self.keyring.verify(signed, now).map_err(|faults| DebianError::Signature {
            suite: suite.to_owned(),
            keyrings: self.files.clone(),
            faults,
        })
    }
}

/// Refuses what was verified with another vendor's key.
pub fn check_vendor(
    suite: &str,
    source: &ArchiveSource,
    mirrors: &Mirrors,
    signed: &ClearSigned,
    now: SystemTime,
) -> Result<(), DebianError> {
    if source.signed_by.iter().all(|file| is_debian_keyring(file)) {
        return Ok(());
    }
    let by_debian = KeyFiles::of_debian(suite, mirrors).is_ok_and(|debian| debian.keyring.verify(signed, now).is_ok());
    if by_debian {
        return Ok(());
    }
    let (suite, url, keyrings) = (suite.to_owned(), without_login(&source.base), source.signed_by.clone());
    Err(DebianError::ForeignKey { suite, url, keyrings })
}

fn read_limited(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(KEYRING_LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}
