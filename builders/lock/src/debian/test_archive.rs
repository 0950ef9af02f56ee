//! A whole archive on disk, signed with a key made here, for tests of everything that can be wrong
//! with it.
#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;
use std::fs;
use std::time::SystemTime;

use cairn_fetch::{Fetcher, Mirrors, MirrorsConfig};
use cairn_formats::{Platform, Sha256};
use cairn_recipe::image::DebianSection;
use cairn_recipe::lock::{LOCK_VERSION, Lock};
use pgp::composed::SignedSecretKey;

use super::deb::tests::deb;
use super::keyring::tests::{key, public, sign};
use super::{DebianError, DebianLock, DebianRequest, lock_debs};
use crate::memory::{Accept, kept};

/// Of the releases, where a test says nothing else.
pub const DATE: &str = "Sat, 11 Jul 2026 10:16:37 UTC";

/// A signed archive of one suite, and what it is locked with.
pub struct Archive {
    pub dir: tempfile::TempDir,
    pub key: SignedSecretKey,
    pub section: DebianSection,
    pub now: SystemTime,
    pub accept: Accept,
    pub previous: Option<Lock>,
    /// `None`: the mirror of this archive, as the project's.
    pub mirrors: Option<Mirrors>,
}

/// Name, version, architecture, further fields, postinst.
pub type Entry<'a> = (&'a str, &'a str, &'a str, &'a str, &'a str);

pub const PACKAGES: &[Entry] = &[
    ("app", "1.0", "all", "Depends: lib (>= 1), tool | other\n", ""),
    ("lib", "1.1", "amd64", "Source: libsrc (1.1)\n", "#!/bin/sh\nset -e\nldconfig\n"),
    ("lib", "1.2", "arm64", "Source: libsrc (1.2)\n", "#!/bin/sh\nset -e\nldconfig\n"),
    ("tool", "2", "all", "Depends: lib\nMulti-Arch: foreign\n", ""),
    ("daemon", "3", "all", "", "#!/bin/sh\nadduser --system daemon\n"),
];

impl Archive {
    pub fn new() -> Self {
        let section = DebianSection {
            suites: vec!["stable".into()],
            packages: vec!["app".into()],
            exclude: BTreeMap::new(),
            acknowledge: Vec::new(),
            keyring: Some("keys.gpg".into()),
        };
        let now = super::date::parse("Sun, 12 Jul 2026 00:00:00 UTC").unwrap();
        // The key is made by the real clock, which may be past that.
        let now = now.max(SystemTime::now());
        let (dir, key) = (tempfile::tempdir().unwrap(), key(true));
        let archive = Self { dir, key, section, now, accept: Accept::default(), previous: None, mirrors: None };
        archive.write("keys.gpg", &public(&[&archive.key]));
        archive.publish("Codename: stable\n");
        archive
    }

    pub fn write(&self, path: &str, content: &[u8]) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Writes packages, indexes and InRelease; `fields` stand in InRelease beside the date.
    pub fn publish(&self, fields: &str) {
        self.publish_at(fields, DATE);
    }

    pub fn publish_at(&self, fields: &str, date: &str) {
        let mut sums = String::new();
        for arch in ["amd64", "arm64"] {
            let mut index = String::new();
            for (name, version, package_arch, more, postinst) in PACKAGES {
                if *package_arch != arch && *package_arch != "all" {
                    continue;
                }
                let control = format!("Package: {name}\nVersion: {version}\n");
                let scripts = [("control", control.as_str()), ("postinst", *postinst)];
                let content = deb(&scripts[..if postinst.is_empty() { 1 } else { 2 }], ".xz");
                let pool = format!("pool/main/{name}_{version}_{package_arch}.deb");
                self.write(&format!("mirror/{pool}"), &content);
                let (size, hash) = (content.len(), Sha256::of(&content));
                index += &format!(
                    "Package: {name}\nVersion: {version}\nArchitecture: {package_arch}\n{more}Filename: {pool}\nSize: {size}\nSHA256: {hash}\n\n"
                );
            }
            let mut packed = liblzma::write::XzEncoder::new(Vec::new(), 0);
            std::io::Write::write_all(&mut packed, index.as_bytes()).unwrap();
            let packed = packed.finish().unwrap();
            for (suffix, content) in [("", index.as_bytes()), (".xz", &packed)] {
                let path = format!("main/binary-{arch}/Packages{suffix}");
                sums += &format!(" {} {} {path}\n", Sha256::of(content), content.len());
                self.write(&format!("mirror/dists/stable/{path}"), content);
            }
        }
        self.release(&format!("{fields}Date: {date}\nSHA256:\n{sums}"));
    }

    pub fn release(&self, text: &str) {
        self.write("mirror/dists/stable/InRelease", sign(text, &self.key.primary_key).as_bytes());
    }

    pub fn edit(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let path = self.dir.path().join("mirror").join(path);
        let mut content = fs::read(&path).unwrap();
        change(&mut content);
        fs::write(path, content).unwrap();
    }

    /// The address of the mirror.
    pub fn mirror(&self) -> String {
        format!("file://{}/mirror", self.dir.path().display())
    }

    /// Locks, and keeps the result as the lock before.
    pub fn lock_and_keep(&mut self) -> DebianLock {
        let DebianLock { indexes, debs, keyring, accepted, warnings } = self.lock().unwrap();
        let mut lock = Lock {
            version: LOCK_VERSION,
            definition: Sha256::of(b""),
            platforms: Platform::ALL.to_vec(),
            keyring,
            exclude_newer: None,
            indexes: indexes.clone(),
            debs: debs.clone(),
            wheels: vec![],
            accepted: accepted.clone(),
        };
        lock.accepted.extend(kept(self.previous.as_ref(), &lock));
        self.previous = Some(lock);
        DebianLock { indexes, debs, keyring, accepted, warnings }
    }

    pub fn lock(&self) -> Result<DebianLock, DebianError> {
        let mirrors = self.mirrors.as_ref();
        let project = Mirrors::discover(&MirrorsConfig { debian: vec![self.mirror()], ..Default::default() });
        lock_debs(&DebianRequest {
            section: &self.section,
            folder: self.dir.path(),
            platforms: &Platform::ALL,
            mirrors: mirrors.unwrap_or(&project),
            fetcher: &Fetcher::new(&self.dir.path().join("downloads")).unwrap(),
            progress: &(),
            previous: self.previous.as_ref(),
            accept: &self.accept,
            cache: self.dir.path().join("cache"),
            now: self.now,
        })
    }

    pub fn error(&self) -> String {
        self.lock().unwrap_err().to_string()
    }
}
