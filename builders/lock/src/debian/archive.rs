//! Reading an archive: the signed InRelease file of a suite, then the indexes whose hashes it has.
//!
//! Nothing is parsed before it is verified: the signature covers InRelease, InRelease's hashes
//! cover the indexes, and those cover the packages.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::time::SystemTime;

use cairn_fetch::{ArchiveSource, Download, Fetcher, Mirrors, Progress, without_login};
use cairn_formats::Sha256;
use cairn_recipe::Lock;
use cairn_recipe::lock::{Accepted, LockedIndex};

use super::clearsign::ClearSigned;
use super::continuity;
use super::error::DebianError;
use super::keys::{KeyFiles, check_vendor};
use super::relation::is_name;
use super::release::{Age, Release};
use crate::memory::Accept;

/// Bytes of an InRelease file; bookworm's has 151 kB.
const INRELEASE_LIMIT: u64 = 8 << 20;
/// Bytes of an unpacked index; bookworm's has 48 MB, testing's 56 MB.
const INDEX_LIMIT: u64 = 512 << 20;
/// The part of the archive that is used. The others are not free, or need what is not.
const COMPONENT: &str = "main";

/// How to read archives.
pub struct Reader<'a> {
    pub mirrors: &'a Mirrors,
    pub fetcher: &'a Fetcher,
    pub progress: &'a dyn Progress,
    /// The definition's own keys. They decide alone, whatever an archive says that it is.
    pub own_keys: Option<KeyFiles>,
    pub previous: Option<&'a Lock>,
    pub accept: &'a Accept,
    pub now: SystemTime,
}

/// A suite whose InRelease file was verified.
pub struct Suite {
    pub locked: LockedIndex,
    /// Differences from the lock before that were accepted.
    pub accepted: Vec<Accepted>,
    /// What happened on the way that the operator should know.
    pub warnings: Vec<String>,
    release: Release,
}

/// `*-security` suites have an archive of their own.
pub fn archive_of(suite: &str) -> &'static str {
    if suite.ends_with("-security") { "debian-security" } else { "debian" }
}

