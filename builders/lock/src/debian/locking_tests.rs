//! Locking a whole archive, and everything that can be wrong with it.
#![allow(clippy::unwrap_used)]
use std::fs;
use std::time::Duration;

use cairn_fetch::FetchError;
use cairn_formats::Sha256;

use super::*;
use crate::debian::keyring::tests::{key, public};
use crate::debian::test_archive::{Archive, PACKAGES};

#[test]
fn both_platforms_are_locked_with_versions_of_their_own() {
    let archive = Archive::new();
    let lock = archive.lock().unwrap();
    let shown: Vec<_> = lock
        .debs
        .iter()
        .map(|d| {
            (
                d.name.as_str(),
                d.version.as_str(),
                d.arch.as_str(),
                d.platforms.len(),
                d.layer.as_str(),
                d.depends.join(" "),
            )
        })
        .collect();
    let none = String::new();
    assert_eq!(
        shown,
        [
            ("app", "1.0", "all", 2, "app", "lib tool".to_owned()),
            ("lib", "1.1", "amd64", 1, "libsrc", none.clone()),
            ("lib", "1.2", "arm64", 1, "libsrc", none),
            ("tool", "2", "all", 2, "tool", "lib".to_owned()),
        ]
    );
    assert_eq!(lock.version("lib", Platform::LinuxArm64), Some("1.2"));
    let index = &lock.indexes[0];
    assert_eq!((index.archive.as_str(), index.suite.as_str(), index.accepted_stale), ("debian", "stable", false));
    assert_eq!((index.signed_by.len(), index.date.as_str()), (1, "Sat, 11 Jul 2026 10:16:37 UTC"));
}

#[test]
fn the_order_of_the_definition_does_not_matter() {
    let mut archive = Archive::new();
    archive.section.packages = vec!["tool".into(), "app (>= 1)".into(), "lib".into()];
    let one = archive.lock().unwrap();
    archive.section.packages.reverse();
    assert_eq!(archive.lock().unwrap(), one);
}

#[test]
fn locking_again_needs_no_package_again() {
    let archive = Archive::new();
    let one = archive.lock().unwrap();
    fs::remove_dir_all(archive.dir.path().join("mirror/pool")).unwrap();
    fs::remove_dir_all(archive.dir.path().join("downloads")).unwrap();
    assert_eq!(archive.lock().unwrap(), one);
}

#[test]
fn a_tampered_release_is_refused() {
    let archive = Archive::new();
    archive.edit("dists/stable/InRelease", |text| {
        let edited = String::from_utf8_lossy(text).replacen("Codename: stable", "Codename: stablf", 1);
        *text = edited.into_bytes();
    });
    let error = archive.error();
    assert!(error.contains("no good signature") && error.contains("does not match the text"), "{error}");
    assert!(error.contains("keys.gpg"), "{error}");
}

#[test]
fn text_beside_the_signed_text_is_refused() {
    let archive = Archive::new();
    archive.edit("dists/stable/InRelease", |text| text.extend(b"Codename: evil\n"));
    assert!(archive.error().contains("text follows the signature"));
}

#[test]
fn a_release_signed_by_a_stranger_is_refused() {
    let archive = Archive::new();
    archive.write("keys.gpg", &public(&[&key(true)]));
    assert!(archive.error().contains("not in the keyring"));
    archive.write("keys.gpg", b"nonsense");
    assert!(archive.error().contains("keys.gpg cannot be used"));
    fs::remove_file(archive.dir.path().join("keys.gpg")).unwrap();
    assert!(archive.error().contains("debian-archive-keyring"));
}

#[test]
fn a_stale_index_is_refused_unless_accepted_and_then_recorded() {
    let mut archive = Archive::new();
    archive.publish("Codename: stable\nValid-Until: Sat, 18 Jul 2026 10:16:37 UTC\n");
    archive.now = archive.now.max(super::super::date::parse("Sun, 19 Jul 2026 00:00:00 UTC").unwrap());
    let error = archive.error();
    assert!(error.contains("Sat, 18 Jul 2026 10:16:37 UTC") && error.contains("--accept-stale"), "{error}");
    archive.accept.stale = true;
    assert!(archive.lock().unwrap().indexes[0].accepted_stale);
}

#[test]
fn another_suite_than_asked_for_is_refused() {
    let archive = Archive::new();
    archive.publish("Codename: sid\nSuite: unstable\n");
    let error = archive.error();
    assert!(error.contains("asked for suite stable, the mirror answered with unstable (sid)"), "{error}");
}

