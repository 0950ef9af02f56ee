//! Wheels: a made one in every detail, hostile ones, and a real one against pip.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use cairn_formats::Sha256;
use common::{INTERPRETER, listing, python_root, run, sh};
use serde_json::{Value, json};
use zip::write::SimpleFileOptions;

const SITE: &str = "/usr/local/lib/python3.11/dist-packages";
const SITE_TREE: &str = "tree/usr/local/lib/python3.11/dist-packages";

fn step(native: bool) -> Value {
    json!({"kind": "wheel", "interpreter": INTERPRETER, "native": native, "site": SITE})
}

fn digest(content: &str) -> String {
    let hash = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(Sha256::of(content.as_bytes()).as_bytes());
    format!("sha256={hash},{}", content.len())
}

/// The files of a small wheel, without RECORD.
fn files() -> BTreeMap<&'static str, &'static str> {
    BTreeMap::from([
        ("demo/__init__.py", "VALUE = 1\n"),
        ("demo/data.txt", "data"),
        ("demo/template.py", "{{ not python }}\n"),
        ("demo/__pycache__/stale.cpython-311.pyc", "stale"),
        ("demo-1.0.data/scripts/tool", "#!python -u\nprint('tool')\n"),
        ("demo-1.0.data/scripts/demo-run", "#!python\nold launcher\n"),
        ("demo-1.0.data/scripts/shell", "#!/bin/sh\n"),
        ("demo-1.0.data/headers/demo.h", "int demo;\n"),
        ("demo-1.0.data/data/share/demo/file", "shared"),
        ("demo-1.0.data/purelib/demo_pure.py", "PURE = 1\n"),
        ("demo-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n"),
        ("demo-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"),
        ("demo-1.0.dist-info/entry_points.txt", "[console_scripts]\ndemo-run = demo.main:App.run\n"),
    ])
}

fn record(files: &BTreeMap<&str, &str>) -> String {
    let rows = files.iter().map(|(name, content)| format!("{name},{}\n", digest(content)));
    rows.chain(["demo-1.0.dist-info/RECORD,,\n".to_owned()]).collect()
}

fn write(path: &Path, files: &BTreeMap<&str, &str>, record: &str) -> PathBuf {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files.iter().chain([(&"demo-1.0.dist-info/RECORD", &record)]) {
        let mode = if name.ends_with("data.txt") { 0o755 } else { 0o644 };
        zip.start_file(*name, SimpleFileOptions::default().unix_permissions(mode)).unwrap();
        zip.write_all(content.as_bytes()).unwrap();
    }
    fs::write(path, zip.finish().unwrap().into_inner()).unwrap();
    path.to_owned()
}

