//! Generated files against the programs whose work they replace.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{listing, paths, run, sh, unpack};
use serde_json::{Value, json};

fn generated() -> Value {
    json!({
        "kind": "generated",
        "platform": "linux/amd64",
        "users": {"app": {"uid": 1000, "gid": 1000, "home": "/srv/app"}},
        "links": {"/usr/bin/python3": "python3.11"},
    })
}

/// The root of an image of these packages, with the generated tree in it.
fn root(packages: &[&str], scratch: &Path) -> PathBuf {
    let mut trees = unpack(packages, &[], scratch);
    let base = scratch.join("generated");
    run(generated(), &[("trees", &paths(&trees))], &base).unwrap();
    trees.push(base);
    let root = scratch.join("root");
    run(json!({"kind": "rootfs"}), &[("trees", &paths(&trees))], &root).unwrap();
    root
}

/// What `ldconfig` reads in a cache, in the order of the cache.
fn libraries(cache: &Path) -> Vec<String> {
    let text = sh("/sbin/ldconfig", &["-p", "-C", cache.to_str().unwrap()], Path::new("/"));
    text.lines().filter(|line| line.contains("=>")).map(|line| line.trim().to_owned()).collect()
}

#[test]
fn the_cache_of_the_loader_is_what_ldconfig_makes() {
    let scratch = tempfile::tempdir().unwrap();
    let packages = [
        "libc6",
        "libc-bin",
        "base-files",
        "libssl3",
        "libstdc++6",
        "libgcc-s1",
        "gcc-12-base",
        "zlib1g",
        "zlib1g-dev",
        "libpython3.11-stdlib",
        "libpython3.11-minimal",
        "python3.11-minimal",
        "libffi8",
        "libexpat1",
        "libuuid1",
    ];
    let root = root(&packages, scratch.path());
    let cache = root.join("etc/ld.so.cache");
    let ours = libraries(&cache);
    fs::remove_file(&cache).unwrap();
    sh("/sbin/ldconfig", &["-r", root.to_str().unwrap()], Path::new("/"));
    assert_eq!(ours, libraries(&cache));
    assert!(ours.len() > 20, "{ours:?}");
    assert!(ours.iter().any(|line| line.starts_with("libz.so (libc6,x86-64)")), "{ours:?}");
}

#[test]
fn python_finds_libraries_through_the_cache() {
    let scratch = tempfile::tempdir().unwrap();
    let packages = [
        "libc6",
        "libc-bin",
        "base-files",
        "zlib1g",
        "libuuid1",
        "libpython3.11-stdlib",
        "libpython3.11-minimal",
        "python3.11-minimal",
        "libffi8",
        "libexpat1",
    ];
    let root = root(&packages, scratch.path());
    // Python starts ldconfig with its standard error sent here.
    sh("mknod", &[root.join("dev/null").to_str().unwrap(), "c", "1", "3"], Path::new("/"));
    let script = "import ctypes, ctypes.util, os, pwd, time\n\
        name = ctypes.util.find_library('uuid')\n\
        ctypes.CDLL(name)\n\
        print(name, pwd.getpwnam('app').pw_uid, os.path.exists('/lib64/ld-linux-x86-64.so.2'), time.tzname[0])";
    let output = Command::new("/usr/sbin/chroot")
        .arg(&root)
        .args(["/usr/bin/python3", "-c", script])
        .env_clear()
        .env("PATH", "/usr/bin:/sbin")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, "libuuid.so.1 1000 True UTC\n", "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn certificates_are_what_update_ca_certificates_writes() {
    let scratch = tempfile::tempdir().unwrap();
    let packages = ["ca-certificates", "libssl3", "libc6", "openssl"];
    let root = root(&packages, scratch.path());

    let (etc, local) = (scratch.path().join("etc"), scratch.path().join("local"));
    for directory in [&etc, &local] {
        fs::create_dir(directory).unwrap();
    }
    let certificates = root.join("usr/share/ca-certificates");
    let names: BTreeSet<String> =
        listing(&certificates, false).into_keys().filter(|name| name.ends_with(".crt")).collect();
    let list = scratch.path().join("list");
    fs::write(&list, names.into_iter().fold(String::new(), |text, name| text + &name + "\n")).unwrap();
    let argument = |path: &Path| path.to_str().unwrap().to_owned();
    let arguments = [
        ("--certsconf", argument(&list)),
        ("--certsdir", argument(&certificates)),
        ("--localcertsdir", argument(&local)),
        ("--etccertsdir", argument(&etc)),
        ("--hooksdir", argument(&scratch.path().join("none"))),
    ];
    let arguments: Vec<&str> = arguments.iter().flat_map(|(option, value)| [*option, value]).collect();
    sh("/usr/sbin/update-ca-certificates", &arguments, Path::new("/"));

    let ours = fs::read(root.join("etc/ssl/certs/ca-certificates.crt")).unwrap();
    assert_eq!(ours.len(), fs::read(etc.join("ca-certificates.crt")).unwrap().len());
    assert_eq!(ours, fs::read(etc.join("ca-certificates.crt")).unwrap());
    // Where this OpenSSL looks, in the root.
    let output =
        Command::new("/usr/sbin/chroot").arg(&root).args(["/usr/bin/openssl", "version", "-d"]).output().unwrap();
    let directory = String::from_utf8(output.stdout).unwrap();
    assert_eq!(directory, "OPENSSLDIR: \"/usr/lib/ssl\"\n");
    let one = fs::read(certificates.join("mozilla/ISRG_Root_X1.crt")).unwrap();
    fs::write(root.join("tmp/one.pem"), one).unwrap();
    let verify = ["/usr/bin/openssl", "verify", "-no-CApath", "/tmp/one.pem"];
    let output = Command::new("/usr/sbin/chroot").arg(&root).args(verify).env_clear().output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "/tmp/one.pem: OK\n");
}

