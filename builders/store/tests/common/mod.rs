//! What the tests of the store share: a store in a temporary place, trees to put in, and Nix.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use cairn_formats::{StoreName, StorePath};
use cairn_store::{PathInfo, Store};
use proptest::prelude::*;
use tempfile::TempDir;

pub fn open() -> (TempDir, Store) {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    (root, store)
}

pub fn name(name: &str) -> StoreName {
    StoreName::parse(name).unwrap()
}

/// Adds one file with this content, which may refer to `candidates`.
pub fn add(store: &Store, called: &str, content: &str, candidates: &[&PathInfo]) -> PathInfo {
    let build = store.build_dir().unwrap();
    let tree = build.path().join("out");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("content"), content).unwrap();
    let candidates: BTreeSet<StorePath> = candidates.iter().map(|info| info.path.clone()).collect();
    store.add_output(&tree, &name(called), &candidates).unwrap()
}

/// A chain: `top` refers to `middle` refers to `bottom`.
pub fn chain(store: &Store) -> (PathInfo, PathInfo, PathInfo) {
    let bottom = add(store, "bottom", "the last one\n", &[]);
    let middle = add(store, "middle", &format!("see {}\n", bottom.path.absolute()), &[&bottom]);
    let top = add(store, "top", &format!("see {}/content\n", middle.path.absolute()), &[&bottom, &middle]);
    (bottom, middle, top)
}

/// A tree of every kind of node, with modes as a build leaves them.
pub fn motley(at: &Path) {
    std::fs::create_dir_all(at.join("bin")).unwrap();
    std::fs::create_dir_all(at.join("empty/deep")).unwrap();
    std::fs::write(at.join("bin/run"), "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(at.join("bin/run"), PermissionsExt::from_mode(0o4755)).unwrap();
    std::fs::write(at.join("nothing"), "").unwrap();
    std::fs::write(at.join("also nothing"), "").unwrap();
    std::fs::write(at.join(OsStr::from_bytes(b"gr\xc3\xbc\xc3\x9fe \xff")), vec![7u8; 300_001]).unwrap();
    std::fs::write(at.join("secret"), "closed").unwrap();
    std::fs::set_permissions(at.join("secret"), PermissionsExt::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink("../nowhere", at.join("dangling")).unwrap();
    std::fs::set_permissions(at.join("empty/deep"), PermissionsExt::from_mode(0o500)).unwrap();
}

#[derive(Debug, Clone)]
pub enum Node {
    File(bool, Vec<u8>),
    Link(Vec<u8>),
    Dir(BTreeMap<Vec<u8>, Node>),
}

impl Node {
    pub fn write(&self, at: &Path) {
        match self {
            Self::File(executable, data) => {
                std::fs::write(at, data).unwrap();
                let mode = if *executable { 0o755 } else { 0o644 };
                std::fs::set_permissions(at, PermissionsExt::from_mode(mode)).unwrap();
            }
            Self::Link(target) => std::os::unix::fs::symlink(OsStr::from_bytes(target), at).unwrap(),
            Self::Dir(entries) => {
                std::fs::create_dir(at).unwrap();
                for (name, node) in entries {
                    node.write(&at.join(OsStr::from_bytes(name)));
                }
            }
        }
    }
}

pub fn any_tree() -> impl Strategy<Value = Node> {
    let part = proptest::collection::vec(any::<u8>().prop_filter("part", |b| *b != 0 && *b != b'/'), 1..9)
        .prop_filter("dots", |n| n != b"." && n != b"..");
    let leaf = prop_oneof![
        (any::<bool>(), proptest::collection::vec(any::<u8>(), 0..60)).prop_map(|(x, d)| Node::File(x, d)),
        part.clone().prop_map(Node::Link),
    ];
    leaf.prop_recursive(4, 24, 6, move |inner| {
        proptest::collection::btree_map(part.clone(), inner, 0..6).prop_map(Node::Dir)
    })
}

/// Runs a program of Nix on a store, with no configuration of the machine.
pub fn nix_output(program: &str, args: &[&str]) -> Output {
    let home = std::env::temp_dir().join("cairn-nix-home");
    std::fs::create_dir_all(&home).unwrap();
    Command::new(program)
        .args(args)
        .env("HOME", &home)
        .env("NIX_CONF_DIR", &home)
        .env("NIX_CONFIG", "experimental-features = nix-command\nbuild-users-group =\nsubstituters =\nsandbox = false")
        .env_remove("NIX_REMOTE")
        .output()
        .unwrap_or_else(|e| {
            panic!("cannot run {program}: {e}; this test needs Nix as its oracle: install Debian's nix-bin")
        })
}

/// What Nix prints; the test fails when Nix does.
pub fn nix(program: &str, args: &[&str]) -> Vec<u8> {
    let output = nix_output(program, args);
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

pub fn nix_lines(program: &str, args: &[&str]) -> Vec<String> {
    String::from_utf8(nix(program, args)).unwrap().lines().map(str::to_owned).collect()
}
