//! Reading an archive: the signed InRelease file of a suite, then the indexes whose hashes it has.
//!
//! Nothing is parsed before it is verified: the signature covers InRelease, InRelease's hashes
//! cover the indexes, and those cover the packages.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cairn_fetch::{Download, FetchError, Fetcher, Mirrors, Progress, apt_sources};
use cairn_formats::Sha256;
use cairn_recipe::lock::LockedIndex;

use super::clearsign::ClearSigned;
use super::error::DebianError;
use super::keyring::Keyring;
use super::relation::is_name;
use super::release::{Age, Release};

/// Where Debian's package `debian-archive-keyring` puts its keys.
const DEFAULT_KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Bytes of an InRelease file; bookworm's has 151 kB.
const INRELEASE_LIMIT: u64 = 8 << 20;
/// Bytes of a keyring file; Debian's has 60 kB.
const KEYRING_LIMIT: u64 = 16 << 20;
/// Bytes of an unpacked index; bookworm's has 48 MB, testing's 56 MB.
const INDEX_LIMIT: u64 = 512 << 20;
/// The part of the archive that is used. The others are not free, or need what is not.
const COMPONENT: &str = "main";

/// How to read archives.
pub struct Reader<'a> {
    pub mirrors: &'a Mirrors,
    pub fetcher: &'a Fetcher,
    pub progress: &'a dyn Progress,
    /// The definition's own keyring.
    pub keyring: Option<PathBuf>,
    pub accept_stale: bool,
    pub now: SystemTime,
}

/// A suite whose InRelease file was verified.
pub struct Suite {
    pub locked: LockedIndex,
    release: Release,
}

/// `*-security` suites have an archive of their own.
pub fn archive_of(suite: &str) -> &'static str {
    if suite.ends_with("-security") { "debian-security" } else { "debian" }
}

impl Reader<'_> {
    /// Fetches and verifies InRelease.
    pub fn suite(&self, name: &str) -> Result<Suite, DebianError> {
        if !is_name(name) {
            return Err(DebianError::SuiteName { suite: name.to_owned() });
        }
        let archive = archive_of(name);
        let (keyring_path, keyring) = self.find_keyring(name)?;
        let bytes = self.inrelease(archive, name)?;
        let frame = |problem: String| DebianError::Frame { suite: name.to_owned(), problem };
        let text = std::str::from_utf8(&bytes).map_err(|_| frame("it is not text in UTF-8".to_owned()))?;
        let signed = ClearSigned::parse(text).map_err(|fault| frame(fault.to_string()))?;
        let signed_by = keyring.verify(&signed, self.now).map_err(|faults| DebianError::Signature {
            suite: name.to_owned(),
            keyring: keyring_path,
            faults,
        })?;
        let release =
            Release::parse(&signed.text).map_err(|fault| DebianError::Release { suite: name.to_owned(), fault })?;
        let accepted_stale = self.check(name, &release)?;
        Ok(Suite {
            locked: LockedIndex {
                archive: archive.to_owned(),
                suite: name.to_owned(),
                date: release.date.clone(),
                valid_until: release.valid_until.clone(),
                inrelease: Sha256::of(&bytes),
                signed_by,
                accepted_stale,
            },
            release,
        })
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
            Age::Stale if self.accept_stale => Ok(true),
            Age::Stale => {
                let valid_until = release.valid_until.clone().unwrap_or_default();
                Err(DebianError::Stale { suite: suite(), date, valid_until })
            }
        }
    }

    fn inrelease(&self, archive: &str, suite: &str) -> Result<Vec<u8>, DebianError> {
        let what = format!("InRelease of suite {suite}");
        let mut failure: Option<FetchError> = None;
        for url in self.mirrors.debian_urls(archive, &format!("dists/{suite}/InRelease"))? {
            match self.fetcher.get_bytes(&what, &url, None, INRELEASE_LIMIT) {
                Ok(bytes) => return Ok(bytes),
                Err(error) => {
                    failure.get_or_insert(error);
                }
            }
        }
        let none = || FetchError::NoMirror { what, help: "configure one under [mirrors] in deploy.toml".to_owned() };
        Err(failure.unwrap_or_else(none).into())
    }

    /// The definition's keyring, else what the machine's apt trusts for the archive, else Debian's.
    fn find_keyring(&self, suite: &str) -> Result<(PathBuf, Keyring), DebianError> {
        let searched = match &self.keyring {
            Some(path) => vec![path.clone()],
            None => {
                let archive = archive_of(suite);
                let sources = apt_sources().into_iter().filter(|source| source.serves(archive));
                sources.filter_map(|source| source.signed_by).chain([PathBuf::from(DEFAULT_KEYRING)]).collect()
            }
        };
        let Some(path) = searched.iter().find(|path| path.is_file()) else {
            return Err(DebianError::NoKeyring { suite: suite.to_owned(), searched });
        };
        let bad = |problem: String| DebianError::Keyring { path: path.clone(), problem };
        let bytes = read_limited(path).map_err(|e| bad(e.to_string()))?;
        Ok((path.clone(), Keyring::parse(&bytes).map_err(bad)?))
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

fn read_limited(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(KEYRING_LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}
