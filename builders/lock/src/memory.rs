//! What a lock remembers of the one before.
//!
//! An archive or index that takes a step back, changes its signer or exchanges what it published is
//! an error that names both values. [`Accept`] holds what the operator accepts by flags; the lock
//! records each thing accepted ([`Accepted`]) for as long as it describes what is locked.

use std::collections::BTreeSet;
use std::fmt;

use cairn_formats::Sha256;
use cairn_recipe::Lock;
use cairn_recipe::lock::{Accepted, AcceptedKind, LockedDeb};

use crate::pypi::normalise;

/// What the operator accepts although it would be an error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accept {
    /// Indexes that are past their date.
    pub stale: bool,
    /// Suites whose release may be older than the locked one.
    pub older_releases: BTreeSet<String>,
    /// Fingerprints of keys that may sign in place of the locked ones.
    pub signers: BTreeSet<String>,
    /// Packages whose file may differ from the locked one of the same version.
    pub changed_hashes: BTreeSet<String>,
}

impl Accept {
    /// Whether one of these keys is accepted. Case and spaces between groups do not matter.
    pub fn signer(&self, fingerprints: &[String]) -> bool {
        let plain = |text: &String| text.replace(' ', "").trim_start_matches("0x").to_ascii_uppercase();
        self.signers.iter().any(|accepted| fingerprints.iter().any(|found| plain(found) == plain(accepted)))
    }

    /// Whether another file of this package is accepted. Python's names have several spellings.
    pub fn changed_hash(&self, package: &str) -> bool {
        self.changed_hashes.iter().any(|name| name == package || normalise(name) == package)
    }
}

/// A file that differs from the locked one of the same package and version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChangedFile {
    pub package: String,
    pub version: String,
    pub locked: Content,
    pub found: Content,
}

/// A file of an archive or index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Content {
    pub file: String,
    pub sha256: Sha256,
    /// Bytes, where the index says how many.
    pub size: Option<u64>,
}

/// The changed files that the operator has not accepted.
#[derive(Debug, thiserror::Error)]
pub struct ChangedFiles(pub Vec<ChangedFile>);

impl fmt::Display for ChangedFiles {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "the mirror or index has other files than image.lock for the same versions")?;
        let mut flags = BTreeSet::new();
        for ChangedFile { package, version, locked, found } in &self.0 {
            write!(f, "\n  - {package} {version}\n    locked: {locked}\n    found:  {found}")?;
            flags.insert(format!("--accept-changed-hash {package}"));
        }
        let flags: Vec<String> = flags.into_iter().collect();
        write!(
            f,
            "\n  help: what was published under a version never changes by itself: find out why it did, or use another \
             mirror. If the new files are right, accept them with `{}`; the lock records that",
            flags.join(" ")
        )
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}, sha256 {}", self.file, self.sha256)?;
        self.size.map_or(Ok(()), |size| write!(f, ", {size} bytes"))
    }
}

/// The packages whose version was locked before with another content.
pub fn changed_debs(previous: &Lock, debs: &[LockedDeb]) -> Vec<ChangedFile> {
    let content =
        |deb: &LockedDeb| Content { file: deb.file_name().to_owned(), sha256: deb.sha256, size: Some(deb.size) };
    let mut changed = BTreeSet::new();
    for deb in debs {
        let same = |old: &&LockedDeb| (&old.name, &old.version, &old.arch) == (&deb.name, &deb.version, &deb.arch);
        let before: Vec<&LockedDeb> = previous.debs.iter().filter(same).collect();
        if before.iter().any(|old| (old.sha256, old.size) == (deb.sha256, deb.size)) {
            continue;
        }
        changed.extend(before.first().map(|old| ChangedFile {
            package: deb.name.clone(),
            version: deb.version.clone(),
            locked: content(old),
            found: content(deb),
        }));
    }
    changed.into_iter().collect()
}

/// Records what is accepted; an error if something is not.
pub fn judge(changed: Vec<ChangedFile>, accept: &Accept) -> Result<Vec<Accepted>, ChangedFiles> {
    let (accepted, refused): (Vec<_>, Vec<_>) =
        changed.into_iter().partition(|file| accept.changed_hash(&file.package));
    if !refused.is_empty() {
        return Err(ChangedFiles(refused));
    }
    let record = |file: ChangedFile| Accepted {
        kind: AcceptedKind::ChangedHash,
        name: file.package,
        old: file.locked.sha256.hex(),
        new: file.found.sha256.hex(),
    };
    Ok(accepted.into_iter().map(record).collect())
}

/// The records of the lock before that describe what is locked now as well.
pub fn kept(previous: Option<&Lock>, now: &Lock) -> Vec<Accepted> {
    let holds = |accepted: &&Accepted| match accepted.kind {
        AcceptedKind::OlderRelease => {
            now.indexes.iter().any(|index| index.suite == accepted.name && index.date == accepted.new)
        }
        AcceptedKind::Signer => {
            now.indexes.iter().any(|index| index.suite == accepted.name && index.signed_by.join(" ") == accepted.new)
        }
        AcceptedKind::ChangedHash => {
            let hashes = now.debs.iter().map(|deb| (&deb.name, deb.sha256));
            let mut hashes = hashes.chain(now.wheels.iter().map(|wheel| (&wheel.name, wheel.sha256)));
            hashes.any(|(name, sha256)| *name == accepted.name && sha256.hex() == accepted.new)
        }
    };
    previous.into_iter().flat_map(|lock| &lock.accepted).filter(holds).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signer_is_accepted_in_any_spelling() {
        let found = ["4D64FEC119C2029067D6E791F8D2585B8783D481".to_owned()];
        for (spelling, expected) in [
            ("4D64FEC119C2029067D6E791F8D2585B8783D481", true),
            ("4d64 fec1 19c2 0290 67d6  e791 f8d2 585b 8783 d481", true),
            ("0x4D64FEC119C2029067D6E791F8D2585B8783D481", true),
            ("F8D2585B8783D481", false),
            ("", false),
        ] {
            let accept = Accept { signers: [spelling.to_owned()].into(), ..Accept::default() };
            assert_eq!(accept.signer(&found), expected, "{spelling}");
        }
    }
}
