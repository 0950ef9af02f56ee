//! Locking again, with the real uv: what was exchanged, what came too late, and what must not run.
#![allow(clippy::unwrap_used)]

use cairn_fetch::Fetcher;
use cairn_formats::{Platform, Sha256};

use super::test_index::{Before, Index, hash, lock, lock_after};
use super::*;

const PURE: &str = "top-1.0-py3-none-any.whl";

fn files(lock: &PypiLock) -> Vec<&str> {
    lock.wheels.iter().map(|wheel| wheel.file.as_str()).collect()
}

#[test]
fn a_wheel_that_was_exchanged_is_refused_unless_accepted_and_then_recorded() {
    let first = Index::new().package("top", "1.0", &[], &[PURE]).serve();
    let Some(result) = lock(&first, &["top"]) else { return };
    let mut before = Before { locked: result.unwrap().wheels, ..Before::default() };
    assert!(lock_after(&first, &["top"], &before).unwrap().unwrap().accepted.is_empty());

    let second = Index::new().edition("exchanged ").package("top", "1.0", &[], &[PURE]).serve();
    let (old, new) = (hash(PURE).hex(), Sha256::of(format!("exchanged {PURE}").as_bytes()).hex());
    let error = lock_after(&second, &["top"], &before).unwrap().unwrap_err().to_string();
    for part in ["top 1.0", PURE, &old, &new, "--accept-changed-hash top"] {
        assert!(error.contains(part), "{error}\nwanted: {part}");
    }
    before.accept.changed_hashes.insert("Top".into());
    let accepted = lock_after(&second, &["top"], &before).unwrap().unwrap().accepted;
    assert_eq!((&accepted[0].name, &accepted[0].old, &accepted[0].new), (&"top".to_owned(), &old, &new));
    assert_eq!(accepted.len(), 1, "once for both platforms");
}

#[test]
fn a_file_that_fits_better_does_not_replace_the_locked_one() {
    const BUILT: &str = "top-1.0-1-py3-none-any.whl";
    let first = Index::new().package("top", "1.0", &[], &[PURE]).serve();
    let Some(result) = lock(&first, &["top"]) else { return };
    let before = Before { locked: result.unwrap().wheels, ..Before::default() };
    let both = Index::new().package("top", "1.0", &[], &[PURE, BUILT]).serve();
    assert_eq!(files(&lock_after(&both, &["top"], &before).unwrap().unwrap()), [PURE]);
    assert_eq!(files(&lock(&both, &["top"]).unwrap().unwrap()), [BUILT]);
    let gone = Index::new().package("top", "1.0", &[], &[BUILT]).serve();
    assert!(matches!(lock_after(&gone, &["top"], &before).unwrap(), Err(PypiError::Changed(_))));
    // Another version is an update like any other.
    let newer = Index::new().package("top", "1.1", &[], &["top-1.1-py3-none-any.whl"]).serve();
    assert_eq!(files(&lock_after(&newer, &["top"], &before).unwrap().unwrap()), ["top-1.1-py3-none-any.whl"]);
}

#[test]
fn packages_uploaded_too_late_are_left_out() {
    let url = Index::new()
        .package("unknown", "1.0", &[], &["unknown-1.0-py3-none-any.whl"])
        .uploaded("2026-10-01T00:00:00.25Z")
        .package("top", "1.0", &[], &[PURE])
        .uploaded("2026-11-01T00:00:00Z")
        .package("top", "1.0", &[], &["top-1.0-2-py3-none-any.whl"])
        .package("top", "2.0", &[], &["top-2.0-py3-none-any.whl"])
        .serve();
    let Some(result) = lock(&url, &["top"]) else { return };
    assert_eq!(files(&result.unwrap()), ["top-2.0-py3-none-any.whl"]);
    let lock_before = |requirement, exclude_newer| {
        let before = Before { exclude_newer: Some(exclude_newer), ..Before::default() };
        lock_after(&url, &[requirement], &before).unwrap()
    };
    assert_eq!(files(&lock_before("top", "2026-11-01T00:00:00Z").unwrap()), [PURE]);
    for (requirement, time) in [("top", "2026-10-01T00:00:00Z"), ("unknown", "2030-01-01T00:00:00Z")] {
        let error = lock_before(requirement, time).unwrap_err();
        assert!(matches!(error, PypiError::NoSolution { .. }), "{requirement}: {error}");
    }
}

/// uv alone would take the interpreter out of a `.venv` above its scratch folder.
#[test]
fn uv_runs_no_interpreter_of_the_project() {
    if matches!(uv::Uv::find(), Err(PypiError::NoUv { .. })) {
        eprintln!("skipped: there is no uv; set DEPLOY_UV");
        return;
    }
    let url = Index::new().package("top", "1.0", &[], &[PURE]).serve();
    let project = tempfile::tempdir().unwrap();
    let (venv, sign) = (project.path().join(".venv/bin"), project.path().join("EXECUTED"));
    std::fs::create_dir_all(&venv).unwrap();
    std::fs::write(project.path().join(".venv/pyvenv.cfg"), "home = /usr/bin\n").unwrap();
    for name in ["python", "python3"] {
        let script = format!("#!/bin/sh\necho x >> {}\nexec /usr/bin/python3 \"$@\"\n", sign.display());
        std::fs::write(venv.join(name), script).unwrap();
        std::fs::set_permissions(venv.join(name), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    std::fs::write(project.path().join("uv.toml"), "no-index = true\n").unwrap();
    std::fs::write(project.path().join(".python-version"), "2.7\n").unwrap();
    let scratch = project.path().join("store/scratch");
    std::fs::create_dir_all(&scratch).unwrap();
    let fetcher = Fetcher::new(&project.path().join("downloads")).unwrap();
    let request = PypiRequest {
        python: "3.11.2".parse().unwrap(),
        glibc: "2.36".parse().unwrap(),
        platforms: &Platform::ALL,
        requirements: &["top".to_owned()],
        index_url: &url,
        scratch: &scratch,
        fetcher: &fetcher,
        locked: &[],
        accept: &Accept::default(),
        exclude_newer: None,
    };
    // Without an interpreter beside uv, as when the system's uv is used.
    for uv in [uv::Uv::find().unwrap(), uv::Uv::find().unwrap().on_any_python()] {
        std::fs::write(scratch.join(uv::INPUT), "top\n").unwrap();
        let text = uv.compile(&request, Platform::LinuxAmd64, uv::Format::Pylock).unwrap();
        assert!(text.contains(PURE), "{text}");
    }
    assert!(!sign.exists(), "an interpreter of the project ran");
}

#[test]
fn the_hashes_of_an_encrypted_index_are_confirmed_page_by_page() {
    let url = Index::new()
        .package("top", "1.0", &[], &[PURE])
        .package("other", "1.0", &[], &["other-1.0-py3-none-any.whl"])
        .serve();
    let Some(result) = lock(&url, &["top", "other"]) else { return };
    let mut wheels = result.unwrap().wheels;
    let folder = tempfile::tempdir().unwrap();
    let fetcher = Fetcher::new(folder.path()).unwrap();
    confirm::confirm(&fetcher, &url, &wheels).unwrap();
    wheels[0].sha256 = hash("written on the way");
    let error = confirm::confirm(&fetcher, &url, &wheels).unwrap_err();
    assert!(matches!(error, PypiError::Replaced { .. }), "{error}");
    for (url, scheme, expected) in
        [("HTTPS://x/simple", "https", true), ("http://x", "https", false), ("file:///x", "http", false)]
    {
        assert_eq!(confirm::has_scheme(url, scheme), expected, "{url}");
    }
}
