//! Byte code: the same on every run, good for the interpreter that made it.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{INTERPRETER, listing, paths, python_root, run, unpack};
use serde_json::{Value, json};

fn files(target: &str) -> Value {
    json!({"kind": "files", "target": target, "interpreter": INTERPRETER, "native": true})
}

fn chroot(root: &Path, arguments: &[&str]) -> String {
    let output = Command::new("/usr/sbin/chroot")
        .arg(root)
        .arg(INTERPRETER)
        .args(arguments)
        .env_clear()
        .env("PYTHONHASHSEED", "7")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_standard_library_compiles_and_is_used() {
    let scratch = tempfile::tempdir().unwrap();
    let python = python_root(scratch.path());
    let package = scratch.path().join("libpython3.11-minimal");
    let step = json!({"kind": "debpyc", "interpreter": INTERPRETER, "native": true});
    let out = scratch.path().join("pyc");
    run(step, &[("tree", &[&package]), ("python", &[&python])], &out).unwrap();

    let found = listing(&out.join("tree"), true);
    assert!(found.keys().all(|path| path.starts_with("usr") && !path.ends_with(".py")));
    assert!(found["usr/lib/python3.11/__pycache__/os.cpython-311.pyc"].starts_with("644"));

    let trees = [scratch.path().join("libc6"), package, out.clone()];
    let others = common::PYTHON.iter().filter(|name| !["libc6", "libpython3.11-minimal"].contains(name));
    let trees = [trees.to_vec(), others.map(|name| scratch.path().join(name)).collect()].concat();
    let base = scratch.path().join("base");
    run(
        json!({"kind": "generated", "platform": "linux/amd64", "users": {}, "links": {}}),
        &[("trees", &paths(&trees))],
        &base,
    )
    .unwrap();
    let root = scratch.path().join("root");
    run(json!({"kind": "rootfs"}), &[("trees", &paths(&[trees, vec![base]].concat()))], &root).unwrap();
    // Verbose imports say where each module comes from.
    let output =
        Command::new("/usr/sbin/chroot").arg(&root).args([INTERPRETER, "-v", "-c", "import argparse"]).output();
    let said = String::from_utf8(output.unwrap().stderr).unwrap();
    assert!(said.contains("# /usr/lib/python3.11/__pycache__/argparse.cpython-311.pyc matches"), "{said}");
    assert!(!said.contains("# wrote"), "{said}");
    let script = "import argparse, sys\nprint(argparse.ArgumentParser.parse_args.__code__.co_filename)";
    assert_eq!(chroot(&root, &["-c", script]), "/usr/lib/python3.11/argparse.py\n");
}

#[test]
fn a_file_compiles_to_the_same_bytes_in_any_company() {
    let scratch = tempfile::tempdir().unwrap();
    let python = python_root(scratch.path());
    let library = unpack(&["libpython3.11-stdlib"], &[], scratch.path())[0].join("tree/usr/lib/python3.11");
    let compile = |source: &Path, name: &str| {
        let out = scratch.path().join(name);
        run(files("/srv"), &[("source", &[source]), ("python", &[&python])], &out).unwrap();
        listing(&out.join("tree/srv"), true)
    };
    // A few modules full of interned names, sets and shared constants.
    let (few, one) = (scratch.path().join("few"), scratch.path().join("one"));
    for directory in [&few, &one] {
        fs::create_dir(directory).unwrap();
    }
    for name in ["typing.py", "inspect.py", "decimal.py", "turtle.py", "pickletools.py", "ast.py", "tarfile.py"] {
        let from = [library.join(name), python.join("usr/lib/python3.11").join(name)];
        let from = from.iter().find(|path| path.exists()).unwrap();
        fs::copy(from, few.join(name)).unwrap();
    }
    fs::copy(few.join("tarfile.py"), one.join("tarfile.py")).unwrap();
    let first = compile(&few, "first");
    assert_eq!(first.len(), 15);
    for round in 0..5 {
        assert_eq!(compile(&few, &format!("again{round}")), first);
    }
    let alone = compile(&one, "alone");
    let name = "__pycache__/tarfile.cpython-311.pyc";
    assert_eq!(alone[name], first[name]);
}

#[test]
fn what_is_not_python_is_left_out() {
    let scratch = tempfile::tempdir().unwrap();
    let python = python_root(scratch.path());
    let source = scratch.path().join("source");
    fs::create_dir_all(source.join("__pycache__")).unwrap();
    for (name, content) in [
        ("good.py", &b"X = 'caf\xc3\xa9'\n"[..]),
        ("latin.py", b"# -*- coding: latin-1 -*-\nX = '\xe9'\n"),
        ("warns.py", b"X = '\\d'\nassert (X, 'always true')\n"),
        ("old.py", b"print 'python 2'\n"),
        ("binary.py", b"\xff\xfe\x00"),
        ("nul.py", b"X = 1\x00\n"),
        ("deep.py", "(".repeat(10_000).as_bytes()),
        ("cookie.py", b"# -*- coding: no-such-coding -*-\n"),
        ("name with blanks.py", b"X = 1\n"),
        (".py", b"X = 1\n"),
        ("notes.txt", b"text"),
        ("__pycache__/good.cpython-311.pyc", b"stale"),
    ] {
        fs::write(source.join(name), content).unwrap();
    }
    let out = scratch.path().join("out");
    run(files("/srv"), &[("source", &[&source]), ("python", &[&python])], &out).unwrap();
    let found: Vec<String> =
        listing(&out.join("tree/srv"), false).into_keys().filter(|path| path.starts_with("__pycache__/")).collect();
    let expected = ["good", "latin", "name with blanks", "warns"].map(|n| format!("__pycache__/{n}.cpython-311.pyc"));
    assert_eq!(found, expected);
    let pyc = fs::read(out.join("tree/srv").join(&found[0])).unwrap();
    assert_eq!(&pyc[4..8], [1, 0, 0, 0], "hash-based and unchecked");
}

#[test]
fn a_foreign_platform_needs_no_interpreter() {
    let scratch = tempfile::tempdir().unwrap();
    let source = scratch.path().join("app.py");
    fs::write(&source, "X = 1\n").unwrap();
    let step = json!({"kind": "files", "target": "/srv/app.py", "interpreter": INTERPRETER, "native": false});
    let out = scratch.path().join("out");
    run(step, &[("source", &[&source])], &out).unwrap();
    assert_eq!(listing(&out.join("tree/srv"), false).into_keys().collect::<Vec<_>>(), ["app.py"]);
}

#[test]
fn a_root_without_the_interpreter_is_named() {
    let scratch = tempfile::tempdir().unwrap();
    let (source, root) = (scratch.path().join("app.py"), scratch.path().join("empty"));
    fs::write(&source, "X = 1\n").unwrap();
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    let attempt = |name: &str| {
        let out = scratch.path().join(name);
        run(files("/srv/app.py"), &[("source", &[&source]), ("python", &[&root])], &out).unwrap_err()
    };
    let error = attempt("a");
    assert!(error.contains("usr/bin/python3.11") && error.contains("is its package in the image?"), "{error}");
    fs::write(root.join("usr/bin/python3.11"), "#!/bin/sh\n").unwrap();
    assert!(attempt("b").contains("not a program"));
    fs::copy("/bin/true", root.join("usr/bin/python3.11")).unwrap();
    assert!(attempt("c").contains("is libc6 in the image?"));
}
