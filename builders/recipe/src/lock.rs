//! `image.lock`: what an image is made of, to the byte, for every platform.
//!
//! `deploy lock` writes it and everybody commits it. It is sorted, so that an update reads as a
//! small diff, and it names archives and packages, never the host of a mirror.

use std::path::{Path, PathBuf};

use cairn_formats::{Platform, Sha256};
use serde::{Deserialize, Serialize};

use crate::error::DefinitionError;
use crate::image::ImageDefinition;
use crate::parse;

/// The version of the file format that this code writes and reads.
pub const LOCK_VERSION: u32 = 1;

const HEADER: &str = "# Written by `deploy lock`. Commit it; do not edit it.\n\n";

/// The content of an `image.lock`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    pub version: u32,
    /// [`ImageDefinition::lock_hash`] of the definition that was locked.
    pub definition: Sha256,
    pub platforms: Vec<Platform>,
    /// Hash of the file that `debian.keyring` of the definition named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyring: Option<Sha256>,
    /// Python packages that were uploaded at this time or later were left out (RFC 3339, in UTC).
    /// Locking again keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude_newer: Option<String>,
    #[serde(default, rename = "index", skip_serializing_if = "Vec::is_empty")]
    pub indexes: Vec<LockedIndex>,
    #[serde(default, rename = "deb", skip_serializing_if = "Vec::is_empty")]
    pub debs: Vec<LockedDeb>,
    #[serde(default, rename = "wheel", skip_serializing_if = "Vec::is_empty")]
    pub wheels: Vec<LockedWheel>,
    /// Differences from the lock before that the operator accepted, as long as they describe what
    /// is locked now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepted: Vec<Accepted>,
}

/// Something that would have been an error, and that the operator accepted by a flag of `deploy lock`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    pub kind: AcceptedKind,
    /// A suite, or a package.
    pub name: String,
    /// The value in the lock before: a date, fingerprints, or a hash.
    pub old: String,
    pub new: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AcceptedKind {
    /// `--accept-older-release`
    OlderRelease,
    /// `--accept-signer`
    Signer,
    /// `--accept-changed-hash`
    ChangedHash,
}

/// A Debian index whose signature was verified while locking.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedIndex {
    /// Kind of mirror: `debian`, `debian-security`.
    pub archive: String,
    pub suite: String,
    /// As in the InRelease file, RFC 2822.
    pub date: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<String>,
    /// Hash of the InRelease file.
    pub inrelease: Sha256,
    /// Fingerprints of the keys whose signature was good, upper-case hexadecimal.
    pub signed_by: Vec<String>,
    /// The index was past `valid_until` and the operator accepted it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub accepted_stale: bool,
}

/// One version of one Debian package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedDeb {
    pub name: String,
    pub version: String,
    /// `amd64`, `arm64` or `all`.
    pub arch: String,
    /// Name of the source package.
    pub source: String,
    /// Bytes of the archive.
    pub size: u64,
    pub sha256: Sha256,
    /// Kind of mirror that has it.
    pub archive: String,
    /// Path below the mirror: `pool/main/…`.
    pub pool: String,
    /// Names of the packages in this lock that it needs, as resolved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends: Vec<String>,
    pub platforms: Vec<Platform>,
    /// The image layer it belongs to.
    pub layer: String,
}

/// One wheel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedWheel {
    /// Normalised (PEP 503).
    pub name: String,
    pub version: String,
    pub file: String,
    /// Bytes of the archive.
    pub size: u64,
    pub sha256: Sha256,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends: Vec<String>,
    pub platforms: Vec<Platform>,
    pub layer: String,
}

impl LockedDeb {
    /// The archive's file name, the last part of its pool path.
    pub fn file_name(&self) -> &str {
        self.pool.rsplit('/').next().unwrap_or(&self.pool)
    }
}

impl Lock {
    /// Brings entries and lists into the order in which they are written.
    pub fn sort(&mut self) {
        self.platforms.sort();
        self.indexes.sort();
        self.accepted.sort();
        self.accepted.dedup();
        self.debs.sort_by(|a, b| (&a.name, &a.arch, &a.version).cmp(&(&b.name, &b.arch, &b.version)));
        self.wheels.sort_by(|a, b| (&a.name, &a.version, &a.file).cmp(&(&b.name, &b.version, &b.file)));
        for (depends, platforms) in (self.debs.iter_mut().map(|d| (&mut d.depends, &mut d.platforms)))
            .chain(self.wheels.iter_mut().map(|w| (&mut w.depends, &mut w.platforms)))
        {
            depends.sort();
            platforms.sort();
        }
    }

    /// The text of the file.
    pub fn to_toml(&self) -> String {
        let body = toml::to_string(self).expect("a lock holds only strings, integers and lists of strings");
        format!("{HEADER}{body}")
    }

    pub fn parse(file: &Path, text: &str) -> Result<Self, DefinitionError> {
        let lock: Self = parse::toml(file, text)?;
        if lock.version != LOCK_VERSION {
            return Err(DefinitionError::LockVersion { file: file.to_owned(), found: lock.version });
        }
        for deb in &lock.debs {
            let plain = deb.pool.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
            if !plain || deb.pool.contains(['?', '#', '\\']) {
                return Err(lock.hostile(file, &deb.name, &deb.pool));
            }
        }
        for wheel in &lock.wheels {
            if wheel.file.contains('/') || !wheel.file.ends_with(".whl") {
                return Err(lock.hostile(file, &wheel.name, &wheel.file));
            }
        }
        Ok(lock)
    }

    fn hostile(&self, file: &Path, package: &str, value: &str) -> DefinitionError {
        DefinitionError::LockPath { file: file.to_owned(), package: package.to_owned(), value: value.to_owned() }
    }

    /// The packages of one platform, in the order of the lock.
    pub fn debs_for(&self, platform: Platform) -> impl Iterator<Item = &LockedDeb> {
        self.debs.iter().filter(move |d| d.platforms.contains(&platform))
    }

    pub fn wheels_for(&self, platform: Platform) -> impl Iterator<Item = &LockedWheel> {
        self.wheels.iter().filter(move |w| w.platforms.contains(&platform))
    }

    /// Refuses a lock made for another definition, or with a package twice on one platform.
    pub fn check(&self, image: &str, file: &Path, definition: &ImageDefinition) -> Result<(), DefinitionError> {
        if self.definition != definition.lock_hash() {
            return Err(DefinitionError::LockMismatch { file: file.to_owned(), image: image.to_owned() });
        }
        for platform in Platform::ALL {
            let names = self.debs_for(platform).map(|d| ("package", &d.name, &d.version));
            let wheels = self.wheels_for(platform).map(|w| ("wheel", &w.name, &w.version));
            for mut list in [names.collect::<Vec<_>>(), wheels.collect()] {
                list.sort();
                if let Some(twice) = list.windows(2).find(|pair| pair[0].1 == pair[1].1) {
                    return Err(DefinitionError::LockedTwice {
                        file: file.to_owned(),
                        image: image.to_owned(),
                        package: twice[0].1.clone(),
                        versions: [twice[0].2.clone(), twice[1].2.clone()],
                        platform,
                    });
                }
            }
        }
        Ok(())
    }
}

/// Where an image's lock lies, beside its definition.
pub fn lock_file(definition_file: &Path) -> PathBuf {
    definition_file.with_file_name("image.lock")
}

#[cfg(test)]
#[path = "lock_tests.rs"]
mod tests;
