//! The rules of merging as a table.

#![allow(clippy::unwrap_used)]
use super::super::TreeWriter;
use super::*;

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}

fn tree(scratch: &Path, name: &str, fill: impl FnOnce(&mut TreeWriter)) -> PathBuf {
    let out = scratch.join(name);
    let mut tree = TreeWriter::create(&out).unwrap();
    fill(&mut tree);
    tree.finish().unwrap();
    out
}

#[test]
fn what_goes_together_and_what_does_not() {
    type Fill = fn(&mut TreeWriter);
    let table: [(&str, Fill, Fill, bool); 10] = [
        (
            "same bytes",
            |t| t.bytes(&path("a/f"), Attributes::FILE, b"x").unwrap(),
            |t| {
                t.bytes(&path("a/f"), Attributes::FILE, b"x").unwrap();
            },
            true,
        ),
        (
            "other bytes",
            |t| t.bytes(&path("a/f"), Attributes::FILE, b"x").unwrap(),
            |t| {
                t.bytes(&path("a/f"), Attributes::FILE, b"y").unwrap();
            },
            false,
        ),
        (
            "other length",
            |t| t.bytes(&path("f"), Attributes::FILE, b"x").unwrap(),
            |t| {
                t.bytes(&path("f"), Attributes::FILE, b"xx").unwrap();
            },
            false,
        ),
        (
            "other bit",
            |t| t.bytes(&path("f"), Attributes::FILE, b"x").unwrap(),
            |t| {
                t.bytes(&path("f"), Attributes::PROGRAM, b"x").unwrap();
            },
            false,
        ),
        (
            "setuid or not",
            |t| t.bytes(&path("f"), Attributes::root(0o4755), b"x").unwrap(),
            |t| {
                t.bytes(&path("f"), Attributes::PROGRAM, b"x").unwrap();
            },
            false,
        ),
        (
            "directory over link",
            |t| t.symlink(&path("a"), b"b", Attributes::LINK).unwrap(),
            |t| {
                t.directory(&path("a"), Attributes::DIRECTORY).unwrap();
            },
            false,
        ),
        (
            "same links",
            |t| t.symlink(&path("a"), b"b", Attributes::LINK).unwrap(),
            |t| {
                t.symlink(&path("a"), b"b", Attributes::LINK).unwrap();
            },
            true,
        ),
        (
            "other links",
            |t| t.symlink(&path("a"), b"b", Attributes::LINK).unwrap(),
            |t| {
                t.symlink(&path("a"), b"c", Attributes::LINK).unwrap();
            },
            false,
        ),
        (
            "implied directory",
            |t| t.directory(&path("tmp"), Attributes::root(0o1777)).unwrap(),
            |t| {
                t.bytes(&path("tmp/f"), Attributes::FILE, b"").unwrap();
            },
            true,
        ),
        (
            "disputed directory",
            |t| t.directory(&path("tmp"), Attributes::root(0o1777)).unwrap(),
            |t| {
                t.directory(&path("tmp"), Attributes::root(0o700)).unwrap();
            },
            false,
        ),
    ];
    for (what, first, second, expected) in table {
        let scratch = tempfile::tempdir().unwrap();
        let (a, b) = (tree(scratch.path(), "first", first), tree(scratch.path(), "second", second));
        for outputs in [[a.clone(), b.clone()], [b, a]] {
            match Union::read(&outputs) {
                Ok(_) => assert!(expected, "{what}"),
                Err(error) => {
                    let text = error.to_string();
                    assert!(!expected && text.contains("first") && text.contains("second"), "{what}: {text}");
                }
            }
        }
    }
}

#[test]
fn recorded_attributes_win_over_implied_ones() {
    let scratch = tempfile::tempdir().unwrap();
    let a = tree(scratch.path(), "a", |t| t.bytes(&path("tmp/f"), Attributes::FILE, b"").unwrap());
    let b = tree(scratch.path(), "b", |t| t.directory(&path("tmp"), Attributes::root(0o1777)).unwrap());
    for outputs in [[a.clone(), b.clone()], [b, a]] {
        let union = Union::read(&outputs).unwrap();
        assert_eq!(union.get(&path("tmp")).unwrap().exception, Some(Attributes::root(0o1777)));
    }
}

#[test]
fn links_are_followed_inside_the_root() {
    let scratch = tempfile::tempdir().unwrap();
    let out = tree(scratch.path(), "a", |t| {
        t.bytes(&path("usr/lib/m/ld.so"), Attributes::PROGRAM, b"").unwrap();
        t.symlink(&path("usr/lib64/ld.so"), b"/lib/m/ld.so", Attributes::LINK).unwrap();
        t.symlink(&path("usr/up"), b"../../../../lib64", Attributes::LINK).unwrap();
        t.symlink(&path("loop"), b"loop", Attributes::LINK).unwrap();
        t.symlink(&path("dangling"), b"nowhere", Attributes::LINK).unwrap();
    });
    let union = Union::read(&[out]).unwrap();
    for (from, to) in [
        ("lib64/ld.so", Some("usr/lib/m/ld.so")),
        ("usr/up/ld.so", Some("usr/lib/m/ld.so")),
        ("usr/lib/m", Some("usr/lib/m")),
        ("loop", None),
        ("loop/x", None),
        ("dangling", None),
    ] {
        let end = union.resolve(&path(from)).map(|(path, _)| path.to_string());
        assert_eq!(end.as_deref(), to, "{from}");
    }
}

#[test]
fn below_is_one_directory_and_not_its_neighbours() {
    let scratch = tempfile::tempdir().unwrap();
    let out = tree(scratch.path(), "a", |t| {
        for file in ["a/x", "a/y/z", "a-b/x", "a.b", "ab/x"] {
            t.bytes(&path(file), Attributes::FILE, b"").unwrap();
        }
    });
    let union = Union::read(&[out]).unwrap();
    let directory = path("a");
    let below: Vec<_> = union.below(&directory).map(|(path, _)| path.to_string()).collect();
    assert_eq!(below, ["a/x", "a/y", "a/y/z"]);
}