#[test]
fn a_suite_that_does_not_exist_is_gone() {
    let mut archive = Archive::new();
    archive.section.suites.push("bokworm".into());
    assert!(matches!(archive.lock(), Err(DebianError::Fetch(FetchError::Gone { .. }))));
    archive.section.suites = vec!["../stable".into()];
    assert!(matches!(archive.lock(), Err(DebianError::SuiteName { .. })));
}

#[test]
fn a_tampered_index_is_refused() {
    let archive = Archive::new();
    archive.edit("dists/stable/main/binary-arm64/Packages.xz", |bytes| bytes[30] ^= 1);
    let error = archive.lock().unwrap_err();
    assert!(matches!(&error, DebianError::Fetch(FetchError::HashMismatch { .. })), "{error}");
    assert!(error.to_string().contains("index of suite stable for arm64"), "{error}");
}

#[test]
fn an_index_that_unpacks_to_more_than_signed_is_refused() {
    let archive = Archive::new();
    let path = "main/binary-amd64/Packages";
    let packed = fs::read(archive.dir.path().join(format!("mirror/dists/stable/{path}.xz"))).unwrap();
    let sums = format!(" {} 10 {path}\n {} {} {path}.xz\n", Sha256::of(b""), Sha256::of(&packed), packed.len());
    archive.release(&format!("Codename: stable\nDate: Sat, 11 Jul 2026 10:16:37 UTC\nSHA256:\n{sums}"));
    assert!(archive.error().contains("unpacks to more than 10 bytes"));
}

#[test]
fn an_architecture_without_an_index_is_told() {
    let archive = Archive::new();
    archive.release(&format!(
        "Codename: stable\nDate: Sat, 11 Jul 2026 10:16:37 UTC\nSHA256:\n {} 0 x\n",
        Sha256::of(b"")
    ));
    assert!(archive.error().contains("no index for amd64"));
}

#[test]
fn a_tampered_or_missing_package_is_refused() {
    let archive = Archive::new();
    archive.edit("pool/main/tool_2_all.deb", |bytes| bytes[100] ^= 1);
    let error = archive.lock().unwrap_err();
    assert!(
        matches!(&error, DebianError::Fetch(FetchError::HashMismatch { what, .. }) if what.starts_with("package tool 2"))
    );
    fs::remove_file(archive.dir.path().join("mirror/pool/main/tool_2_all.deb")).unwrap();
    assert!(matches!(archive.lock(), Err(DebianError::Fetch(FetchError::Gone { .. }))));
}

#[test]
fn an_unknown_script_is_an_error_until_acknowledged() {
    let mut archive = Archive::new();
    archive.section.packages.push("daemon".into());
    let error = archive.error();
    assert!(error.contains("the postinst script of package daemon 3 is not known"), "{error}");
    assert!(error.contains("| adduser --system daemon") && error.contains("[[debian.acknowledge]]"), "{error}");
    assert_eq!(error.matches("is not known").count(), 1, "once for both platforms");
    archive.section.acknowledge.push(cairn_recipe::image::Acknowledged {
        package: "daemon".into(),
        script: "postinst".into(),
        sha256: Sha256::of(PACKAGES[4].4.as_bytes()),
        reason: "the user is declared".into(),
    });
    assert_eq!(archive.lock().unwrap().debs.len(), 5);
}

#[test]
fn typing_errors_are_told() {
    let mut archive = Archive::new();
    archive.section.exclude.insert("tol".into(), "small".into());
    let error = archive.error();
    assert!(error.contains("no package `tol`") && error.contains("did you mean `tool`?"), "{error}");
    archive.section.exclude = BTreeMap::from([("tool".into(), "small".into())]);
    assert_eq!(archive.lock().unwrap().debs.len(), 3);
    archive.section.packages = vec!["app == 1".into()];
    assert!(archive.error().contains("debian.packages: `app == 1`"));
    archive.section.packages = vec!["ap".into()];
    assert!(archive.error().contains("did you mean `app`?"));
}

#[test]
fn a_release_from_the_future_is_refused() {
    let mut archive = Archive::new();
    archive.now = super::super::date::parse("Mon, 06 Jul 2026 00:00:00 UTC").unwrap();
    // The key may be younger than that: either way nothing is locked.
    assert!(archive.lock().is_err());
    archive.publish("Codename: stable\n");
    let later = format!("Codename: stable\nDate: Fri, 01 Jan 2100 00:00:00 UTC\nSHA256:\n {} 0 x\n", Sha256::of(b""));
    archive.release(&later);
    archive.now = SystemTime::now() + Duration::from_secs(1);
    assert!(archive.error().contains("dated in the future"));
}
