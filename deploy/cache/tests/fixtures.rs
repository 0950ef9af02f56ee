//! Pointers, narinfos and archives that earlier versions published are still believed and fetched.
//!
//! `tests/fixtures/README.md` says how the files are written.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::PathBuf;

use cairn_cache::{Cache, PointedSecret, Pointer, PublicKey, SecretKey, Terms, substitute, upload};
use cairn_formats::narinfo::{Compression, NarInfo};
use cairn_formats::{Sha256, StorePath};
use cairn_protocol::{Retention, Source};
use cairn_store::Store;
use common::Home;

fn file(version: &str, name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(version).join("cache").join(name)
}

fn text(name: &str) -> String {
    let file = file("fbaba72", name);
    fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

fn public_key() -> PublicKey {
    PublicKey::parse(&text("cache.pub")).unwrap()
}

/// The closure that `cache/` holds: `top` refers to `middle` and `bottom`.
fn top() -> StorePath {
    StorePath::parse(text("top").trim()).unwrap()
}

fn full(closure: StorePath) -> Pointer {
    Pointer {
        version: 1,
        host: "web-1".to_owned(),
        sequence: 1_795_409_227,
        closure,
        operator: "alice@desk".to_owned(),
        message: Some("a message; with \"quotes\"".to_owned()),
        published: 1_795_409_227,
        expires: Some(1_795_500_000),
        source: Some(Source { revision: "fbaba72067b26a5f1b941955c4570ce3f6728f8f".to_owned(), clean: true }),
        retention: Retention { keep: 3, keep_for: Some(604_800) },
        secrets: vec![PointedSecret {
            name: "redis-password".to_owned(),
            version: 3,
            sha256: Sha256::of(b"sealed"),
            recipient: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ".to_owned(),
        }],
    }
}

fn minimal(closure: StorePath) -> Pointer {
    Pointer {
        host: "bare".to_owned(),
        sequence: 1,
        message: None,
        expires: None,
        source: None,
        retention: Retention::DEFAULT,
        secrets: Vec::new(),
        ..full(closure)
    }
}

#[test]
fn pointers_of_fbaba72_are_believed_and_read_as_they_were_signed() {
    let trusted = [public_key()];
    for expected in [full(top()), minimal(top())] {
        let name = cairn_cache::key_of(&expected.host);
        let signed = fs::read(file("fbaba72", &name)).unwrap();
        assert_eq!(Pointer::open(&signed, &expected.host, &trusted, &name).unwrap().pointer, expected);
        let (other, _) = SecretKey::generate(public_key().name()).unwrap();
        assert!(Pointer::open(&signed, &expected.host, &[other.public()], &name).is_err());
    }
}

#[test]
fn keys_that_fbaba72_generated_are_read() {
    let key = SecretKey::parse(&text("cache.key")).unwrap();
    assert_eq!((key.public(), key.public().name().to_owned()), (public_key(), "fixture-1".to_owned()));
    assert!(public_key().verifies(b"message", &key.sign(b"message")));
}

#[test]
fn narinfos_of_fbaba72_are_read_as_they_were_signed() {
    let info = NarInfo::parse(&text(&NarInfo::file_name(&top()))).unwrap();
    assert_eq!((&info.path, info.compression, info.nar_size), (&top(), Compression::Zstd, 584));
    let names: Vec<&str> = info.references.iter().map(StorePath::name).collect();
    assert_eq!(names.len(), 2);
    assert!(names.contains(&"bottom") && names.contains(&"middle"), "{names:?}");
    assert!(info.ca.is_some());
    let archive = fs::read(file("fbaba72", &info.url)).unwrap();
    assert_eq!((Sha256::of(&archive), archive.len() as u64), (info.file_hash, info.file_size));
    assert_eq!(info.signatures.len(), 1);
    assert!(public_key().verifies(info.fingerprint().as_bytes(), &info.signatures[0]));
}

#[test]
fn a_closure_that_fbaba72_published_is_fetched_whole() {
    let folder = file("fbaba72", "").canonicalize().unwrap();
    let cache = Cache::open(&format!("file://{}", folder.display())).unwrap();
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    let fetched = substitute(&store, &cache, &top(), &[public_key()], &Terms::default()).unwrap();
    assert_eq!(fetched.paths, 3);
    let text = fs::read_to_string(store.physical(&top()).join("text")).unwrap();
    assert!(text.starts_with("top\n/nix/store/") && text.contains("-middle\n"), "{text}");
    assert_eq!(store.verify(true).unwrap(), []);
}

#[test]
#[ignore = "writes fixtures: see tests/fixtures/README.md"]
fn write_fixtures() {
    let version = std::env::var("CAIRN_FIXTURES").expect("CAIRN_FIXTURES: the version to write fixtures of");
    let folder = file(&version, "");
    fs::create_dir_all(&folder).unwrap();
    let (key, secret) = SecretKey::generate("fixture-1").unwrap();
    fs::write(file(&version, "cache.key"), format!("{secret}\n")).unwrap();
    fs::write(file(&version, "cache.pub"), format!("{}\n", key.public())).unwrap();
    let home = Home::new();
    let top = home.chain();
    fs::write(file(&version, "top"), format!("{}\n", top.path)).unwrap();
    let cache = Cache::open(&format!("file://{}", folder.canonicalize().unwrap().display())).unwrap();
    upload(&home.store, &cache, &key, &home.closure(&top), &|_| ()).unwrap();
    for pointer in [full(top.path.clone()), minimal(top.path)] {
        fs::create_dir_all(folder.join("cairn")).unwrap();
        fs::write(folder.join(cairn_cache::key_of(&pointer.host)), pointer.seal(&key).unwrap()).unwrap();
    }
}
