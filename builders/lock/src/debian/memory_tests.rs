//! Locking again: what went back, changed its signer or was exchanged.
#![allow(clippy::unwrap_used)]
use cairn_recipe::lock::AcceptedKind;
use pgp::composed::{ArmorOptions, CleartextSignedMessage};
use pgp::packet::{SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::types::{KeyDetails as _, Password, Timestamp};
use rand::thread_rng;

use super::DebianError;
use super::keyring::tests::{key, public, sign};
use super::test_archive::{Archive, DATE};

const STABLE: &str = "Codename: stable\n";
const EARLIER: &str = "Sat, 04 Jul 2026 10:16:37 UTC";
const LATER: &str = "Sun, 12 Jul 2026 10:16:37 UTC";

fn kinds(archive: &Archive) -> Vec<AcceptedKind> {
    archive.previous.as_ref().unwrap().accepted.iter().map(|accepted| accepted.kind).collect()
}

#[test]
fn a_mirror_that_moved_forward_needs_no_flag() {
    let mut archive = Archive::new();
    let first = archive.lock_and_keep();
    assert_eq!(archive.lock_and_keep().debs, first.debs);
    archive.now = archive.now.max(super::date::parse(LATER).unwrap());
    archive.publish_at(STABLE, LATER);
    assert_eq!(archive.lock_and_keep().indexes[0].date, LATER);
    assert!(kinds(&archive).is_empty());
}

#[test]
fn an_older_release_is_refused_unless_accepted_and_then_recorded() {
    let mut archive = Archive::new();
    archive.lock_and_keep();
    archive.publish_at(STABLE, EARLIER);
    let error = archive.error();
    for part in [DATE, EARLIER, "--accept-older-release stable"] {
        assert!(error.contains(part), "{error}\nwanted: {part}");
    }
    archive.accept.older_releases.insert("other".into());
    assert!(matches!(archive.lock(), Err(DebianError::OlderRelease { .. })));
    archive.accept.older_releases.insert("stable".into());
    let accepted = archive.lock_and_keep().accepted;
    assert_eq!((accepted[0].old.as_str(), accepted[0].new.as_str()), (DATE, EARLIER));

    // The record stays while it describes the lock, without the flag, and goes with the next release.
    archive.accept = Default::default();
    archive.lock_and_keep();
    assert_eq!(kinds(&archive), [AcceptedKind::OlderRelease]);
    archive.publish(STABLE);
    archive.lock_and_keep();
    assert!(kinds(&archive).is_empty());
}

#[test]
fn another_signer_is_refused_unless_accepted_and_then_recorded() {
    let mut archive = Archive::new();
    archive.lock_and_keep();
    let (old, new) = (archive.key.clone(), key(true));
    archive.write("keys.gpg", &public(&[&old, &new]));
    archive.key = new;
    archive.publish(STABLE);
    let (old, new) = (format!("{:X}", old.fingerprint()), format!("{:X}", archive.key.fingerprint()));
    let error = archive.error();
    for part in [&old, &new, &format!("--accept-signer {new}")] {
        assert!(error.contains(part), "{error}\nwanted: {part}");
    }
    archive.accept.signers.insert(old.clone());
    assert!(matches!(archive.lock(), Err(DebianError::OtherSigner { .. })));
    archive.accept.signers = [new.to_ascii_lowercase()].into();
    let accepted = archive.lock_and_keep().accepted;
    assert_eq!((accepted[0].old.as_str(), accepted[0].new.as_str()), (old.as_str(), new.as_str()));
    archive.accept = Default::default();
    archive.lock_and_keep();
    assert_eq!(kinds(&archive), [AcceptedKind::Signer]);
}

/// As archives do while they change keys: first both keys sign, then the new one alone.
#[test]
fn keys_that_overlap_need_no_flag() {
    let mut archive = Archive::new();
    let (old, new) = (archive.key.clone(), key(true));
    archive.write("keys.gpg", &public(&[&old, &new]));
    archive.lock_and_keep();
    let release = std::fs::read_to_string(archive.dir.path().join("mirror/dists/stable/InRelease")).unwrap();
    let text = super::clearsign::ClearSigned::parse(&release).unwrap().text;
    let both = CleartextSignedMessage::new_many(&text, |text| {
        let sign = |key: &pgp::composed::SignedSecretKey| {
            let mut config = SignatureConfig::from_key(thread_rng(), &key.primary_key, SignatureType::Text)?;
            config.hashed_subpackets = vec![
                Subpacket::regular(SubpacketData::SignatureCreationTime(Timestamp::now()))?,
                Subpacket::regular(SubpacketData::IssuerFingerprint(key.fingerprint()))?,
            ];
            config.sign(&key.primary_key, &Password::empty(), text.as_bytes())
        };
        Ok(vec![sign(&old)?, sign(&new)?])
    })
    .unwrap();
    let both = both.to_armored_string(ArmorOptions::default()).unwrap();
    archive.write("mirror/dists/stable/InRelease", both.as_bytes());
    assert_eq!(archive.lock_and_keep().indexes[0].signed_by.len(), 2);
    // The owner's subkey signs for its owner.
    let by_subkey = sign(&text, &new.secret_subkeys[0].key);
    archive.write("mirror/dists/stable/InRelease", by_subkey.as_bytes());
    archive.lock_and_keep();
    archive.key = new;
    archive.publish(STABLE);
    archive.lock_and_keep();
    assert!(kinds(&archive).is_empty());
}

#[test]
fn a_package_with_another_content_is_refused_unless_accepted_and_then_recorded() {
    let mut archive = Archive::new();
    archive.lock_and_keep();
    let locked = archive.previous.as_mut().unwrap();
    let tool = locked.debs.iter_mut().find(|deb| deb.name == "tool").unwrap();
    let found = tool.sha256;
    // As if the locked file had been another one.
    tool.sha256 = cairn_formats::Sha256::of(b"before");
    let before = tool.sha256;
    let error = archive.error();
    for part in ["tool 2", &before.hex(), &found.hex(), "--accept-changed-hash tool"] {
        assert!(error.contains(part), "{error}\nwanted: {part}");
    }
    archive.accept.changed_hashes.insert("app".into());
    assert!(matches!(archive.lock(), Err(DebianError::Changed(_))));
    archive.accept.changed_hashes.insert("tool".into());
    let accepted = archive.lock_and_keep().accepted;
    assert_eq!((accepted[0].old.as_str(), accepted[0].new.as_str()), (&*before.hex(), &*found.hex()));
    archive.accept = Default::default();
    archive.lock_and_keep();
    assert_eq!(kinds(&archive), [AcceptedKind::ChangedHash]);
}

#[test]
fn a_package_with_another_size_is_refused() {
    let mut archive = Archive::new();
    archive.lock_and_keep();
    archive.previous.as_mut().unwrap().debs[0].size += 1;
    assert!(matches!(archive.lock(), Err(DebianError::Changed(_))));
}

#[test]
fn a_keyring_of_the_definition_is_named_when_it_is_new_or_other() {
    let mut archive = Archive::new();
    let fingerprint = format!("{:X}", archive.key.fingerprint());
    let first = archive.lock_and_keep().warnings;
    assert!(first.len() == 1 && first[0].contains("keys.gpg") && first[0].contains("is new"), "{first:?}");
    assert!(first[0].contains(&fingerprint), "{first:?}");
    assert!(archive.lock_and_keep().warnings.is_empty());

    let stranger = key(true);
    archive.write("keys.gpg", &public(&[&archive.key, &stranger]));
    let second = archive.lock_and_keep().warnings;
    assert!(second[0].contains("has changed") && second[0].contains(&format!("{:X}", stranger.fingerprint())));
    assert!(archive.lock_and_keep().warnings.is_empty());
}

#[test]
fn a_lock_with_a_damaged_date_is_named() {
    let mut archive = Archive::new();
    archive.lock_and_keep();
    archive.previous.as_mut().unwrap().indexes[0].date = "yesterday".into();
    let error = archive.error();
    assert!(error.contains("`yesterday` of suite stable"), "{error}");
}