#[test]
fn every_part_of_a_wheel_goes_to_its_place() {
    let scratch = tempfile::tempdir().unwrap();
    let files = files();
    let wheel = write(&scratch.path().join("demo-1.0-py3-none-any.whl"), &files, &record(&files));
    let out = scratch.path().join("out");
    run(step(false), &[("wheel", &[&wheel])], &out).unwrap();
    let found: BTreeSet<String> =
        listing(&out, false).into_iter().filter(|(_, entry)| entry != "directory").map(|(path, _)| path).collect();
    let expected = [
        "meta.json".to_owned(),
        format!("{SITE_TREE}/demo-1.0.dist-info/INSTALLER"),
        format!("{SITE_TREE}/demo-1.0.dist-info/METADATA"),
        format!("{SITE_TREE}/demo-1.0.dist-info/RECORD"),
        format!("{SITE_TREE}/demo-1.0.dist-info/WHEEL"),
        format!("{SITE_TREE}/demo-1.0.dist-info/entry_points.txt"),
        format!("{SITE_TREE}/demo/__init__.py"),
        format!("{SITE_TREE}/demo/data.txt"),
        format!("{SITE_TREE}/demo/template.py"),
        format!("{SITE_TREE}/demo_pure.py"),
        "tree/usr/local/bin/demo-run".to_owned(),
        "tree/usr/local/bin/shell".to_owned(),
        "tree/usr/local/bin/tool".to_owned(),
        "tree/usr/local/include/python3.11/demo/demo.h".to_owned(),
        "tree/usr/local/share/demo/file".to_owned(),
    ];
    assert_eq!(found, BTreeSet::from(expected.clone()));

    let read = |path: &str| fs::read_to_string(out.join(path)).unwrap();
    assert_eq!(read("tree/usr/local/bin/tool"), "#!/usr/bin/python3.11\nprint('tool')\n");
    assert_eq!(read("tree/usr/local/bin/shell"), "#!/bin/sh\n");
    assert!(read("tree/usr/local/bin/demo-run").contains("from demo.main import App\n"));
    let modes = listing(&out, true);
    for (path, mode) in [("bin/tool", "755"), ("bin/shell", "755"), ("bin/demo-run", "755"), ("share/demo/file", "644")]
    {
        assert!(modes[&format!("tree/usr/local/{path}")].starts_with(mode), "{path}");
    }
    assert!(modes[&format!("{SITE_TREE}/demo/data.txt")].starts_with("755"));

    let record = read(&format!("{SITE_TREE}/demo-1.0.dist-info/RECORD"));
    let mut sorted: Vec<&str> = record.lines().collect();
    sorted.sort_unstable();
    assert_eq!(record.lines().collect::<Vec<_>>(), sorted);
    // Everything but `meta.json`.
    assert_eq!(sorted.len(), expected.len() - 1);
    assert!(record.contains(&format!("demo/data.txt,{}\n", digest("data"))));
    assert!(record.contains(&format!("../../../bin/shell,{}\n", digest("#!/bin/sh\n"))));
    assert!(record.contains("demo-1.0.dist-info/RECORD,,\n"));
}

#[test]
fn what_is_wrong_with_a_wheel_is_named() {
    type Change = fn(&mut BTreeMap<&'static str, &'static str>, &mut String);
    let table: [(&str, Change); 16] = [
        ("`demo/data.txt` has the sha256", |files, _| _ = files.insert("demo/data.txt", "evil")),
        ("`demo/data.txt` has 4 bytes where 5 were declared", |_, record| {
            *record = record.replace(&digest("data"), &digest("data").replace(",4", ",5"));
        }),
        ("`demo/extra.py` is not listed in RECORD", |files, _| _ = files.insert("demo/extra.py", "x")),
        ("`demo/data.txt` is listed in RECORD, but", |files, _| _ = files.remove("demo/data.txt")),
        ("`demo/data.txt` stands in RECORD without a hash", |_, record| {
            *record = record.replace(&format!("demo/data.txt,{}", digest("data")), "demo/data.txt,,");
        }),
        ("`md5`", |_, record| *record = record.replacen("sha256", "md5", 1)),
        ("`../evil.py` is not a path below the root", |files, _| _ = files.insert("../evil.py", "x")),
        ("`/evil.py` is not a path below the root", |files, _| _ = files.insert("/evil.py", "x")),
        ("`demo/..\\evil.py` is not a path below", |files, _| _ = files.insert("demo/..\\evil.py", "x")),
        ("`demo-1.0.data/data/../../../../etc/x` is not", |files, _| {
            files.insert("demo-1.0.data/data/../../../../etc/x", "x");
        }),
        ("known are purelib, platlib", |files, record| {
            files.insert("demo-1.0.data/other/x", "x");
            record.push_str(&format!("demo-1.0.data/other/x,{}\n", digest("x")));
        }),
        ("is named twice", |files, record| {
            files.insert("demo-1.0.data/purelib/demo/__init__.py", "x");
            record.push_str(&format!("demo-1.0.data/purelib/demo/__init__.py,{}\n", digest("x")));
        }),
        ("describes itself twice", |files, _| _ = files.insert("other-1.0.dist-info/WHEEL", "x")),
        ("version 2.0; only versions 1.x", |files, record| {
            let text = "Wheel-Version: 2.0\n";
            let old = files.insert("demo-1.0.dist-info/WHEEL", text).unwrap();
            *record = record.replace(&digest(old), &digest(text));
        }),
        ("`demo-1.0.dist-info/WHEEL` is missing", |files, _| _ = files.remove("demo-1.0.dist-info/WHEEL")),
        ("on line 2 no command", |files, record| {
            let text = "[console_scripts]\nrun = os; import evil\n";
            let old = files.insert("demo-1.0.dist-info/entry_points.txt", text).unwrap();
            *record = record.replace(&digest(old), &digest(text));
        }),
    ];
    for (expected, change) in table {
        let scratch = tempfile::tempdir().unwrap();
        let mut files = files();
        let mut record = record(&files);
        change(&mut files, &mut record);
        let wheel = write(&scratch.path().join("demo.whl"), &files, &record);
        let error = run(step(false), &[("wheel", &[&wheel])], &scratch.path().join("out")).unwrap_err();
        assert!(error.starts_with("demo.whl: ") && error.contains(expected), "{expected}: {error}");
        assert!(!scratch.path().join("evil.py").exists() && !scratch.path().join("etc").exists());
    }
}

