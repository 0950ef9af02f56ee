//! The real, unmodified Nix agrees with what we put on disk, and we with what it puts there.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::path::Path;

use cairn_formats::{Sha256, StorePath};
use cairn_store::Store;
use common::{add, any_tree, chain, motley, name, nix, nix_lines, nix_output, open};
use proptest::prelude::*;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn tables(db: &Path) -> Vec<(String, String, Option<String>)> {
    let connection = rusqlite::Connection::open(db).unwrap();
    let mut select = connection.prepare("select type, name, sql from sqlite_master order by name").unwrap();
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn the_schema_is_that_of_nix_to_the_letter() {
    let theirs = tempfile::tempdir().unwrap();
    nix("nix-store", &["--store", text(theirs.path()), "--init"]);
    let (ours, _store) = open();
    let db = |root: &Path| root.join("nix/var/nix/db");
    assert_eq!(tables(&db(ours.path()).join("db.sqlite")), tables(&db(theirs.path()).join("db.sqlite")));
    for file in ["schema", "reserved"] {
        let size = |root: &Path| db(root).join(file).metadata().unwrap().len();
        assert_eq!(size(ours.path()), size(theirs.path()), "{file}");
    }
    assert_eq!(
        std::fs::read(db(ours.path()).join("schema")).unwrap(),
        std::fs::read(db(theirs.path()).join("schema")).unwrap()
    );
    assert!(ours.path().join("nix/var/nix/gcroots/profiles").is_dir());
}

#[test]
fn nix_verifies_queries_and_dumps_what_we_added() {
    let (root, store) = open();
    let build = store.build_dir().unwrap();
    motley(&build.path().join("motley"));
    let motley = store.add_output(&build.path().join("motley"), &name("motley"), &BTreeSet::new()).unwrap();
    std::fs::write(build.path().join("flat"), "a download\n").unwrap();
    let flat = store.add_flat(&build.path().join("flat"), &name("flat_1.0_all.deb")).unwrap();
    let (bottom, middle, top) = chain(&store);
    assert_eq!(top.references, BTreeSet::from([middle.path.clone()]));
    assert_eq!(middle.references, BTreeSet::from([bottom.path.clone()]));

    let at = ["--store", text(root.path())];
    nix("nix-store", &[&at[..], &["--verify", "--check-contents"]].concat());

    let requisites = nix_lines("nix-store", &[&at[..], &["-qR", &top.path.absolute()]].concat());
    let closure: Vec<String> =
        store.closure(std::slice::from_ref(&top.path)).unwrap().iter().map(StorePath::absolute).collect();
    assert_eq!(closure, [&bottom, &middle, &top].map(|info| info.path.absolute()));
    assert_eq!(requisites.iter().collect::<BTreeSet<_>>(), closure.iter().collect());

    for info in [&motley, &flat, &bottom, &middle, &top] {
        let path = info.path.absolute();
        let dump = nix("nix-store", &[&at[..], &["--dump", text(&store.physical(&info.path))]].concat());
        assert_eq!((Sha256::of(&dump), dump.len() as u64), (info.nar_hash, info.nar_size), "{path}");

        let json = nix("nix", &[&["path-info", "--json"], &at[..], &[path.as_str()]].concat());
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let json = &json[0];
        let references: Vec<String> = info.references.iter().map(StorePath::absolute).collect();
        assert_eq!(json["path"], path);
        assert_eq!(json["narHash"], info.nar_hash.sri());
        assert_eq!(json["narSize"], info.nar_size);
        assert_eq!(json["references"], serde_json::json!(references));
        assert_eq!(json["ca"], info.ca.unwrap().to_string());
        assert_eq!(json["registrationTime"], info.registered);
    }
    // Signatures are not needed where the path follows from the content.
    nix("nix", &[&["store", "verify", "--all"], &at[..]].concat());
}

#[test]
fn nix_copies_out_of_our_store_without_signatures() {
    let (root, store) = open();
    let (_, _, top) = chain(&store);
    let there = tempfile::tempdir().unwrap();
    nix("nix", &["copy", "--from", text(root.path()), "--to", text(there.path()), &top.path.absolute()]);
    let theirs = Store::open(there.path()).unwrap();
    assert_eq!(
        theirs.closure(std::slice::from_ref(&top.path)).unwrap(),
        store.closure(std::slice::from_ref(&top.path)).unwrap()
    );
    assert_eq!(theirs.verify(true).unwrap(), []);
}

#[test]
fn nix_gives_the_same_paths_and_we_read_what_it_adds() {
    let (root, store) = open();
    let at = ["--store", text(root.path())];
    let sources = tempfile::tempdir().unwrap();
    let tree = sources.path().join("tree");
    motley(&tree);
    let file = sources.path().join("file.txt");
    std::fs::write(&file, "content").unwrap();

    let theirs = nix_lines("nix-store", &[&at[..], &["--add", text(&tree)]].concat()).remove(0);
    let theirs = store.query(&StorePath::from_absolute(&theirs).unwrap()).unwrap().unwrap();
    assert_eq!(store.add_source(&tree, &name("tree")).unwrap(), theirs);
    let flat = nix_lines("nix-store", &[&at[..], &["--add-fixed", "sha256", text(&file)]].concat()).remove(0);
    let flat = store.query(&StorePath::from_absolute(&flat).unwrap()).unwrap().unwrap();
    assert_eq!(store.add_flat(&file, &name("file.txt")).unwrap(), flat);
    assert_eq!(store.verify(true).unwrap(), []);

    // A derivation: its `text:` address and its references are Nix's own, and readable.
    let expression = r#"derivation { name = "x"; system = "x86_64-linux"; builder = "/bin/none"; }"#;
    let drv = nix_lines("nix-instantiate", &[&at[..], &["-E", expression]].concat()).remove(0);
    let drv = store.query(&StorePath::from_absolute(drv.trim_matches('"')).unwrap()).unwrap().unwrap();
    assert_eq!(drv.ca, None);
}

#[test]
fn the_links_are_those_of_the_optimiser() {
    let (root, store) = open();
    let sources = tempfile::tempdir().unwrap();
    motley(&sources.path().join("tree"));
    store.add_source(&sources.path().join("tree"), &name("ours")).unwrap();
    let there = tempfile::tempdir().unwrap();
    let at = ["--store", text(there.path())];
    nix("nix-store", &[&at[..], &["--add", text(&sources.path().join("tree"))]].concat());
    nix("nix-store", &[&at[..], &["--optimise"]].concat());
    let links = |root: &Path| -> BTreeSet<_> {
        let entries = std::fs::read_dir(root.join("nix/store/.links")).unwrap().map(Result::unwrap);
        // Nix shares symbolic links as well.
        entries.filter(|e| e.file_type().unwrap().is_file()).map(|e| e.file_name()).collect()
    };
    assert_eq!(links(root.path()), links(there.path()));
}

#[test]
fn both_find_a_modified_file() {
    let (root, store) = open();
    let (bottom, _, _) = chain(&store);
    let file = store.physical(&bottom.path).join("content");
    std::fs::remove_file(&file).unwrap_or_else(|_| {
        // Not root: the directory is read-only.
        std::fs::set_permissions(file.parent().unwrap(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::remove_file(&file).unwrap();
    });
    std::fs::write(&file, "tampered").unwrap();
    let output = nix_output("nix-store", &["--store", text(root.path()), "--verify", "--check-contents"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains(&bottom.path.absolute()));
    let faults = store.verify(true).unwrap();
    assert_eq!(faults.len(), 1);
    assert!(matches!(&faults[0], cairn_store::Fault::Modified { path, .. } if *path == bottom.path), "{faults:?}");
}

#[test]
fn the_collector_of_nix_spares_our_roots_profiles_and_temporary_roots() {
    let (root, store) = open();
    let rooted = add(&store, "rooted", "1", &[]);
    let current = add(&store, "current", "2", &[]);
    let dead = add(&store, "dead", "3", &[]);
    store.set_root("images/api", &rooted.path).unwrap();
    let profile = store.profile("cairn").unwrap();
    profile.switch_to(profile.add(&current.path).unwrap().number).unwrap();
    drop((profile, store));

    // Another store of this process declares one of them.
    let store = Store::open(root.path()).unwrap();
    let held = add(&store, "held", "4", &[]);
    let at = ["--store", text(root.path())];
    nix("nix-store", &[&at[..], &["--gc"]].concat());
    let valid: BTreeSet<StorePath> = store.valid_paths().unwrap().into_iter().collect();
    assert_eq!(valid, BTreeSet::from([rooted.path, current.path, held.path]));
    assert!(!store.physical(&dead.path).exists());
    assert_eq!(store.verify(true).unwrap(), []);
}

#[test]
fn our_collector_spares_the_indirect_roots_of_nix() {
    let (root, store) = open();
    let (bottom, middle, _) = chain(&store);
    let outside = tempfile::tempdir().unwrap();
    let result = outside.path().join("result");
    let at = ["--store", text(root.path())];
    nix("nix-store", &[&at[..], &["--add-root", text(&result), "--realise", &middle.path.absolute()]].concat());
    drop(store);

    let store = Store::open(root.path()).unwrap();
    store.collect_garbage(false).unwrap();
    let valid: BTreeSet<StorePath> = store.valid_paths().unwrap().into_iter().collect();
    assert_eq!(valid, BTreeSet::from([bottom.path, middle.path]));

    std::fs::remove_file(&result).unwrap();
    store.collect_garbage(false).unwrap();
    assert_eq!(store.valid_paths().unwrap(), []);
    assert_eq!(std::fs::read_dir(root.path().join("nix/var/nix/gcroots/auto")).unwrap().count(), 0);
    nix("nix-store", &[&at[..], &["--verify", "--check-contents"]].concat());
}

#[test]
fn nix_reads_our_profiles() {
    let (root, store) = open();
    let (_, middle, top) = chain(&store);
    let profile = store.profile("cairn").unwrap();
    for info in [&middle, &top] {
        profile.switch_to(profile.add(&info.path).unwrap().number).unwrap();
    }
    let link = profile.link();
    let list = nix_lines("nix-env", &["--store", text(root.path()), "--profile", text(&link), "--list-generations"]);
    assert_eq!(list.len(), 2);
    assert!(list[1].contains("(current)"), "{list:?}");
    let roots = nix_lines("nix-store", &["--store", text(root.path()), "--gc", "--print-roots"]);
    for info in [&middle, &top] {
        assert!(roots.iter().any(|line| line.ends_with(&info.path.absolute())), "{roots:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_hash_of_any_tree_is_that_of_nix(tree in any_tree()) {
        let (_root, store) = open();
        let build = store.build_dir().unwrap();
        let at = build.path().join("tree");
        tree.write(&at);
        let dump = nix("nix-store", &["--dump", text(&at)]);
        let info = store.add_output(&at, &name("tree"), &BTreeSet::new()).unwrap();
        prop_assert_eq!(info.nar_hash, Sha256::of(&dump));
        prop_assert_eq!(nix("nix-store", &["--dump", text(&store.physical(&info.path))]), dump);
    }
}
