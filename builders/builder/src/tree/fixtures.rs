//! `meta.json` of trees that an earlier version put into a store. `tests/fixtures/README.md` says how
//! it is written.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use cairn_formats::RelPath;

use super::{Attributes, Meta, TreeWriter};

fn output(version: &str, name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(version).join("tree").join(name)
}

const EXCEPTIONS: [(&str, Attributes); 2] = [
    ("tmp", Attributes { mode: 0o1777, uid: 0, gid: 0 }),
    ("var/lib/redis", Attributes { mode: 0o750, uid: 10_004, gid: 3_000_000 }),
];

#[test]
fn attributes_of_a_tree_of_fbaba72_are_read_as_they_were_written() {
    let expected = EXCEPTIONS.map(|(path, attributes)| (path.to_owned(), attributes)).into();
    assert_eq!(Meta::read(&output("fbaba72", "full")).unwrap(), Meta { exceptions: expected });
    assert_eq!(Meta::read(&output("fbaba72", "minimal")).unwrap(), Meta::default());
}

#[test]
#[ignore = "writes fixtures: see tests/fixtures/README.md"]
fn write_fixtures() {
    let version = std::env::var("CAIRN_FIXTURES").expect("CAIRN_FIXTURES: the version to write fixtures of");
    for (name, exceptions) in [("full", &EXCEPTIONS[..]), ("minimal", &[])] {
        let scratch = tempfile::tempdir().unwrap();
        let out = scratch.path().join("out");
        let mut writer = TreeWriter::create(&out).unwrap();
        for (path, attributes) in exceptions {
            writer.directory(&RelPath::parse(path.as_bytes()).unwrap(), *attributes).unwrap();
        }
        writer.finish().unwrap();
        let kept = output(&version, name);
        std::fs::create_dir_all(&kept).unwrap();
        std::fs::copy(out.join(super::META), kept.join(super::META)).unwrap();
    }
}