#[test]
fn zip_tricks_are_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let files = files();
    let wheel = scratch.path().join("demo.whl");
    let out = |name: &str| scratch.path().join(name);

    // Two entries of one name: equally long names, one renamed afterwards in the finished bytes.
    let mut doubled = files.clone();
    doubled.insert("demo/datb.txt", "evil");
    write(&wheel, &doubled, &record(&files));
    let bytes = fs::read(&wheel).unwrap();
    let renamed: Vec<u8> = replace(&bytes, b"demo/datb.txt", b"demo/data.txt");
    fs::write(&wheel, renamed).unwrap();
    let error = run(step(false), &[("wheel", &[&wheel])], &out("a")).unwrap_err();
    assert!(error.contains("names a file twice"), "{error}");

    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    zip.add_symlink("demo/link", "/etc/passwd", SimpleFileOptions::default()).unwrap();
    fs::write(&wheel, zip.finish().unwrap().into_inner()).unwrap();
    let error = run(step(false), &[("wheel", &[&wheel])], &out("b")).unwrap_err();
    assert!(error.contains("`demo/link` is a symbolic link"), "{error}");

    // A file that unpacks to more than the archive says: its declared size is made smaller.
    let big = "0".repeat(100_000);
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("demo-1.0.dist-info/WHEEL", SimpleFileOptions::default()).unwrap();
    zip.write_all(big.as_bytes()).unwrap();
    let bytes = zip.finish().unwrap().into_inner();
    let (size, lie) = (100_000_u32.to_le_bytes(), 10_u32.to_le_bytes());
    fs::write(&wheel, replace(&bytes, &size, &lie)).unwrap();
    let error = run(step(false), &[("wheel", &[&wheel])], &out("c")).unwrap_err();
    assert!(error.contains("`demo-1.0.dist-info/WHEEL`"), "{error}");

    fs::write(&wheel, "not a zip archive").unwrap();
    let error = run(step(false), &[("wheel", &[&wheel])], &out("d")).unwrap_err();
    assert!(error.contains("demo.whl: is not a wheel"), "{error}");
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let places: Vec<usize> =
        bytes.windows(from.len()).enumerate().filter(|(_, w)| *w == from).map(|(i, _)| i).collect();
    assert!(!places.is_empty());
    for place in places {
        bytes[place..place + to.len()].copy_from_slice(to);
    }
    bytes
}

