//! Closures through caches of every kind, with the real Nix as reader, writer and judge.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use cairn_cache::{
    Answer, Cache, CacheError, MAX_POINTER, Pointer, PointerWriter, PublicKey, Revision, SecretKey, Terms, key_of,
    substitute, upload, write_pointer,
};
use cairn_formats::StorePath;
use cairn_formats::narinfo::NarInfo;
use cairn_store::Store;
use common::{Home, Server, pointer, tool};

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

fn writer<'a>(key: &'a SecretKey, trusted: &'a [PublicKey]) -> PointerWriter<'a> {
    PointerWriter { key, trusted, replace: false, now: 10_000 }
}

/// With one key, which is all that is trusted.
fn write(cache: &Cache, key: &SecretKey, closure: &StorePath, published: i64) -> Result<Pointer, CacheError> {
    let trusted = [key.public()];
    write_pointer(cache, "web", &writer(key, &trusted), |_| Ok(pointer(closure, published)))
}

#[test]
fn a_pointer_rises_and_says_when_it_has_not_moved() {
    let home = Home::new();
    let key = key();
    let closure = home.add("host", "host", &[]).path;
    let server = Server::over(&home.cache_dir());
    for url in [home.file_url() + "/one", format!("{}/two", server.base)] {
        let cache = Cache::open(&url).unwrap();
        let write = |published| write(&cache, &key, &closure, published).unwrap().sequence;
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
    let trusted = [key.public()];
    let other = write_pointer::<CacheError>(&cache, "web", &writer(&key, &trusted), |_| {
        write(&cache, &key, &closure, 2000)?;
        Ok(pointer(&closure, 2000))
    });
    assert!(matches!(other, Err(CacheError::Conflict { .. })), "{other:?}");
    // One that only a key has signed that is not trusted is not written over.
    let (strange, _) = SecretKey::generate("strange-1").unwrap();
    let error = write(&cache, &strange, &closure, 3000).unwrap_err();
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
    // Hosts that trust the old key alone still find it, and it is written once for each key.
    pull(&home, &cache, &top.path, &old);
    for key in [&old, &new] {
        assert_eq!(upload(&home.store, &cache, key, &home.closure(&top), &|_| ()).unwrap().new, 0);
    }
    // Of another store.
    fs::write(home.cache_dir().join("nix-cache-info"), "StoreDir: /elsewhere\n").unwrap();
    let error = upload(&home.store, &cache, &new, &home.closure(&top), &|_| ()).unwrap_err();
    assert!(error.to_string().contains("/elsewhere"), "{error}");
}

/// Hosts and operators differ in their environment, which a process cannot change for one test.
#[test]
fn a_bucket_is_asked_with_signed_headers() {
    let home = Home::new();
    let server = Server::over(&home.cache_dir());
    let file = home.dir.path().join("credentials");
    let text = "[test]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = not-to-be-seen\n\
                aws_session_token = token-of-a-session\n";
    fs::write(&file, text).unwrap();
    let bucket = format!("s3://bucket/some/folder?region=eu-west-1&profile=test&endpoint={}", server.base);
    let output = within_an_environment("within_the_environment_of_a_bucket", &bucket, &file);
    assert!(output.status.success(), "{output:?}");
    let requests = server.whole_requests();
    let signed = |(line, headers): &(String, BTreeMap<String, String>)| {
        let header = |name: &str| headers.get(name).map_or("", String::as_str);
        line.contains(" /bucket/some/folder/")
            && header("authorization").starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
            && header("authorization").contains("x-amz-security-token, Signature=")
            && header("x-amz-security-token") == "token-of-a-session"
            && header("x-amz-content-sha256") == "UNSIGNED-PAYLOAD"
            && !format!("{headers:?}").contains("not-to-be-seen")
    };
    assert!(requests.len() > 8 && requests.iter().all(signed), "{requests:?}");
    // Servers and proxies log the first line: it holds no part of a key, token or signature.
    let quiet = |(line, _): &(String, BTreeMap<String, String>)| {
        !line.contains(['?', '&']) && !["token", "AKID", "Amz"].iter().any(|part| line.contains(part))
    };
    assert!(requests.iter().all(quiet), "{requests:?}");
    assert!(home.cache_dir().join("bucket/some/folder/nix-cache-info").is_file());
}

/// This program again, for one of the tests that need an environment.
fn within_an_environment(test: &str, bucket: &str, credentials: &std::path::Path) -> std::process::Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture"]);
    command.env("AWS_SHARED_CREDENTIALS_FILE", credentials).env("TEST_BUCKET", bucket).output().unwrap()
}

/// A token that was sent along a redirect would be the other server's.
#[test]
fn no_token_follows_a_redirect_and_none_is_in_an_error() {
    let home = Home::new();
    let elsewhere = Server::over(&home.cache_dir());
    let server = Server::redirecting(&elsewhere.base);
    let file = home.dir.path().join("credentials");
    let text = "[test]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = not-to-be-seen\n\
                aws_session_token = token-of-a-session\n";
    fs::write(&file, text).unwrap();
    let bucket = format!("s3://bucket?region=eu-west-1&profile=test&endpoint={}", server.base);
    let output = within_an_environment("within_the_environment_of_a_bucket_that_moved", &bucket, &file);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(elsewhere.whole_requests(), []);
}

#[test]
#[ignore = "run by the test above, in its environment"]
fn within_the_environment_of_a_bucket_that_moved() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let moved = std::env::var("TEST_BUCKET").unwrap();
    let gone = format!("s3://bucket?region=eu-west-1&profile=test&endpoint=http://{closed}");
    for (url, said) in [(moved, "the server says 307"), (gone, "cannot be reached")] {
        let cache = Cache::open(&url).unwrap();
        let errors = [
            cache.get("x", 10).unwrap_err(),
            cache.exists("x").unwrap_err(),
            cache.put("x", b"x").unwrap_err(),
            cache.read("x", std::time::Duration::from_secs(20)).err().unwrap(),
        ];
        for error in errors {
            let all = format!("{error} {error:?}");
            assert!(all.contains(said), "{all}");
            for secret in ["token-of-a-session", "not-to-be-seen", "AKIDEXAMPLE", "Signature", "X-Amz"] {
                assert!(!all.contains(secret), "{all}");
            }
        }
    }
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
    let error = cache.read("nar/none", std::time::Duration::from_secs(20)).err().unwrap().to_string();
    assert!(error.contains("/some/folder/nar/none") && !error.contains("token"), "{error}");
    assert!(cache.get(&NarInfo::file_name(&top.path), 1 << 20).unwrap().is_some());
}
