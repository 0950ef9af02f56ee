//! Locks and requests to the builder that earlier versions wrote are still read, with their values.
//!
//! `tests/fixtures/README.md` says how the files are written.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use cairn_formats::{Platform, Sha256};
use cairn_recipe::lock::{Accepted, AcceptedKind, Lock, LockedDeb, LockedIndex, LockedWheel};
use cairn_recipe::step::{Generated, Health, ImagePlatform, Request, Step, User, Verify};

fn file(version: &str, name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(version).join(name)
}

fn text(name: &str) -> String {
    let file = file("fbaba72", name);
    fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

fn lock(name: &str) -> Lock {
    Lock::parse(&file("fbaba72", name), &text(name)).unwrap()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

fn hash(text: &str) -> Sha256 {
    Sha256::of(text.as_bytes())
}

const BOTH: [Platform; 2] = [Platform::LinuxAmd64, Platform::LinuxArm64];

/// A lock with every key.
fn full() -> Lock {
    let index = LockedIndex {
        archive: "debian-security".to_owned(),
        suite: "bookworm-security".to_owned(),
        date: "Tue, 24 Nov 2026 00:34:33 UTC".to_owned(),
        valid_until: Some("Tue, 01 Dec 2026 00:34:33 UTC".to_owned()),
        inrelease: hash("InRelease"),
        signed_by: words(&["4CB50190207B4758A3F73A796ED0E7B82643E131", "B0CAB9266E8C3929798B3EEEBDE6D2B9216EC7A8"]),
        accepted_stale: true,
    };
    let deb = LockedDeb {
        name: "libc6".to_owned(),
        version: "1:2.36-9+deb12u10".to_owned(),
        arch: "amd64".to_owned(),
        source: "glibc".to_owned(),
        size: 2_757_000,
        sha256: hash("deb"),
        archive: "debian".to_owned(),
        pool: "pool/main/g/glibc/libc6_2.36-9+deb12u10_amd64.deb".to_owned(),
        depends: words(&["gcc-12-base", "libgcc-s1"]),
        platforms: vec![Platform::LinuxAmd64],
        layer: "glibc".to_owned(),
    };
    let wheel = LockedWheel {
        name: "httpx".to_owned(),
        version: "0.27.2".to_owned(),
        file: "httpx-0.27.2-py3-none-any.whl".to_owned(),
        size: 76_395,
        sha256: hash("wheel"),
        depends: words(&["anyio", "certifi"]),
        platforms: BOTH.to_vec(),
        layer: "wheels".to_owned(),
    };
    Lock {
        version: 1,
        definition: hash("definition"),
        platforms: BOTH.to_vec(),
        indexes: vec![index],
        debs: vec![deb],
        wheels: vec![wheel],
        keyring: None,
        exclude_newer: None,
        accepted: Vec::new(),
    }
}

/// What locks record since abb786e: the definition's keyring, the end for Python, what was accepted.
fn with_what_was_accepted() -> Lock {
    let accepted = |kind, name: &str| Accepted {
        kind,
        name: name.to_owned(),
        old: format!("{name} before"),
        new: format!("{name} now"),
    };
    Lock {
        keyring: Some(hash("keyring")),
        exclude_newer: Some("2026-11-30T00:00:00Z".to_owned()),
        accepted: vec![
            accepted(AcceptedKind::OlderRelease, "bookworm"),
            accepted(AcceptedKind::Signer, "bookworm-security"),
            accepted(AcceptedKind::ChangedHash, "httpx"),
        ],
        ..full()
    }
}

/// A lock of an image without packages.
fn minimal() -> Lock {
    Lock {
        version: 1,
        definition: hash("definition"),
        platforms: vec![Platform::LinuxArm64],
        indexes: Vec::new(),
        debs: Vec::new(),
        wheels: Vec::new(),
        keyring: None,
        exclude_newer: None,
        accepted: Vec::new(),
    }
}

#[test]
fn locks_of_fbaba72_are_read_as_they_were_written() {
    assert_eq!(lock("lock/full.lock"), full());
    assert_eq!(lock("lock/minimal.lock"), minimal());
}

#[test]
fn locks_of_abb786e_are_read_as_they_were_written() {
    let file = file("abb786e", "lock/full.lock");
    let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    assert_eq!(Lock::parse(&file, &text).unwrap(), with_what_was_accepted());
}

#[test]
#[ignore = "writes fixtures: see tests/fixtures/README.md"]
fn write_fixtures_of_what_was_accepted() {
    let version = std::env::var("CAIRN_FIXTURES").unwrap();
    let file = file(&version, "lock/full.lock");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, with_what_was_accepted().to_toml()).unwrap();
}

/// The locks that `deploy lock` made of this repository's `smoke` (Debian and Python) and `proxy`.
#[test]
fn locks_that_deploy_of_fbaba72_made_are_read_as_they_were_written() {
    let smoke = lock("lock/smoke.lock");
    assert_eq!((smoke.indexes.len(), smoke.debs.len(), smoke.wheels.len()), (3, 39, 8));
    let found = |suite: &str| smoke.indexes.iter().find(|index| index.suite == suite).unwrap();
    assert_eq!(found("bookworm-security").valid_until.as_deref(), Some("Tue, 01 Dec 2026 00:34:33 UTC"));
    assert_eq!((found("bookworm").valid_until.as_deref(), found("bookworm").signed_by.len()), (None, 3));
    assert_eq!(smoke.debs[0].name, "ca-certificates");
    assert_eq!(smoke.debs[0].sha256.hex(), "b9f76b5271a7ac373fd5e7e1b5b826a71ddd702b42a0d104955ecb1acfffc94b");
    assert_eq!((smoke.wheels[0].name.as_str(), smoke.wheels[0].depends.len()), ("anyio", 2));
    assert_eq!(smoke.debs_for(Platform::LinuxAmd64).count(), smoke.debs_for(Platform::LinuxArm64).count());

    let proxy = lock("lock/proxy.lock");
    assert_eq!(proxy.indexes.iter().map(|index| index.accepted_stale).collect::<Vec<_>>(), [true]);
    for lock in [smoke, proxy] {
        assert_eq!(Lock::parse(&PathBuf::from("again"), &lock.to_toml()).unwrap(), lock);
    }
}

fn platform(health: Option<Health>) -> ImagePlatform {
    ImagePlatform {
        platform: Platform::LinuxAmd64,
        user: "10004:10004".to_owned(),
        workdir: Some("/app".to_owned()),
        entrypoint: words(&["/usr/bin/api"]),
        command: words(&["--port", "80"]),
        env: [("MODE".to_owned(), "production".to_owned())].into(),
        ports: vec![80, 443],
        volumes: words(&["/var/lib/api"]),
        labels: [("org.opencontainers.image.title".to_owned(), "api".to_owned())].into(),
        stop_signal: Some("SIGTERM".to_owned()),
        health,
    }
}

/// One step of each kind; of the host only that it is the one of the closure's fixture.
fn steps() -> Vec<Step> {
    let text = |text: &str| text.to_owned();
    let map = |key: &str, value: &str| BTreeMap::from([(text(key), text(value))]);
    let health = Health {
        command: words(&["/usr/bin/health"]),
        interval: 10_000_000_000,
        timeout: 3_000_000_000,
        start_period: 0,
        retries: 3,
    };
    let generated = Generated {
        platform: Some(Platform::LinuxAmd64),
        users: [(text("app"), User { uid: 10_001, gid: 10_001, home: text("/nonexistent") })].into(),
        links: map("/usr/bin/python", "python3.11"),
        volumes: [(text("/var/lib/api"), (10_001, 10_001))].into(),
    };
    let verify = Verify {
        command: words(&["/usr/sbin/nginx", "-t"]),
        uid: 10_002,
        gid: 10_002,
        environment: map("A", "b"),
        workdir: Some(text("/")),
        volumes: words(&["/var/cache/nginx"]),
        timeout: 20_000,
    };
    let interpreter = || text("/usr/bin/python3.11");
    let bare = ImagePlatform { workdir: None, volumes: Vec::new(), stop_signal: None, ..platform(None) };
    vec![
        Step::Deb { exclude: words(&["usr/share/doc/**", "!usr/share/doc/*/copyright"]) },
        Step::DebPyc { interpreter: interpreter(), native: true },
        Step::Wheel { interpreter: interpreter(), native: false, site: text("/usr/local/lib/python3.11") },
        Step::Files { target: text("/app"), interpreter: Some(interpreter()), native: true },
        Step::Files { target: text("/app"), interpreter: None, native: true },
        Step::Generated(generated),
        Step::Generated(Generated::default()),
        Step::Rootfs {},
        Step::Layer { compression: text("gzip-6") },
        Step::Image { platforms: vec![platform(Some(health)), bare], annotations: map("title", "api") },
        Step::Config { files: map("redis.conf", "port 0\n"), links: map("current", "redis.conf") },
        Step::Config { files: BTreeMap::new(), links: BTreeMap::new() },
        Step::Verify(verify),
        Step::Host { spec: Box::new(serde_json::from_str(&self::text("closure/full.spec.json")).unwrap()) },
        Step::Program { name: text("cairn-agent") },
    ]
}

fn requests() -> Vec<Request> {
    let inputs: BTreeMap<String, Vec<String>> =
        [("trees".to_owned(), words(&["/nix/store/1-a", "/nix/store/2-b"]))].into();
    steps().into_iter().map(|step| Request { step, inputs: inputs.clone(), out: "/build/out".to_owned() }).collect()
}

#[test]
fn requests_to_the_builder_of_fbaba72_are_read_as_they_were_written() {
    let read: Vec<Request> =
        text("recipe/requests.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(read.len(), requests().len());
    for (read, written) in read.into_iter().zip(requests()) {
        assert_eq!(read, written);
    }
}

#[test]
#[ignore = "writes fixtures: see tests/fixtures/README.md"]
fn write_fixtures() {
    let version = std::env::var("CAIRN_FIXTURES").expect("CAIRN_FIXTURES: the version to write fixtures of");
    ["lock", "recipe"].into_iter().for_each(|folder| fs::create_dir_all(file(&version, folder)).unwrap());
    fs::write(file(&version, "lock/full.lock"), full().to_toml()).unwrap();
    fs::write(file(&version, "lock/minimal.lock"), minimal().to_toml()).unwrap();
    for image in ["smoke", "proxy"] {
        let made = file("../..", &format!("images/{image}/image.lock"));
        fs::copy(made, file(&version, &format!("lock/{image}.lock"))).unwrap();
    }
    let lines: String = requests().iter().map(|request| serde_json::to_string(request).unwrap() + "\n").collect();
    fs::write(file(&version, "recipe/requests.jsonl"), lines).unwrap();
}