#[test]
fn a_real_wheel_is_what_pip_installs() {
    let scratch = tempfile::tempdir().unwrap();
    let python = python_root(scratch.path());
    let (wheels, target) = (scratch.path().join("wheels"), scratch.path().join("pip"));
    let pip = |arguments: &[&str]| {
        sh("python3", &[&["-m", "pip", "--disable-pip-version-check", "--quiet"], arguments].concat(), scratch.path())
    };
    let tags = ["--only-binary=:all:", "--python-version=3.11", "--platform=manylinux2014_x86_64", "--no-deps"];
    let wanted = ["gunicorn==21.2.0", "pydantic-core==2.20.1", "uvicorn==0.25.0"];
    pip(&[&["download", "--dest", wheels.to_str().unwrap()], &tags[..], &wanted].concat());
    for entry in fs::read_dir(&wheels).unwrap() {
        let wheel = entry.unwrap().path();
        let name = wheel.file_name().unwrap().to_str().unwrap().to_owned();
        let (out, target) = (scratch.path().join(format!("{name}.out")), target.join(&name));
        run(step(true), &[("wheel", &[&wheel]), ("python", &[&python])], &out).unwrap();
        let install = ["install", "--target", target.to_str().unwrap(), "--no-compile"];
        pip(&[&install, &tags[..], &[wheel.to_str().unwrap()]].concat());

        // pip puts scripts into `bin` of its target; entry points are texts of its own there.
        let theirs: BTreeMap<String, String> = listing(&target, true)
            .into_iter()
            .filter(|(path, entry)| !path.starts_with("bin") && !entry.ends_with("directory"))
            .collect();
        let ours: BTreeMap<String, String> = listing(&out.join(SITE_TREE), true)
            .into_iter()
            .filter(|(path, entry)| !path.contains("__pycache__") && !entry.ends_with("directory"))
            .collect();
        let differs: Vec<&String> = theirs
            .keys()
            .chain(ours.keys())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .filter(|path| theirs.get(*path) != ours.get(*path))
            .collect();
        let expected = ["/INSTALLER", "/RECORD", "/REQUESTED", "/direct_url.json"];
        assert!(differs.iter().all(|path| expected.iter().any(|end| path.ends_with(end))), "{name}: {differs:?}");
        let scripts = |directory: PathBuf| -> BTreeSet<String> {
            if directory.exists() { listing(&directory, false).into_keys().collect() } else { BTreeSet::new() }
        };
        assert_eq!(scripts(out.join("tree/usr/local/bin")), scripts(target.join("bin")), "{name}");
        check_record(&out);
    }
}

/// Every installed file stands in RECORD, and every row is a file.
fn check_record(out: &Path) {
    let site = out.join(SITE_TREE);
    let info = fs::read_dir(&site)
        .unwrap()
        .map(|e| e.unwrap().path())
        .find(|p| p.extension().is_some_and(|e| e == "dist-info"));
    let record = fs::read_to_string(info.unwrap().join("RECORD")).unwrap();
    let rows: BTreeSet<PathBuf> =
        record.lines().map(|row| fs::canonicalize(site.join(row.split(',').next().unwrap())).unwrap()).collect();
    let tree = fs::canonicalize(out.join("tree")).unwrap();
    let installed: BTreeSet<PathBuf> =
        listing(&tree, false).into_iter().filter(|(_, e)| e != "directory").map(|(path, _)| tree.join(path)).collect();
    assert_eq!(rows, installed);
    assert!(rows.iter().any(|row| row.extension().is_some_and(|e| e == "pyc")));
}

#[test]
fn a_name_that_linux_cannot_open_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let mut files = files();
    let name = "a/".repeat(10_000) + "b";
    files.insert(&name, "");
    let wheel = write(&scratch.path().join("demo-1.0-py3-none-any.whl"), &files, &record(&files));
    let error = run(step(false), &[("wheel", &[&wheel])], &scratch.path().join("out")).unwrap_err();
    assert!(error.contains("more than 4095 bytes") && error.len() < 600, "{error}");
}
