//! Closures through caches of every kind, with the real Nix as reader, writer and judge.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::process::Command;

use cairn_cache::{
    Answer, Cache, CacheError, MAX_POINTER, POINTER_VERSION, Pointer, Revision, SecretKey, Terms, key_of, substitute,
    upload, write_pointer,
};
use cairn_formats::StorePath;
use cairn_formats::narinfo::NarInfo;
use cairn_protocol::Retention;
use cairn_store::Store;
use common::{Home, Server, tool};

fn key() -> SecretKey {
    SecretKey::generate("test-1").unwrap().0
}

fn pull(home: &Home, cache: &Cache, top: &StorePath, key: &SecretKey) -> (tempfile::TempDir, Store) {
    let there = tempfile::tempdir().unwrap();
    let store = Store::open(there.path()).unwrap();
    substitute(&store, cache, top, &[key.public()], &Terms::default()).unwrap();
    assert_eq!(
        store.closure(std::slice::from_ref(top)).unwrap(),
        home.store.closure(std::slice::from_ref(top)).unwrap()
    );
    assert_eq!(store.verify(true).unwrap().len(), 0);
    (there, store)
}

#[test]
fn nix_reads_what_is_published_and_would_have_signed_the_same() {
    let home = Home::new();
    let top = home.chain();
    let keys = home.dir.path().join("keys");
    fs::create_dir(&keys).unwrap();
    let (secret, public) = (keys.join("secret").display().to_string(), keys.join("public").display().to_string());
    tool("nix-store", &["--generate-binary-cache-key", "theirs-1", &secret, &public]);
    let key = SecretKey::parse(&fs::read_to_string(&secret).unwrap()).unwrap();
    assert_eq!(key.public().to_string(), fs::read_to_string(&public).unwrap().trim());

    let cache = Cache::open(&home.file_url()).unwrap();
    let uploaded = upload(&home.store, &cache, &key, &home.closure(&top), &|_| ()).unwrap();
    assert_eq!((uploaded.paths, uploaded.new), (3, 3));
    let again = upload(&home.store, &cache, &key, &home.closure(&top), &|_| ()).unwrap();
    assert_eq!((again.new, again.bytes), (0, 0));

    let path = top.path.absolute();
    let root = home.store.root().to_str().unwrap();
    tool("nix", &["store", "sign", "--key-file", &secret, "--store", root, &path]);
    let info = |store: &str| -> serde_json::Value {
        let json = tool("nix", &["path-info", "--json", "--store", store, &path]);
        serde_json::from_slice::<serde_json::Value>(&json).unwrap()[0].clone()
    };
    let (theirs, ours) = (info(root), info(&home.file_url()));
    for key in ["path", "narHash", "narSize", "references", "ca", "signatures"] {
        assert_eq!(theirs[key], ours[key], "{key}");
    }
    assert!(ours["signatures"][0].as_str().is_some_and(|signature| signature.starts_with("theirs-1:")), "{ours}");
    let there = tempfile::tempdir().unwrap();
    tool("nix", &["copy", "--from", &home.file_url(), "--to", there.path().to_str().unwrap(), &path]);
    tool("nix-store", &["--store", there.path().to_str().unwrap(), "--verify", "--check-contents"]);
    pull(&home, &cache, &top.path, &key);
}

#[test]
fn what_nix_has_published_is_read() {
    let home = Home::new();
    let top = home.chain();
    let (key, text) = SecretKey::generate("test-1").unwrap();
    let secret = home.dir.path().join("secret");
    fs::write(&secret, text).unwrap();
    let root = home.store.root().to_str().unwrap();
    let to = |compression: &str, folder: &str| {
        let url = format!("file://{}", home.dir.path().join(folder).display());
        let store = format!("{url}?compression={compression}&secret-key={}", secret.display());
        tool("nix", &["copy", "--from", root, "--to", &store, &top.path.absolute()]);
        Cache::open(&url).unwrap()
    };
    for compression in ["zstd", "none"] {
        pull(&home, &to(compression, compression), &top.path, &key);
    }
    let store = Store::open(&home.dir.path().join("there")).unwrap();
    let error = substitute(&store, &to("xz", "xz"), &top.path, &[key.public()], &Terms::default()).unwrap_err();
    assert!(error.to_string().contains("`xz` is not read here"), "{error}");
}

#[test]
fn only_what_is_missing_is_fetched_and_sent() {
    let home = Home::new();
    let key = key();
    let top = home.chain();
    let server = Server::over(&home.cache_dir());
    let cache = Cache::open(&format!("{}/some/folder", server.base)).unwrap();
    upload(&home.store, &cache, &key, &home.closure(&top), &|_| ()).unwrap();
    let (_there, store) = pull(&home, &cache, &top.path, &key);

    let next = home.add("next", "next", &[&top]);
    server.requests();
    upload(&home.store, &cache, &key, &home.closure(&next), &|_| ()).unwrap();
    let sent = server.requests().into_iter().filter(|request| request.starts_with("PUT")).count();
    assert_eq!(sent, 2, "archive and narinfo of one path");
    let fetched = substitute(&store, &cache, &next.path, &[key.public()], &Terms::default()).unwrap();
    assert_eq!((fetched.paths, server.requests().len()), (1, 2));
    let fetched = substitute(&store, &cache, &next.path, &[key.public()], &Terms::default()).unwrap();
    assert_eq!((fetched.paths, server.requests().len()), (0, 0));
}

