//! The remaining steps, and the program around them.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use common::{listing, run};
use serde_json::{Value, json};

fn files(target: &str) -> Value {
    json!({"kind": "files", "target": target, "interpreter": null, "native": true})
}

#[test]
fn a_directory_goes_below_its_target() {
    let scratch = tempfile::tempdir().unwrap();
    let source = scratch.path().join("source");
    fs::create_dir_all(source.join("sub/empty")).unwrap();
    fs::write(source.join("run"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(source.join("run"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(source.join("sub/secret"), "x").unwrap();
    fs::set_permissions(source.join("sub/secret"), fs::Permissions::from_mode(0o600)).unwrap();
    symlink("../run", source.join("sub/link")).unwrap();
    let out = scratch.path().join("out");
    run(files("/bin/app/"), &[("source", &[&source])], &out).unwrap();
    let found: Vec<(String, String)> = listing(&out.join("tree/usr/bin"), true).into_iter().collect();
    let kinds: Vec<(&str, &str)> = found.iter().map(|(p, e)| (&**p, e.split_once(' ').unwrap().0)).collect();
    let expected = [
        ("app", "755"),
        ("app/run", "755"),
        ("app/sub", "755"),
        ("app/sub/empty", "755"),
        ("app/sub/link", "->"),
        ("app/sub/secret", "644"),
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn odd_sources_and_targets_are_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let source = scratch.path().join("source");
    fs::create_dir(&source).unwrap();
    common::sh("mkfifo", &["pipe"], &source);
    let out = |name: &str| scratch.path().join(name);
    let error = run(files("/srv"), &[("source", &[&source])], &out("a")).unwrap_err();
    assert!(error.contains("pipe"), "{error}");
    for target in ["srv", "/srv/../etc", "/", ""] {
        let error = run(files(target), &[("source", &[&source])], &out("b")).unwrap_err();
        assert!(error.contains("`target`") && error.contains("absolute path"), "{error}");
    }
    let error = run(files("/srv"), &[], &out("c")).unwrap_err();
    assert!(error.contains("`source` holds 0 paths"), "{error}");
}

#[test]
fn a_root_is_its_trees_laid_over_each_other() {
    let scratch = tempfile::tempdir().unwrap();
    let tree = |name: &str, target: &str, content: &str| {
        let (source, out) = (scratch.path().join(format!("{name}.source")), scratch.path().join(name));
        fs::write(&source, content).unwrap();
        run(files(target), &[("source", &[&source])], &out).unwrap();
        out
    };
    let (a, b, c) = (tree("a", "/srv/a", "a"), tree("b", "/srv/b", "b"), tree("c", "/srv/a", "other"));
    let out = |name: &str| scratch.path().join(name);
    run(json!({"kind": "rootfs"}), &[("trees", &[&a, &b, &a])], &out("root")).unwrap();
    assert_eq!(listing(&out("root"), true).into_keys().collect::<Vec<_>>(), ["srv", "srv/a", "srv/b"]);
    let error = run(json!({"kind": "rootfs"}), &[("trees", &[&a, &b, &c])], &out("bad")).unwrap_err();
    assert!(error.starts_with("`srv/a` comes from a (a file of 1 bytes) and from c (a file of 5 bytes)"), "{error}");
    let error = run(json!({"kind": "rootfs"}), &[], &out("none")).unwrap_err();
    assert!(error.contains("`trees` holds 0 paths"), "{error}");
}

#[test]
fn a_program_becomes_a_store_path_of_its_own() {
    let scratch = tempfile::tempdir().unwrap();
    let (from, out) = (scratch.path().join("from"), scratch.path().join("out"));
    fs::write(&from, "program").unwrap();
    run(json!({"kind": "program", "name": "cairn-agent"}), &[("program", &[&from])], &out).unwrap();
    let found = listing(&out, true);
    assert!(found["bin/cairn-agent"].starts_with("755"));
    let error = run(json!({"kind": "program", "name": "../x"}), &[("program", &[&from])], &out).unwrap_err();
    assert!(error.contains("`name`"), "{error}");
}

#[test]
fn layers_and_images_come_out_of_trees() {
    let scratch = tempfile::tempdir().unwrap();
    let out = |name: &str| scratch.path().join(name);
    fs::write(out("source"), "x").unwrap();
    run(files("/srv/x"), &[("source", &[&out("source")])], &out("tree")).unwrap();
    let trees: &[(&str, &[&Path])] = &[("trees", &[&out("tree")])];
    let layer = |compressor: &str| run(json!({"kind": "layer", "compression": compressor}), trees, &out("layer"));
    let error = layer("gzip:other").unwrap_err();
    assert!(error.contains("`gzip:other`, which this builder lacks"), "{error}");
    layer(cairn_oci::compress::Compression::Gzip.id()).unwrap();
    let platform = json!({
        "platform": "linux/amd64", "user": "1000:1000", "workdir": "/srv", "entrypoint": ["/srv/x"], "command": [],
        "env": {"A": "b"}, "ports": [8080], "labels": {}, "stop_signal": "SIGTERM",
        "health": {"command": ["/srv/x"], "interval": 1_000_000_000, "timeout": 1_000_000_000, "start_period": 0, "retries": 3},
    });
    let step = json!({"kind": "image", "platforms": [platform], "annotations": {}});
    run(step, &[("layers.0", &[&out("layer")])], &out("image")).unwrap();
    let index: Value = serde_json::from_slice(&fs::read(out("image").join("index.json")).unwrap()).unwrap();
    assert_eq!(index["manifests"][0]["platform"]["architecture"], "amd64");
}

#[test]
fn a_host_closure_names_the_paths_of_its_inputs() {
    let scratch = tempfile::tempdir().unwrap();
    let agent = "/nix/store/0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-cairn-agent";
    let rootfs = "/nix/store/1mdqa9w1p6cmli6976v4wi0sw9r4p5pr-api-rootfs";
    let step = |placeholder: &str| {
        let service = json!({
            "rootfs": placeholder, "image": "api", "command": ["/usr/local/bin/serve"], "listen": {"unix": true},
            "user": {"name": "app", "uid": 10001, "gid": 10001},
        });
        let spec = json!({
            "version": 1, "name": "local", "platform": "linux/amd64",
            "agent": "/nix/store/00000000000000000000000000000000-agent", "services": {"api": service},
        });
        json!({"kind": "host", "spec": spec})
    };
    let inputs: [(&str, &[&Path]); 2] = [("agent", &[Path::new(agent)]), ("rootfs.api", &[Path::new(rootfs)])];
    let out = scratch.path().join("out");
    run(step("/nix/store/00000000000000000000000000000000-rootfs.api"), &inputs, &out).unwrap();
    let units = listing(&out.join("units"), false);
    let unit = units.keys().find(|name| name.starts_with("cairn-api-") && name.ends_with(".service")).unwrap();
    assert!(fs::read_to_string(out.join("units").join(unit)).unwrap().contains(&format!("RootDirectory={rootfs}")));
    assert!(fs::read_to_string(out.join("closure.json")).unwrap().contains(agent));
    let error = run(step("/nix/store/00000000000000000000000000000000-rootfs.web"), &inputs, &out).unwrap_err();
    assert!(error.contains("placeholder of the input `rootfs.api`"), "{error}");
}

#[test]
fn the_program_answers_with_a_status_and_one_line() {
    let scratch = tempfile::tempdir().unwrap();
    fs::write(scratch.path().join("source"), "x").unwrap();
    let call = |arguments: &[&str], request: &str| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_cairn-builder"))
            .args(arguments)
            .env_clear()
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        _ = child.stdin.take().unwrap().write_all(request.as_bytes());
        let output = child.wait_with_output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let request = |out: &Path| {
        json!({"step": files("/srv/x"), "inputs": {"source": [scratch.path().join("source")]}, "out": out}).to_string()
    };
    assert_eq!(call(&["run"], &request(&scratch.path().join("out"))), (0, String::new()));
    for (request, expected) in [
        (request(&scratch.path().join("missing/out")), "cannot create"),
        (request(&scratch.path().join("out")), "exists"),
        ("{".to_owned(), "the request cannot be read"),
        (r#"{"step": {"kind": "dance"}, "inputs": {}, "out": "/x"}"#.to_owned(), "dance"),
    ] {
        let (status, said) = call(&["run"], &request);
        let line: Value = serde_json::from_str(&said).unwrap();
        assert_eq!((status, said.lines().count()), (1, 1));
        assert!(line["error"].as_str().unwrap().contains(expected), "{said}");
    }
    assert_eq!(call(&[], "").0, 2);
}

#[test]
fn the_builder_prints_the_licences_of_what_it_is_made_of() {
    let output = Command::new(env!("CARGO_BIN_EXE_cairn-builder")).arg("notices").env_clear().output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), include_str!("../THIRD-PARTY-NOTICES"));
}