#[test]
fn what_an_image_needs_is_there() {
    let scratch = tempfile::tempdir().unwrap();
    let root = root(&["base-files", "libc6", "libc-bin", "tzdata"], scratch.path());
    let found = listing(&root, false);
    for (path, expected) in [
        ("bin", "-> usr/bin"),
        ("lib", "-> usr/lib"),
        ("lib64", "-> usr/lib64"),
        ("sbin", "-> usr/sbin"),
        ("usr/bin/python3", "-> python3.11"),
        ("etc/localtime", "-> /usr/share/zoneinfo/Etc/UTC"),
        ("proc", "directory"),
        ("sys", "directory"),
        ("dev", "directory"),
        ("run", "directory"),
        ("tmp", "directory"),
        ("var/tmp", "directory"),
    ] {
        assert_eq!(found.get(path).map(String::as_str), Some(expected), "{path}");
    }
    assert!(!found.contains_key("lib32"));
    for path in ["etc/resolv.conf", "etc/machine-id"] {
        assert_eq!(fs::read_to_string(root.join(path)).unwrap(), "", "{path}");
    }
    let same = |a: &str, b: &str| assert_eq!(fs::read(root.join(a)).unwrap(), fs::read(root.join(b)).unwrap());
    same("etc/nsswitch.conf", "usr/share/libc-bin/nsswitch.conf");
    assert!(fs::read_to_string(root.join("var/lib/dpkg/status.d/libc6")).unwrap().starts_with("Package: libc6\n"));
    assert!(fs::read_to_string(root.join("etc/passwd")).unwrap().contains("\napp:*:1000:1000:app:/srv/app:"));
}

#[test]
fn a_tree_may_bring_its_own_hosts_but_not_its_own_passwd() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("file");
    fs::write(&file, "own\n").unwrap();
    let files = |target: &str| {
        let out = scratch.path().join(target.replace('/', "-"));
        let step = json!({"kind": "files", "target": target, "interpreter": null, "native": true});
        run(step, &[("source", &[&file])], &out).unwrap();
        out
    };
    let (hosts, passwd, python) = (files("/etc/hosts"), files("/etc/passwd"), files("/bin/python3"));
    let out = |name: &str| scratch.path().join(name);
    run(generated(), &[("trees", &[&hosts])], &out("a")).unwrap();
    assert!(!out("a").join("tree/etc/hosts").exists());
    for (tree, expected) in
        [(&passwd, "`etc/passwd` comes from -etc-passwd"), (&python, "`usr/bin/python3` comes from -bin-python3")]
    {
        let error = run(generated(), &[("trees", &[tree])], &out(&expected.len().to_string())).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn the_same_trees_give_the_same_bytes_in_any_order() {
    let scratch = tempfile::tempdir().unwrap();
    let trees = unpack(&["base-files", "libc6", "libc-bin", "ca-certificates"], &[], scratch.path());
    let mut backwards = trees.clone();
    backwards.reverse();
    let (a, b) = (scratch.path().join("a"), scratch.path().join("b"));
    run(generated(), &[("trees", &paths(&trees))], &a).unwrap();
    run(generated(), &[("trees", &paths(&backwards))], &b).unwrap();
    assert_eq!(listing(&a, true), listing(&b, true));
}

#[test]
fn configurations_of_the_loader_that_include_each_other_are_read_once_each() {
    let scratch = tempfile::tempdir().unwrap();
    let tree = scratch.path().join("package");
    let folder = tree.join("tree/etc/ld.so.conf.d");
    fs::create_dir_all(&folder).unwrap();
    fs::write(tree.join("meta.json"), r#"{"exceptions": {}}"#).unwrap();
    fs::write(tree.join("tree/etc/ld.so.conf"), "include ld.so.conf.d/0-*.conf\n").unwrap();
    // Each of a level includes all of the next: 8^8 ways lead to the last.
    for (level, number) in (0..8).flat_map(|level| (0..8).map(move |number| (level, number))) {
        let text = format!("include {}-*.conf\n/opt/{number}\n", level + 1);
        fs::write(folder.join(format!("{level}-{number}.conf")), text).unwrap();
    }
    let step = json!({"kind": "generated", "platform": "linux/amd64", "users": {}, "links": {}});
    run(step, &[("trees", &[&tree])], &scratch.path().join("out")).unwrap();
}
