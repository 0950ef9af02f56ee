//! What bad surroundings get: an error that names place, value and remedy, and a store unharmed.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::process::Command;

use cairn_store::{Store, StoreError, tree};
use common::{add, name, open};
use proptest::prelude::*;

#[test]
fn other_schemas_are_refused_by_name() {
    for (schema, part) in [
        ("11", "schema 11, which is newer than 10"),
        ("9", "schema 9, which is older than 10"),
        ("ten", "holds \"ten\""),
        ("", "holds \"\""),
    ] {
        let (root, store) = open();
        drop(store);
        std::fs::write(root.path().join("nix/var/nix/db/schema"), schema).unwrap();
        let error = Store::open(root.path()).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn an_interrupted_creation_is_finished() {
    let (root, store) = open();
    drop(store);
    // Tables made, the file that says so not yet written.
    std::fs::remove_file(root.path().join("nix/var/nix/db/schema")).unwrap();
    let store = Store::open(root.path()).unwrap();
    add(&store, "x", "x", &[]);
    assert_eq!(store.verify(true).unwrap(), []);
}

#[test]
fn a_damaged_database_says_so() {
    let (root, store) = open();
    drop(store);
    std::fs::write(root.path().join("nix/var/nix/db/db.sqlite"), vec![b'x'; 8192]).unwrap();
    let error = Store::open(root.path()).unwrap_err();
    assert!(matches!(error, StoreError::DatabaseDamaged { .. }), "{error}");
}

#[test]
fn a_file_where_the_root_should_be_is_an_error() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Store::open(&file).unwrap_err().to_string();
    assert!(error.contains(file.to_str().unwrap()), "{error}");
}

#[test]
fn bad_archives_are_refused_and_their_place_is_named() {
    let place = tempfile::tempdir().unwrap();
    let mut nar = Vec::new();
    let source = place.path().join("source");
    common::motley(&source);
    tree::dump(&source, &mut nar).unwrap();
    let dest = place.path().join("dest");
    let error = tree::restore(&nar[..nar.len() - 9], &dest).unwrap_err();
    assert!(error.to_string().contains(dest.to_str().unwrap()), "{error}");
    let error = tree::restore(&nar[..], &dest).unwrap_err().to_string();
    assert!(error.contains("exists"), "{error}");
}

/// On a disk of 4 MiB, in a mount namespace of its own.
#[test]
fn a_full_disk_is_named_with_what_was_needed_and_the_store_survives() {
    on_a_disk_of_its_own("inside_the_small_disk");
}

/// Runs an ignored test in a mount namespace, with a folder to mount a disk on.
fn on_a_disk_of_its_own(inside: &str) {
    let place = tempfile::tempdir().unwrap();
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", inside])
        .env("CAIRN_TEST_DISK", place.path())
        .output()
        .unwrap_or_else(|e| panic!("cannot run unshare: {e}; it is in util-linux"));
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "run by the test above, in its namespace"]
fn inside_the_small_disk() {
    let disk = std::path::PathBuf::from(std::env::var_os("CAIRN_TEST_DISK").expect("set by the test above"));
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "none"]).arg(&disk).status().unwrap();
    assert!(mount.success());
    let store = Store::open(&disk).unwrap();
    let kept = add(&store, "small", "fits", &[]);

    let source = tempfile::tempdir().unwrap();
    std::fs::write(source.path().join("big"), vec![1u8; 6 << 20]).unwrap();
    let error = store.add_source(source.path(), &name("big")).unwrap_err();
    let text = error.to_string();
    match error {
        StoreError::NoSpace { filesystem, needed: Some(needed), .. } => {
            assert_eq!(filesystem, disk);
            assert!(needed > 6 << 20);
        }
        other => panic!("{other:?}"),
    }
    assert!(text.contains("is full") && text.contains("collect the store's garbage"), "{text}");
    // Nothing of it is left, and the store goes on.
    assert_eq!(std::fs::read_dir(disk.join("nix/var/cairn/build")).unwrap().count(), 0);
    assert_eq!(store.valid_paths().unwrap(), [kept.path]);
    add(&store, "next", "fits too", &[]);
    assert_eq!(store.verify(true).unwrap(), []);
}

