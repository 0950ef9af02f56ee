//! Which of the machine's apt sources count as Debian: another vendor's archive, whatever it calls
//! itself, is never taken, and its key never verifies Debian.
#![allow(clippy::unwrap_used)]
use std::fs;
use std::path::PathBuf;

use cairn_fetch::{Mirrors, MirrorsConfig};
use pgp::types::KeyDetails as _;

use super::keyring::tests::{key, public};
use super::test_archive::Archive;
use super::{DebianError, DebianLock};

const DEBIAN: &str = "Origin: Debian\nLabel: Debian\nCodename: stable\n";
const DOCKER: &str = "Origin: Docker\nLabel: Docker CE\nSuite: stable\nCodename: stable\n";

/// A machine whose apt has sources of Debian and of a vendor, both with a path that ends in `debian`.
struct Machine {
    root: tempfile::TempDir,
    debian: Archive,
    vendor: Archive,
}

impl Machine {
    fn new(vendor_says: &str) -> Self {
        let archive = |fields: &str| {
            let mut archive = Archive::new();
            archive.section.keyring = None;
            archive.publish(fields);
            fs::rename(archive.dir.path().join("mirror"), archive.dir.path().join("debian")).unwrap();
            archive
        };
        let machine =
            Self { root: tempfile::tempdir().unwrap(), debian: archive(DEBIAN), vendor: archive(vendor_says) };
        machine.write("usr/share/keyrings/debian-archive-keyring.gpg", &public(&[&machine.debian.key]));
        machine.write("etc/apt/keyrings/vendor.gpg", &public(&[&machine.vendor.key]));
        machine
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn write(&self, path: &str, content: &[u8]) {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        fs::write(self.path(path), content).unwrap();
    }

    /// A one-line source, with a keyring below the root or without.
    fn source(&self, file: &str, archive: &Archive, keyring: Option<&str>) {
        let option = keyring.map(|key| format!("[signed-by={}] ", self.path(key).display())).unwrap_or_default();
        let line = format!("deb {option}file://{}/debian stable main\n", archive.dir.path().display());
        self.write(&format!("etc/apt/{file}"), line.as_bytes());
    }

    fn lock(&mut self) -> Result<DebianLock, DebianError> {
        self.debian.mirrors = Some(Mirrors::of_root(&MirrorsConfig::default(), self.root.path()));
        self.debian.lock()
    }

    fn signer(archive: &Archive) -> Vec<String> {
        vec![format!("{:X}", archive.key.fingerprint())]
    }
}

const OWN: Option<&str> = Some("etc/apt/keyrings/vendor.gpg");
const DEBIANS: Option<&str> = Some("usr/share/keyrings/debian-archive-keyring.gpg");

/// The machine of the finding: a classic sources.list without `signed-by`, and a vendor's `.list` with
/// one. Whatever the order of the files, Debian is verified with Debian's keys.
#[test]
fn a_vendors_source_is_passed_over_and_its_key_verifies_nothing_else() {
    for (debian_file, debian_key, vendor_file, vendor_key) in [
        ("sources.list", None, "sources.list.d/docker.list", OWN),
        ("sources.list.d/z.list", None, "sources.list.d/docker.list", OWN),
        ("sources.list.d/z.list", DEBIANS, "sources.list.d/docker.list", None),
        ("sources.list.d/z.list", DEBIANS, "sources.list.d/docker.list", DEBIANS),
    ] {
        for says in [DOCKER, DEBIAN] {
            let mut machine = Machine::new(says);
            machine.source(debian_file, &machine.debian, debian_key);
            machine.source(vendor_file, &machine.vendor, vendor_key);
            let lock = machine.lock().unwrap();
            assert_eq!(lock.indexes[0].signed_by, Machine::signer(&machine.debian), "{debian_file} {vendor_key:?}");
        }
    }
}

#[test]
fn a_vendors_source_alone_is_never_debian() {
    // What it calls itself is checked, and when it lies, its key is.
    for (says, keyring, wanted) in [
        (DOCKER, OWN, "has the Origin `Docker` and the Label `Docker CE`"),
        (DEBIAN, OWN, "is not signed by a key of Debian"),
        (DOCKER, None, "not in the keyring"),
        (DEBIAN, None, "not in the keyring"),
    ] {
        let mut machine = Machine::new(says);
        machine.source("sources.list.d/docker.list", &machine.vendor, keyring);
        let error = machine.lock().unwrap_err().to_string();
        assert!(error.contains(wanted), "{says} {keyring:?}: {error}");
    }
    // Also on a machine without Debian's keyring.
    let mut machine = Machine::new(DEBIAN);
    fs::remove_dir_all(machine.path("usr")).unwrap();
    machine.source("sources.list.d/docker.list", &machine.vendor, OWN);
    let error = machine.lock().unwrap_err().to_string();
    assert!(error.contains("is not signed by a key of Debian") && error.contains("vendor.gpg"), "{error}");
    assert!(error.contains("install the package debian-archive-keyring"), "{error}");
}

#[test]
fn the_error_names_every_source_that_was_tried() {
    let mut machine = Machine::new(DOCKER);
    machine.source("sources.list", &machine.debian, None);
    machine.source("sources.list.d/docker.list", &machine.vendor, OWN);
    fs::remove_file(machine.debian.dir.path().join("debian/dists/stable/InRelease")).unwrap();
    let error = machine.lock().unwrap_err().to_string();
    let (debian, vendor) = (machine.debian.dir.path().display(), machine.vendor.dir.path().display());
    assert!(error.contains("Origin `Docker`") && error.contains(&format!("at: file://{vendor}/debian")), "{error}");
    assert!(error.contains(&format!("- file://{debian}/debian: InRelease of suite stable is gone")), "{error}");
}

#[test]
fn a_source_that_was_passed_over_is_named_in_a_warning() {
    let mut machine = Machine::new(DOCKER);
    machine.source("sources.list", &machine.vendor, None);
    machine.source("sources.list.d/debian.list", &machine.debian, DEBIANS);
    let warnings = machine.lock().unwrap().warnings;
    let vendor = format!("file://{}/debian was passed over", machine.vendor.dir.path().display());
    assert!(warnings.len() == 1 && warnings[0].contains(&vendor), "{warnings:?}");
}

/// A copy of Debian's keyring under another name, as on a machine of another distribution.
#[test]
fn a_stanzas_own_copy_of_debians_key_counts_where_debians_keyring_confirms_it() {
    let mut machine = Machine::new(DOCKER);
    machine.write("etc/apt/keyrings/mirror.gpg", &public(&[&machine.debian.key, &key(true)]));
    machine.source("sources.list", &machine.debian, Some("etc/apt/keyrings/mirror.gpg"));
    assert_eq!(machine.lock().unwrap().indexes[0].signed_by, Machine::signer(&machine.debian));
}

#[test]
fn the_parts_of_debians_keyring_that_apt_trusts_count_together() {
    let mut machine = Machine::new(DOCKER);
    fs::remove_dir_all(machine.path("usr")).unwrap();
    machine.write("etc/apt/trusted.gpg.d/debian-archive-a.gpg", &public(&[&key(true)]));
    machine.write("etc/apt/trusted.gpg.d/debian-archive-b.gpg", &public(&[&machine.debian.key]));
    machine.write("etc/apt/trusted.gpg.d/vendor.gpg", &public(&[&machine.vendor.key]));
    machine.source("sources.list", &machine.debian, None);
    machine.source("sources.list.d/docker.list", &machine.vendor, None);
    assert_eq!(machine.lock().unwrap().indexes[0].signed_by, Machine::signer(&machine.debian));
}

/// An address of the project is compared as well, unless the definition brings its own keys.
#[test]
fn a_mirror_of_the_project_must_be_debians() {
    let mut machine = Machine::new(DOCKER);
    let mirror = format!("file://{}/debian", machine.vendor.dir.path().display());
    let config = MirrorsConfig { debian: vec![mirror], ..Default::default() };
    machine.write("usr/share/keyrings/debian-archive-keyring.gpg", &public(&[&machine.vendor.key]));
    machine.vendor.mirrors = Some(Mirrors::of_root(&config, machine.root.path()));
    assert!(matches!(machine.vendor.lock(), Err(DebianError::Foreign { .. })));
    machine.vendor.section.keyring = Some("keys.gpg".into());
    assert!(machine.vendor.lock().is_ok());
}
