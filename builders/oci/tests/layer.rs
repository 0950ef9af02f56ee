//! Layers: what they hold, that their bytes are always the same, and what is refused.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs::{self, File};
use std::io::Read as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use cairn_oci::compress::Compression;
use cairn_oci::layer::{LayerInfo, write_layer, write_layer_with};
use cairn_oci::{Digest, OciError};
use support::Tree;

const BOTH: [Compression; 2] = [Compression::Gzip, Compression::Zstd];

fn small_tree(dir: &Path) -> PathBuf {
    Tree::new(dir)
        .file("usr/lib/b", "b\n")
        .program("usr/lib-extra/run", "#!\n")
        .link("usr/lib/a", "b")
        .file(&format!("usr/{}/{}", "d".repeat(90), "f".repeat(90)), "long\n")
        .dir("tmp")
        .meta(r#"{"tmp":{"mode":1023,"uid":0,"gid":0},"usr/lib/b":{"mode":2541,"uid":7,"gid":3000000}}"#)
        .done()
}

fn expand(output: &Path, compression: Compression) -> Vec<u8> {
    let blob = File::open(output.join("blob")).unwrap();
    let mut tar = Vec::new();
    match compression {
        Compression::Gzip => flate2::read::MultiGzDecoder::new(blob).read_to_end(&mut tar).unwrap(),
        Compression::Zstd => zstd::Decoder::new(blob).unwrap().read_to_end(&mut tar).unwrap(),
    };
    tar
}

#[test]
fn entries_are_sorted_complete_and_carry_modes_and_owners() {
    let dir = tempfile::tempdir().unwrap();
    let tree = small_tree(&dir.path().join("t"));
    write_layer(&[tree], Compression::Gzip, &dir.path().join("layer")).unwrap();

    let tar = expand(&dir.path().join("layer"), Compression::Gzip);
    let mut archive = tar::Archive::new(&tar[..]);
    let mut seen = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let pax: Vec<_> = entry
            .pax_extensions()
            .unwrap()
            .into_iter()
            .flatten()
            .map(|p| p.unwrap().key().unwrap().to_owned())
            .collect();
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap().replace("ddddddddd", "D");
        let header = entry.header();
        seen.push(format!("{name} {:o} {} {pax:?}", header.mode().unwrap(), header.uid().unwrap()));
    }
    let long = format!("usr/{}", "D".repeat(10));
    let expected = [
        "tmp/ 1777 0 []".to_owned(),
        "usr/ 755 0 []".to_owned(),
        format!("{long}/ 755 0 []"),
        format!("{long}/{} 644 0 [\"path\"]", "f".repeat(90)),
        "usr/lib/ 755 0 []".to_owned(),
        "usr/lib-extra/ 755 0 []".to_owned(),
        "usr/lib-extra/run 755 0 []".to_owned(),
        "usr/lib/a 777 0 []".to_owned(),
        "usr/lib/b 4755 7 [\"gid\"]".to_owned(),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn layer_json_describes_the_blob() {
    let dir = tempfile::tempdir().unwrap();
    let tree = small_tree(&dir.path().join("t"));
    for compression in BOTH {
        let out = dir.path().join(compression.media_type().replace('/', "-"));
        let info = write_layer(std::slice::from_ref(&tree), compression, &out).unwrap();
        let blob = fs::read(out.join("blob")).unwrap();
        let tar = expand(&out, compression);
        assert_eq!((info.digest, info.size), (Digest::of(&blob), blob.len() as u64));
        assert_eq!((info.diff_id, info.uncompressed), (Digest::of(&tar), tar.len() as u64));
        assert_eq!(info.media_type, compression.media_type());
        assert_eq!(LayerInfo::read(&out).unwrap(), info);
    }
}

#[test]
fn the_same_bytes_whatever_the_threads_the_times_and_the_order_of_creation() {
    let dir = tempfile::tempdir().unwrap();
    let noise: Vec<u8> = (0..5_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 21) as u8).collect();
    let first = Tree::new(&dir.path().join("1")).file("a/x", &noise).file("b", "b").done();
    let second = Tree::new(&dir.path().join("2")).file("b", "b").file("a/x", &noise).done();
    File::open(second.join("tree/b")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    for compression in BOTH {
        let mut infos = Vec::new();
        for (i, (tree, threads)) in [(&first, 1), (&first, 2), (&second, 3), (&second, 16)].into_iter().enumerate() {
            let out = dir.path().join(format!("{compression:?}-{i}"));
            let threads = NonZeroUsize::new(threads).unwrap();
            infos.push(write_layer_with(std::slice::from_ref(tree), compression, threads, &out).unwrap());
        }
        assert!(infos.windows(2).all(|pair| pair[0] == pair[1]), "{infos:#?}");
    }
}

#[test]
fn trees_that_agree_become_one_layer_in_any_order() {
    let dir = tempfile::tempdir().unwrap();
    let tmp = r#"{"tmp":{"mode":1023,"uid":0,"gid":0}}"#;
    let a = Tree::new(&dir.path().join("a")).file("tmp/a", "a").file("same", "s").link("l", "same").done();
    let b = Tree::new(&dir.path().join("b")).dir("tmp").file("same", "s").link("l", "same").meta(tmp).done();
    let ab = write_layer(&[a.clone(), b.clone()], Compression::Gzip, &dir.path().join("ab")).unwrap();
    let ba = write_layer(&[b, a], Compression::Gzip, &dir.path().join("ba")).unwrap();
    assert_eq!(ab, ba);
    let tar = expand(&dir.path().join("ab"), Compression::Gzip);
    let mut archive = tar::Archive::new(&tar[..]);
    let entries: Vec<_> = archive
        .entries()
        .unwrap()
        .map(|e| e.map(|e| (e.path_bytes().into_owned(), e.header().mode().unwrap())).unwrap())
        .collect();
    let expected = [("l", 0o777), ("same", 0o644), ("tmp/", 0o1777), ("tmp/a", 0o644)];
    assert_eq!(entries, expected.map(|(name, mode)| (name.as_bytes().to_vec(), mode)));
}

#[test]
fn trees_that_disagree_are_refused_and_both_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let tree = |name: &str| Tree::new(&dir.path().join(name));
    let owner = r#"{"x":{"mode":493,"uid":1,"gid":1}}"#;
    let other = r#"{"x":{"mode":493,"uid":2,"gid":1}}"#;
    let cases = [
        ("content", tree("1a").file("x", "one").done(), tree("1b").file("x", "two").done()),
        ("content", tree("2a").file("x", "one").done(), tree("2b").file("x", "longer").done()),
        ("mode or owner", tree("3a").file("x", "x").done(), tree("3b").program("x", "x").done()),
        ("the kind of file", tree("4a").dir("x").done(), tree("4b").link("x", "y").done()),
        ("the kind of file", tree("5a").file("x/y", "").done(), tree("5b").file("x", "").done()),
        ("the target of the link", tree("6a").link("x", "y").done(), tree("6b").link("x", "z").done()),
        ("mode or owner", tree("7a").dir("x").meta(owner).done(), tree("7b").dir("x").meta(other).done()),
    ];
    for (expected, a, b) in cases {
        let out = dir.path().join("out");
        match write_layer(&[a.clone(), b.clone()], Compression::Gzip, &out) {
            Err(OciError::Conflict { path, difference, first, second }) => {
                assert_eq!((path.as_str(), difference), ("x", expected));
                assert_eq!((first, second), (a.join("tree/x"), b.join("tree/x")));
            }
            other => panic!("{expected}: {other:?}"),
        }
        assert!(!out.exists(), "nothing is written");
    }
}

#[test]
fn hostile_metadata_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let owner = r#"{"mode":420,"uid":0,"gid":0}"#;
    for (i, key) in ["../etc/passwd", "/x", "", "x/", "a/../x", "./x"].into_iter().enumerate() {
        let tree = Tree::new(&dir.path().join(i.to_string())).file("x", "").meta(&format!(r#"{{"{key}":{owner}}}"#));
        let result = write_layer(&[tree.done()], Compression::Gzip, &dir.path().join("out"));
        assert!(matches!(&result, Err(OciError::MetaEscape { key: k, .. }) if k == key), "{key}: {result:?}");
    }
    let tree =
        |name: &str, meta: &str| Tree::new(&dir.path().join(name)).file("x", "").link("l", "x").meta(meta).done();
    let out = dir.path().join("out");
    let refused = |tree| write_layer(&[tree], Compression::Gzip, &out).unwrap_err();
    let unknown = refused(tree("unknown", &format!(r#"{{"y":{owner}}}"#)));
    assert!(matches!(unknown, OciError::MetaUnknownPath { .. }), "{unknown}");
    let mode = refused(tree("mode", r#"{"x":{"mode":4096,"uid":0,"gid":0}}"#));
    assert!(matches!(mode, OciError::MetaMode { .. }), "{mode}");
    let link = refused(tree("link", r#"{"l":{"mode":420,"uid":0,"gid":0}}"#));
    assert!(matches!(link, OciError::MetaMode { .. }), "{link}");
    let typo = refused(tree("typo", r#"{"x":{"mode":420,"uid":0,"gid":0,"user":1}}"#));
    assert!(matches!(typo, OciError::Json { .. }), "{typo}");
}

#[test]
fn what_no_layer_can_hold_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let tree = Tree::new(&dir.path().join("t")).done();
    let _socket = std::os::unix::net::UnixListener::bind(tree.join("tree/s")).unwrap();
    let error = write_layer(&[tree], Compression::Gzip, &dir.path().join("out")).unwrap_err();
    assert!(matches!(&error, OciError::SpecialFile { kind: "a socket", .. }), "{error}");
    let absent = write_layer(&[dir.path().join("absent")], Compression::Gzip, &dir.path().join("out")).unwrap_err();
    assert!(matches!(&absent, OciError::Io { .. }), "{absent}");
}

#[test]
fn an_existing_output_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let tree = small_tree(&dir.path().join("t"));
    assert!(write_layer(&[tree], Compression::Gzip, dir.path()).is_err());
    assert!(!dir.path().join("blob").exists());
}
