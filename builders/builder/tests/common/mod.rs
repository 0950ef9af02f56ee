//! What the tests share: running a step, and real packages to run it on.

#![allow(clippy::unwrap_used, dead_code)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

/// Runs a step in this process; the error is the message that a user would see.
pub fn run(step: Value, inputs: &[(&str, &[&Path])], out: &Path) -> Result<(), String> {
    let inputs: BTreeMap<&str, &[&Path]> = inputs.iter().copied().collect();
    let request = json!({ "step": step, "inputs": inputs, "out": out });
    let request = serde_json::from_value(request).unwrap();
    cairn_builder::run(&request).map_err(|error| error.to_string())
}

/// Runs a program that must succeed, and returns what it prints.
pub fn sh(program: &str, arguments: &[&str], directory: &Path) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .env("LC_ALL", "C")
        .output()
        .unwrap_or_else(|error| panic!("{program} must be installed for this test: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}\n{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Real packages from the mirrors that this machine is configured with. They are kept for the
/// other tests and for the next run.
pub fn download(packages: &[&str]) -> Vec<PathBuf> {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("debs");
    fs::create_dir_all(&kept).unwrap();
    // One test at a time: several would fetch the same files.
    let lock = fs::File::create(kept.join("lock")).unwrap();
    lock.lock().unwrap();
    let find = |package: &str| {
        let prefix = format!("{package}_");
        let mut files = fs::read_dir(&kept).unwrap().map(|entry| entry.unwrap().path());
        files.find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&prefix))
    };
    let missing: Vec<&str> = packages.iter().copied().filter(|package| find(package).is_none()).collect();
    if !missing.is_empty() {
        let scratch = tempfile::tempdir_in(&kept).unwrap();
        let options: &[&str] = &["download", "-q", "-o", "APT::Sandbox::User=root"];
        sh("apt-get", &[options, &missing].concat(), scratch.path());
        for entry in fs::read_dir(scratch.path()).unwrap() {
            let path = entry.unwrap().path();
            fs::rename(&path, kept.join(path.file_name().unwrap())).unwrap();
        }
    }
    packages.iter().map(|package| find(package).unwrap()).collect()
}

/// Each package as a tree output named after it.
pub fn unpack(packages: &[&str], exclude: &[&str], scratch: &Path) -> Vec<PathBuf> {
    let files = download(packages);
    let unpack = |(name, deb): (&&str, &PathBuf)| {
        let out = scratch.join(name);
        run(json!({"kind": "deb", "exclude": exclude}), &[("deb", &[deb])], &out).unwrap();
        out
    };
    packages.iter().zip(&files).map(unpack).collect()
}

/// The packages of a Python that can run, as one root.
pub const PYTHON: [&str; 8] =
    ["libc6", "libc-bin", "python3.11-minimal", "libpython3.11-minimal", "zlib1g", "libexpat1", "libcrypt1", "libssl3"];
pub const INTERPRETER: &str = "/usr/bin/python3.11";

pub fn python_root(scratch: &Path) -> PathBuf {
    let trees = unpack(&PYTHON, &[], scratch);
    let root = scratch.join("python");
    run(json!({"kind": "rootfs"}), &[("trees", &paths(&trees))], &root).unwrap();
    root
}

pub fn paths(paths: &[PathBuf]) -> Vec<&Path> {
    paths.iter().map(PathBuf::as_path).collect()
}

/// Everything below a directory in one comparable form: kind, permissions if asked for, content.
pub fn listing(root: &Path, modes: bool) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    list(root, root, modes, &mut found);
    found
}

fn list(root: &Path, at: &Path, modes: bool, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().display().to_string();
        let mode = if modes { format!("{:o} ", metadata.permissions().mode() & 0o7777) } else { String::new() };
        let content = if metadata.is_symlink() {
            format!("-> {}", fs::read_link(&path).unwrap().display())
        } else if metadata.is_dir() {
            list(root, &path, modes, found);
            format!("{mode}directory")
        } else {
            let hash = cairn_formats::Sha256::of(&fs::read(&path).unwrap());
            format!("{mode}{} bytes {hash}", metadata.size())
        };
        found.insert(name, content);
    }
}