impl Reader<'_> {
    /// Fetches and verifies InRelease: the first address decides whose file is Debian's, well signed
    /// and of this suite. The others are named in a warning or the error.
    pub fn suite(&self, name: &str) -> Result<Suite, DebianError> {
        if !is_name(name) {
            return Err(DebianError::SuiteName { suite: name.to_owned() });
        }
        let mut sources = self.mirrors.archive_sources(archive_of(name))?;
        // Stable: another vendor's sources stay behind.
        sources.sort_by_key(|source| {
            let listed = source.suites.is_empty() || source.suites.iter().any(|suite| suite == name);
            (source.has_foreign_keys(), !listed)
        });
        let mut failures: Vec<(String, DebianError)> = Vec::new();
        for source in &sources {
            match self.suite_of(name, source) {
                Ok(mut suite) => {
                    let refused = failures.iter().filter(|(_, error)| !matches!(error, DebianError::Fetch(_)));
                    suite
                        .warnings
                        .extend(refused.map(|(base, error)| {
                            format!("suite {name}: {base} was passed over: {}", error.headline())
                        }));
                    return Ok(suite);
                }
                Err(error) => failures.push((without_login(&source.base), error)),
            }
        }
        Err(DebianError::of_all(name, failures))
    }

    fn suite_of(&self, name: &str, source: &ArchiveSource) -> Result<Suite, DebianError> {
        let read;
        let keys = match &self.own_keys {
            Some(keys) => keys,
            None => {
                read = KeyFiles::of_source(name, source, self.mirrors)?;
                &read
            }
        };
        let url = format!("{}/dists/{name}/InRelease", source.base);
        let bytes = self.fetcher.get_bytes(&format!("InRelease of suite {name}"), &url, None, INRELEASE_LIMIT)?;
        let frame = |problem: String| DebianError::Frame { suite: name.to_owned(), problem };
        let text = std::str::from_utf8(&bytes).map_err(|_| frame("it is not text in UTF-8".to_owned()))?;
        let signed = ClearSigned::parse(text).map_err(|fault| frame(fault.to_string()))?;
        let signed_by = keys.verify(name, &signed, self.now)?;
        let release =
            Release::parse(&signed.text).map_err(|fault| DebianError::Release { suite: name.to_owned(), fault })?;
        if self.own_keys.is_none() {
            check_origin(name, source, &release)?;
            check_vendor(name, source, self.mirrors, &signed, self.now)?;
        }
        let accepted_stale = self.check(name, &release)?;
        let locked = LockedIndex {
            archive: archive_of(name).to_owned(),
            suite: name.to_owned(),
            date: release.date.clone(),
            valid_until: release.valid_until.clone(),
            inrelease: Sha256::of(&bytes),
            signed_by,
            accepted_stale,
        };
        let mut before = self.previous.into_iter().flat_map(|lock| &lock.indexes);
        let accepted = match before.find(|old| (&old.archive, &old.suite) == (&locked.archive, &locked.suite)) {
            Some(before) => continuity::check(before, &locked, &keys.keyring, self.accept)?,
            None => Vec::new(),
        };
        Ok(Suite { locked, accepted, warnings: Vec::new(), release })
    }

    /// True if the release is stale and that was accepted.
    fn check(&self, name: &str, release: &Release) -> Result<bool, DebianError> {
        let suite = || name.to_owned();
        if !release.is(name) {
            let (suite, codename) = (release.suite.clone(), release.codename.clone());
            return Err(DebianError::WrongSuite { asked: name.to_owned(), suite, codename });
        }
        let age = release.age(self.now).map_err(|fault| DebianError::Release { suite: suite(), fault })?;
        let date = release.date.clone();
        match age {
            Age::Current => Ok(false),
            Age::NotYet => Err(DebianError::NotYet { suite: suite(), date }),
            Age::Stale if self.accept.stale => Ok(true),
            Age::Stale => {
                let valid_until = release.valid_until.clone().unwrap_or_default();
                Err(DebianError::Stale { suite: suite(), date, valid_until })
            }
        }
    }

    /// The text of the suite's index for one architecture.
    pub fn packages(&self, suite: &Suite, arch: &str) -> Result<String, DebianError> {
        let name = &suite.locked.suite;
        let plain = format!("{COMPONENT}/binary-{arch}/Packages");
        let path = format!("{plain}.xz");
        let Some((sha256, size)) = suite.release.files.get(&path).copied() else {
            return Err(DebianError::NoIndex { suite: name.clone(), arch: arch.to_owned(), path });
        };
        let mut urls = Vec::new();
        if suite.release.by_hash {
            let by_hash = format!("dists/{name}/{COMPONENT}/binary-{arch}/by-hash/SHA256/{sha256}");
            urls = self.mirrors.debian_urls(&suite.locked.archive, &by_hash)?;
        }
        urls.extend(self.mirrors.debian_urls(&suite.locked.archive, &format!("dists/{name}/{path}"))?);
        let what = format!("index of suite {name} for {arch}");
        let file_name = format!("{name}-{arch}-Packages.xz");
        let download = Download { what, urls, sha256, size: Some(size), file_name };
        let file = self.fetcher.fetch(&download, self.progress)?;
        let unpacked = suite.release.files.get(&plain).map(|(_, size)| *size);
        unpack(&file, unpacked).map_err(|problem| DebianError::Index {
            suite: name.clone(),
            arch: arch.to_owned(),
            problem,
        })
    }
}

/// Unpacks an index whose hash was checked. `size` is what InRelease says it unpacks to.
fn unpack(file: &Path, size: Option<u64>) -> Result<String, String> {
    let limit = size.unwrap_or(INDEX_LIMIT).min(INDEX_LIMIT);
    let packed = fs::File::open(file).map_err(|e| e.to_string())?;
    let mut text = String::with_capacity(limit.min(128 << 20) as usize);
    liblzma::read::XzDecoder::new(packed).take(limit + 1).read_to_string(&mut text).map_err(|e| e.to_string())?;
    match text.len() as u64 {
        len if len > limit => Err(format!("it unpacks to more than {limit} bytes")),
        len if size.is_some_and(|size| len < size) => Err(format!("it unpacks to {len} bytes, not {limit}")),
        _ => Ok(text),
    }
}

fn check_origin(suite: &str, source: &ArchiveSource, release: &Release) -> Result<(), DebianError> {
    if release.is_of(archive_of(suite)) {
        return Ok(());
    }
    Err(DebianError::Foreign {
        suite: suite.to_owned(),
        url: without_login(&source.base),
        origin: release.origin.clone().unwrap_or_default(),
        label: release.label.clone().unwrap_or_default(),
    })
}
