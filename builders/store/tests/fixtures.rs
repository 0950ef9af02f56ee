//! A store that an earlier version made is opened as it was left: paths, references, generations,
//! roots, realisations.
//!
//! `tests/fixtures/README.md` says how the file is written.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use cairn_formats::{Sha256, StorePath};
use cairn_store::{PathInfo, Store};
use common::{chain, open};

fn archive(version: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(version).join("store.tar.gz")
}

fn tar(arguments: &[&str], root: &Path, archive: &Path) {
    let status = Command::new("tar").args(arguments).arg("-C").arg(root).arg("-f").arg(archive).arg(".").status();
    assert!(status.unwrap().success(), "tar {arguments:?} {}", archive.display());
}

/// A store with the chain, two generations of it, a root and a realisation.
fn fill(store: &Store) -> [PathInfo; 3] {
    let (bottom, middle, top) = chain(store);
    let profile = store.profile("cairn").unwrap();
    let first = profile.add(&middle.path).unwrap();
    profile.add(&top.path).unwrap();
    profile.switch_to(first.number).unwrap();
    store.set_root("kept", &bottom.path).unwrap();
    store.set_realisation(&Sha256::of(b"recipe"), &top.path).unwrap();
    [bottom, middle, top]
}

#[test]
fn a_store_of_fbaba72_is_opened_as_it_was_left() {
    let root = tempfile::tempdir().unwrap();
    tar(&["-xz"], root.path(), &archive("fbaba72"));
    let store = Store::open(root.path()).unwrap();
    // What is added now is what was added then: same content, same path.
    let (_other_root, other) = open();
    let expected = fill(&other);
    for info in &expected {
        let found = store.query(&info.path).unwrap().unwrap_or_else(|| panic!("{} is not valid", info.path));
        assert_eq!(
            (found.nar_hash, found.nar_size, &found.references, found.ca),
            (info.nar_hash, info.nar_size, &info.references, info.ca)
        );
        assert!(found.registered > 1_795_000_000, "{found:?}");
    }
    assert_eq!(store.valid_paths().unwrap().len(), 3);
    assert_eq!(store.verify(true).unwrap(), []);

    let [bottom, middle, top] = expected.map(|info| info.path);
    let profile = store.profile("cairn").unwrap();
    let mut generations: Vec<(u64, StorePath)> =
        profile.generations().unwrap().into_iter().map(|generation| (generation.number, generation.path)).collect();
    generations.sort();
    assert_eq!(generations, [(1, middle.clone()), (2, top.clone())]);
    assert_eq!(profile.current().unwrap().map(|generation| generation.number), Some(1));
    assert_eq!(store.realisation(&Sha256::of(b"recipe")).unwrap(), Some(top.clone()));
    let rooted: Vec<StorePath> = store.roots().unwrap().into_iter().map(|root| root.path).collect();
    assert!([&bottom, &middle, &top].iter().all(|path| rooted.contains(path)), "{rooted:?}");

    // And it goes on from there.
    assert_eq!(profile.add(&bottom).unwrap().number, 3);
}

#[test]
#[ignore = "writes fixtures: see tests/fixtures/README.md"]
fn write_fixtures() {
    let version = std::env::var("CAIRN_FIXTURES").expect("CAIRN_FIXTURES: the version to write fixtures of");
    let archive = archive(&version);
    std::fs::create_dir_all(archive.parent().unwrap()).unwrap();
    let (root, store) = open();
    fill(&store);
    drop(store);
    tar(&["--owner=0", "--group=0", "--numeric-owner", "-cz"], root.path(), &archive);
}
