//! The real uv against a small real index, and both forms of its pages.
#![allow(clippy::unwrap_used)]

use cairn_fetch::Fetcher;
use cairn_formats::Platform;

use super::test_index::{Index, hash, lock, serve};
use super::*;

#[test]
fn uv_resolves_and_the_best_wheel_of_each_platform_is_locked() {
    let url = Index::new()
        .package(
            "top",
            "1.0",
            &[
                "big>=2",
                "Only_Amd; platform_machine == 'x86_64'",
                "never; python_version < '3.11'",
                "late; python_full_version >= '3.11.2'",
                "extra-thing; extra == 'more'",
            ],
            &["top-1.0-py3-none-any.whl"],
        )
        .package(
            "big",
            "2.1",
            &[],
            &[
                "big-2.1-py3-none-any.whl",
                "big-2.1-cp311-cp311-manylinux2014_x86_64.whl",
                "big-2.1-cp311-cp311-manylinux_2_28_x86_64.whl",
                "big-2.1-cp311-cp311-manylinux_2_39_x86_64.whl",
                "big-2.1-cp311-cp311-musllinux_1_2_x86_64.whl",
                "big-2.1-cp39-abi3-manylinux_2_17_aarch64.manylinux2014_aarch64.whl",
            ],
        )
        .package("only-amd", "3", &[], &["only_amd-3-py3-none-any.whl"])
        .package("late", "4", &[], &["late-4-py3-none-any.whl"])
        .package("extra-thing", "5", &[], &["extra_thing-5-py3-none-any.whl"])
        .serve();
    let Some(result) = lock(&url, &["top[more]==1.0"]) else { return };
    let PypiLock { wheels, warnings, .. } = result.unwrap();
    // Also on this computer alone.
    assert!(warnings.len() == 1 && warnings[0].contains("is not encrypted") && warnings[0].contains(&url));
    let seen: Vec<_> = wheels.iter().map(|w| (w.file.as_str(), w.layer.as_str(), w.platforms.as_slice())).collect();
    const BOTH: &[Platform] = &Platform::ALL;
    assert_eq!(
        seen,
        [
            ("big-2.1-cp311-cp311-manylinux_2_28_x86_64.whl", "big", &[Platform::LinuxAmd64][..]),
            ("big-2.1-cp39-abi3-manylinux_2_17_aarch64.manylinux2014_aarch64.whl", "big", &[Platform::LinuxArm64]),
            ("extra_thing-5-py3-none-any.whl", "wheels", BOTH),
            ("late-4-py3-none-any.whl", "wheels", BOTH),
            ("only_amd-3-py3-none-any.whl", "wheels", &[Platform::LinuxAmd64]),
            ("top-1.0-py3-none-any.whl", "wheels", BOTH),
        ]
    );
    let top = wheels.last().unwrap();
    assert_eq!((top.name.as_str(), top.version.as_str(), top.size), ("top", "1.0", 100));
    assert_eq!(top.depends, ["big", "extra-thing", "late", "only-amd"]);
    assert_eq!(top.sha256, hash("top-1.0-py3-none-any.whl"));
}

#[test]
fn what_has_no_fitting_wheel_is_named_with_what_there_is() {
    let url = Index::new()
        .package("intel", "1.0", &[], &["intel-1.0-cp311-cp311-manylinux2014_x86_64.whl"])
        .package("musl", "1.0", &[], &["musl-1.0-cp311-cp311-musllinux_1_2_x86_64.whl"])
        .serve();
    for (requirement, wanted) in [
        ("intel==1.0", ["linux/arm64", "intel", "1.0", "manylinux2014_x86_64"]),
        ("musl", ["linux/amd64", "musl", "1.0", "musllinux_1_2_x86_64"]),
        ("absent", ["linux/amd64", "absent", "", ""]),
        ("intel==9", ["linux/amd64", "intel==9", "", ""]),
    ] {
        let Some(result) = lock(&url, &[requirement]) else { return };
        let message = result.unwrap_err().to_string();
        for part in wanted {
            assert!(message.contains(part), "{requirement}: {message}\nwanted: {part}");
        }
    }
}

#[test]
fn a_requirement_that_cannot_be_locked_never_reaches_uv() {
    let Some(result) = lock("http://mirror.example/simple", &["-r /etc/hostname"]) else { return };
    assert!(matches!(result, Err(PypiError::Requirement { .. })));
}

#[test]
fn urls_are_found_by_name_and_hash_in_both_kinds_of_page() {
    const FILE: &str = "x_y-1-py3-none-any.whl";
    let html = format!("<html><a href='../../files/{FILE}#sha256={}'>x</a></html>", hash(FILE).hex());
    let json = Index::new().package("x-y", "1", &[], &[FILE]).pages;
    let pages = json.into_iter().chain([("/html/x-y/".to_owned(), html)]).collect();
    let base = serve(pages);
    let folder = tempfile::tempdir().unwrap();
    let fetcher = Fetcher::new(folder.path()).unwrap();
    for index in ["simple", "html", "simple/"] {
        let urls = |sha256| wheel_urls(&fetcher, &format!("{base}/{index}"), "X.Y", &[(FILE, sha256)]);
        assert_eq!(urls(hash(FILE)).unwrap(), [format!("{base}/files/{FILE}")], "{index}");
        assert!(matches!(urls(hash("other")), Err(PypiError::Replaced { .. })), "{index}");
    }
    let gone = wheel_urls(&fetcher, &format!("{base}/simple"), "gone", &[(FILE, hash(FILE))]);
    assert!(matches!(gone, Err(PypiError::ProjectGone { package, .. }) if package == "gone"));
    let left = wheel_urls(&fetcher, &format!("{base}/simple"), "x-y", &[("x_y-0-py3-none-any.whl", hash(FILE))]);
    assert!(matches!(left, Err(PypiError::FileGone { .. })));
}