fn pointer(closure: &StorePath, published: i64) -> Pointer {
    Pointer {
        version: POINTER_VERSION,
        host: "web".to_owned(),
        sequence: 0,
        closure: closure.clone(),
        operator: "a@desk".to_owned(),
        message: None,
        published,
        expires: None,
        source: None,
        retention: Retention::DEFAULT,
        secrets: Vec::new(),
    }
}

#[test]
fn a_pointer_rises_and_says_when_it_has_not_moved() {
    let home = Home::new();
    let key = key();
    let closure = home.add("host", "host", &[]).path;
    let server = Server::over(&home.cache_dir());
    for url in [home.file_url() + "/one", format!("{}/two", server.base)] {
        let cache = Cache::open(&url).unwrap();
        let write = |published| {
            write_pointer::<CacheError>(&cache, &key, "web", |_| Ok(pointer(&closure, published))).unwrap().sequence
        };
        // By the clock, but above the last whatever the clock says.
        assert_eq!([write(100), write(100), write(50), write(1000)], [100, 101, 102, 1000], "{url}");
    }
    let cache = Cache::open(&format!("{}/two", server.base)).unwrap();
    let name = key_of("web");
    let Answer::Content { revision, .. } = cache.get_unless(&name, MAX_POINTER, &Revision::Unknown).unwrap() else {
        panic!("no pointer");
    };
    assert!(matches!(cache.get_unless(&name, MAX_POINTER, &revision).unwrap(), Answer::Unchanged));
    // Somebody else comes in between.
    let other = write_pointer::<CacheError>(&cache, &key, "web", |_| {
        write_pointer::<CacheError>(&cache, &key, "web", |_| Ok(pointer(&closure, 2000)))?;
        Ok(pointer(&closure, 2000))
    });
    assert!(matches!(other, Err(CacheError::Conflict { .. })), "{other:?}");
    // One that another key has signed is not written over.
    let (strange, _) = SecretKey::generate("strange-1").unwrap();
    let error = write_pointer::<CacheError>(&cache, &strange, "web", |_| Ok(pointer(&closure, 3000))).unwrap_err();
    assert!(error.to_string().contains("but by test-1"), "{error}");
    assert!(matches!(cache.get_unless("cairn/no.json", 10, &Revision::Unknown).unwrap(), Answer::Absent));
    let error = cache.get(&name, 10).unwrap_err();
    assert!(matches!(error, CacheError::TooLong { limit: 10, .. }), "{error}");
}

#[test]
fn a_narinfo_that_hosts_would_not_believe_is_published_again() {
    let home = Home::new();
    let top = home.chain();
    let (old, new) = (key(), SecretKey::generate("new-1").unwrap().0);
    let cache = Cache::open(&home.file_url()).unwrap();
    upload(&home.store, &cache, &old, &home.closure(&top), &|_| ()).unwrap();
    assert_eq!(upload(&home.store, &cache, &new, &home.closure(&top), &|_| ()).unwrap().new, 3);
    pull(&home, &cache, &top.path, &new);
    // Of another store.
    fs::write(home.cache_dir().join("nix-cache-info"), "StoreDir: /elsewhere\n").unwrap();
    let error = upload(&home.store, &cache, &new, &home.closure(&top), &|_| ()).unwrap_err();
    assert!(error.to_string().contains("/elsewhere"), "{error}");
}

/// Hosts and operators differ in their environment, which a process cannot change for one test.
#[test]
fn a_bucket_is_asked_with_signed_addresses() {
    let home = Home::new();
    let server = Server::over(&home.cache_dir());
    let file = home.dir.path().join("credentials");
    fs::write(&file, "[test]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = not-to-be-seen\n").unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "within_the_environment_of_a_bucket", "--ignored", "--nocapture"])
        .env("AWS_SHARED_CREDENTIALS_FILE", &file)
        .env("TEST_BUCKET", format!("s3://bucket/some/folder?region=eu-west-1&profile=test&endpoint={}", server.base))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let requests = server.whole_requests();
    let signed = |request: &String| {
        request.contains(" /bucket/some/folder/")
            && request.contains("X-Amz-Credential=AKIDEXAMPLE%2F")
            && request.contains("X-Amz-Signature=")
            && !request.contains("not-to-be-seen")
    };
    assert!(requests.len() > 8 && requests.iter().all(signed), "{requests:?}");
    assert!(home.cache_dir().join("bucket/some/folder/nix-cache-info").is_file());
}

#[test]
#[ignore = "run by the test above, in its environment"]
fn within_the_environment_of_a_bucket() {
    let home = Home::new();
    let key = key();
    let top = home.chain();
    let cache = Cache::open(&std::env::var("TEST_BUCKET").unwrap()).unwrap();
    upload(&home.store, &cache, &key, &home.closure(&top), &|_| ()).unwrap();
    pull(&home, &cache, &top.path, &key);
    let error = cache.read("nar/none").err().unwrap().to_string();
    assert!(error.contains("/some/folder/nar/none") && !error.contains("X-Amz"), "{error}");
    assert!(cache.get(&NarInfo::file_name(&top.path), 1 << 20).unwrap().is_some());
}
