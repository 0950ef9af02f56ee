#![allow(clippy::unwrap_used)]
use super::*;

fn deb(name: &str, version: &str, platforms: &[Platform]) -> LockedDeb {
    LockedDeb {
        name: name.into(),
        version: version.into(),
        arch: "amd64".into(),
        source: name.into(),
        size: 1,
        sha256: Sha256::of(name.as_bytes()),
        archive: "debian".into(),
        pool: format!("pool/main/{name}_{version}_amd64.deb"),
        depends: vec![],
        platforms: platforms.to_vec(),
        layer: name.into(),
    }
}

fn definition(packages: &str) -> ImageDefinition {
    let text = format!("[debian]\nsuites = [\"bookworm\"]\npackages = [{packages}]\n");
    ImageDefinition::parse(Path::new("images/x/image.toml"), &text).unwrap()
}

fn lock(debs: Vec<LockedDeb>) -> Lock {
    Lock {
        version: LOCK_VERSION,
        definition: definition("\"a\"").lock_hash(),
        platforms: Platform::ALL.to_vec(),
        keyring: None,
        exclude_newer: None,
        indexes: vec![],
        debs,
        wheels: vec![],
        accepted: vec![],
    }
}

#[test]
fn what_is_written_is_read() {
    let mut lock = lock(vec![deb("b", "2", &Platform::ALL), deb("a", "1", &[Platform::LinuxAmd64])]);
    lock.sort();
    let text = lock.to_toml();
    assert_eq!(Lock::parse(Path::new("image.lock"), &text).unwrap(), lock);
    assert!(text.find("name = \"a\"").unwrap() < text.find("name = \"b\"").unwrap());
}

#[test]
fn what_was_accepted_and_the_policy_are_written_and_read() {
    let mut lock = lock(vec![deb("a", "1", &Platform::ALL)]);
    lock.keyring = Some(Sha256::of(b"keys"));
    lock.exclude_newer = Some("2026-11-01T00:00:00Z".into());
    lock.accepted.push(Accepted {
        kind: AcceptedKind::OlderRelease,
        name: "bookworm".into(),
        old: "Sat, 11 Jul 2026 10:16:37 UTC".into(),
        new: "Sat, 04 Jul 2026 10:16:37 UTC".into(),
    });
    let text = lock.to_toml();
    assert!(text.contains("kind = \"older-release\""), "{text}");
    assert_eq!(Lock::parse(Path::new("image.lock"), &text).unwrap(), lock);
}

/// Locks that were written before the fields existed: those of this repository.
#[test]
fn locks_of_earlier_versions_are_read_and_written_again_as_they_were() {
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../images");
    let mut read = 0;
    for entry in std::fs::read_dir(images).unwrap() {
        let file = entry.unwrap().path().join("image.lock");
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        assert_eq!(Lock::parse(&file, &text).unwrap().to_toml(), text, "{}", file.display());
        read += 1;
    }
    assert!(read >= 5, "only {read} locks were found");
}

#[test]
fn two_versions_on_one_platform_are_refused_on_two_accepted() {
    let file = Path::new("image.lock");
    let both = lock(vec![deb("a", "1", &Platform::ALL), deb("a", "2", &[Platform::LinuxArm64])]);
    let error = both.check("x", file, &definition("\"a\"")).unwrap_err().to_string();
    assert!(error.contains("`a` is locked twice for linux/arm64: 1 and 2"), "{error}");
    let apart = lock(vec![deb("a", "1", &[Platform::LinuxAmd64]), deb("a", "2", &[Platform::LinuxArm64])]);
    apart.check("x", file, &definition("\"a\"")).unwrap();
}

#[test]
fn a_lock_of_another_definition_is_refused() {
    let error = lock(vec![]).check("x", Path::new("image.lock"), &definition("\"b\"")).unwrap_err();
    assert!(matches!(error, DefinitionError::LockMismatch { .. }));
}

#[test]
fn paths_that_leave_the_mirror_are_refused() {
    for pool in ["../x.deb", "/pool/x.deb", "pool//x.deb", "pool/x?.deb"] {
        let mut bad = deb("a", "1", &Platform::ALL);
        bad.pool = pool.into();
        let text = lock(vec![bad]).to_toml();
        let error = Lock::parse(Path::new("image.lock"), &text).unwrap_err();
        assert!(matches!(error, DefinitionError::LockPath { .. }), "{pool}");
    }
}

#[test]
fn an_unknown_format_is_refused() {
    let text = lock(vec![]).to_toml().replace("version = 1", "version = 9");
    assert!(matches!(Lock::parse(Path::new("l"), &text), Err(DefinitionError::LockVersion { found: 9, .. })));
}
