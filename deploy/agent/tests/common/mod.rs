//! Stores with something in them, and agents to talk to.
#![allow(clippy::unwrap_used, dead_code)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use cairn_formats::{StoreName, StorePath};
use cairn_store::{PathInfo, Store, tree};
use cairn_transport::{Session, TransportError};
use tempfile::TempDir;

/// A store in a directory of its own.
pub struct Home {
    pub dir: TempDir,
    pub store: Store,
}

impl Home {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("root")).unwrap();
        Self { dir, store }
    }

    /// Adds a tree that `fill` makes.
    pub fn add(&self, name: &str, references: &[&StorePath], fill: impl FnOnce(&Path)) -> PathInfo {
        let build = self.store.build_dir().unwrap();
        let tree = build.path().join("tree");
        fs::create_dir(&tree).unwrap();
        fill(&tree);
        let candidates: BTreeSet<StorePath> = references.iter().map(|path| (*path).clone()).collect();
        for reference in &candidates {
            fs::write(tree.join(format!("uses-{}", reference.name())), reference.absolute()).unwrap();
        }
        self.store.add_output(&tree, &StoreName::parse(name).unwrap(), &candidates).unwrap()
    }

    pub fn closure(&self, info: &PathInfo) -> Vec<StorePath> {
        self.store.closure(std::slice::from_ref(&info.path)).unwrap()
    }
}

/// The agent on a pipe, serving the store below `root`.
pub fn agent(root: &Path) -> Result<Session, TransportError> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cairn-agent"));
    command.arg("serve").arg("--root").arg(root);
    Session::spawn(command, "test-host")
}

/// `dirs` directories of `files` small files each, some of them executable, a link and an empty
/// directory. Every file says where it is and which `version` it has, if it is number `changed`.
pub fn many_files(at: &Path, dirs: usize, files: usize, version: &str) {
    for d in 0..dirs {
        let dir = at.join(format!("lib/package-{d}/inner"));
        fs::create_dir_all(&dir).unwrap();
        for f in 0..files {
            let file = dir.join(format!("file-{f}.py"));
            let version = if (d, f) == (dirs / 2, files / 2) { version } else { "" };
            fs::write(&file, format!("# {d}/{f} {version}\n").repeat(20)).unwrap();
            if f == 0 {
                let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
                fs::set_permissions(&file, mode).unwrap();
            }
        }
    }
    fs::create_dir(at.join("empty")).unwrap();
    std::os::unix::fs::symlink("lib/package-0", at.join("first")).unwrap();
}

/// `count` files of `size` bytes that do not compress.
pub fn noise(at: &Path, count: u64, size: usize) {
    for n in 0..count {
        let mut state = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut bytes = Vec::with_capacity(size + 8);
        while bytes.len() < size {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        bytes.truncate(size);
        fs::write(at.join(format!("noise-{n}")), bytes).unwrap();
    }
}

/// Both stores hold the same path with the same row, and its bytes are what the row says.
pub fn assert_same(from: &Store, to: &Store, path: &StorePath) {
    let (here, there) = (from.query(path).unwrap().unwrap(), to.query(path).unwrap().unwrap());
    assert_eq!(
        (here.nar_hash, here.nar_size, &here.references, here.ca),
        (there.nar_hash, there.nar_size, &there.references, there.ca)
    );
    assert_eq!(tree::hash(&to.physical(path)).unwrap(), (here.nar_hash, here.nar_size));
}

/// Nothing is valid and nothing lies about but what `.links` keeps.
pub fn assert_nothing_arrived(store: &Store) {
    assert_eq!(store.valid_paths().unwrap(), []);
    let left: Vec<_> = fs::read_dir(store.root().join("nix/store"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != ".links" && !name.ends_with(".lock"))
        .filter(|name| {
            fs::read_dir(store.root().join("nix/store").join(name)).is_ok_and(|mut dir| dir.next().is_some())
        })
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

/// How many files `.links` holds.
pub fn links(store: &Store) -> u64 {
    fs::read_dir(store.links_dir()).unwrap().count() as u64
}