#[test]
fn a_store_on_a_disk_without_a_byte_can_be_read_and_collected() {
    on_a_disk_of_its_own("inside_the_full_disk");
}

#[test]
#[ignore = "run by the test above, in its namespace"]
fn inside_the_full_disk() {
    let disk = std::path::PathBuf::from(std::env::var_os("CAIRN_TEST_DISK").expect("set by the test above"));
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=16m", "none"]).arg(&disk).status().unwrap();
    assert!(mount.success());
    let store = Store::open(&disk).unwrap();
    let kept = add(&store, "small", "fits", &[]);
    drop(store);

    let taken = disk.join("taken");
    let fill = |file: &std::path::Path| {
        let mut file = std::fs::File::options().append(true).create(true).open(file).unwrap();
        while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
    };
    // Whoever fills the disk takes what was lent as well, again and again.
    for _ in 0..5 {
        fill(&taken);
        let store = Store::open(&disk).unwrap();
        assert_eq!(store.valid_paths().unwrap(), std::slice::from_ref(&kept.path));
        assert!(store.verify(true).unwrap().is_empty());
    }
    fill(&taken);
    let store = Store::open(&disk).unwrap();
    assert_eq!(store.collect_garbage(false).unwrap().deleted, [kept.path]);
    std::fs::remove_file(&taken).unwrap();
    add(&store, "next", "fits too", &[]);
}

/// Adds the trees of [`crowd`] until it is killed, or done.
#[test]
#[ignore = "run and killed by the test below"]
fn adding_until_killed() {
    let root = std::path::PathBuf::from(std::env::var_os("CAIRN_TEST_ROOT").expect("set by the test below"));
    crowd(&Store::open(&root).unwrap());
}

fn crowd(store: &Store) {
    for n in 0..40 {
        let build = store.build_dir().unwrap();
        let at = build.path().join("tree");
        std::fs::create_dir_all(at.join("deep/er")).unwrap();
        for file in 0..20 {
            std::fs::write(at.join(format!("deep/{file}")), format!("{n} {file}")).unwrap();
            std::fs::write(at.join(format!("deep/er/{file}")), format!("shared {file}")).unwrap();
        }
        store.add_output(&at, &name("crowd"), &BTreeSet::new()).unwrap();
    }
}

#[test]
fn a_process_killed_at_any_moment_leaves_a_store_that_is_right_and_can_be_finished() {
    let (root, store) = open();
    drop(store);
    for round in 0..12u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--ignored", "adding_until_killed"])
            .env("CAIRN_TEST_ROOT", root.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(5 + round * 7));
        child.kill().unwrap();
        child.wait().unwrap();
        let store = Store::open(root.path()).unwrap();
        for fault in store.verify(true).unwrap() {
            assert!(matches!(fault, cairn_store::Fault::Unregistered { .. }), "round {round}: {fault}");
        }
        if round % 4 == 3 {
            store.collect_garbage(false).unwrap();
            assert_eq!(store.verify(true).unwrap(), []);
            assert_eq!(std::fs::read_dir(root.path().join("nix/var/cairn/build")).unwrap().count(), 0);
        }
    }
    let store = Store::open(root.path()).unwrap();
    crowd(&store);
    assert_eq!(store.valid_paths().unwrap().len(), 40);
    assert_eq!(store.verify(true).unwrap(), []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_tree_goes_in_and_comes_out_equal(node in common::any_tree()) {
        let (_root, store) = open();
        let build = store.build_dir().unwrap();
        let at = build.path().join("tree");
        node.write(&at);
        let mut before = Vec::new();
        tree::dump(&at, &mut before).unwrap();
        let info = store.add_output(&at, &name("tree"), &BTreeSet::new()).unwrap();
        let mut after = Vec::new();
        tree::dump(&store.physical(&info.path), &mut after).unwrap();
        prop_assert_eq!(&before, &after);

        let out = build.path().join("restored");
        tree::restore(&after[..], &out).unwrap();
        prop_assert_eq!(tree::hash(&out).unwrap(), (info.nar_hash, info.nar_size));
        tree::canonicalise(&out).unwrap();
        prop_assert_eq!(store.add_output(&out, &name("tree"), &BTreeSet::new()).unwrap(), info);
    }
}
