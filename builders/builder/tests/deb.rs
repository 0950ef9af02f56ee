//! Packages: a real one against dpkg-deb, hostile ones against the rules.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use common::{download, listing, run, sh};
use serde_json::{Value, json};
use tar::{EntryType, Header};

/// Member of a package: name and content.
type Member<'a> = (&'a str, &'a [u8]);

/// An ar archive of these members.
fn package(path: &Path, members: &[Member]) -> PathBuf {
    let mut file = fs::File::create(path).unwrap();
    file.write_all(b"!<arch>\n").unwrap();
    for (name, data) in members {
        writeln!(file, "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`", 0, 0, 0, 100_644, data.len()).unwrap();
        file.write_all(data).unwrap();
        file.write_all(&b"\n"[..data.len() % 2]).unwrap();
    }
    path.to_owned()
}

/// Entry of a tar: kind, name as raw bytes, link target or content.
type Entry<'a> = (EntryType, &'a str, &'a str);

fn tar_of(entries: &[Entry]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (kind, name, data) in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(if *kind == EntryType::Directory { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        // Raw, because the crate refuses to write what we want to refuse to read.
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        let content = if matches!(kind, EntryType::Symlink | EntryType::Link) {
            header.as_mut_bytes()[157..157 + data.len()].copy_from_slice(data.as_bytes());
            &[]
        } else {
            data.as_bytes()
        };
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn control() -> Vec<u8> {
    tar_of(&[(EntryType::Regular, "./control", "Package: hostile\nVersion: 1\n")])
}

fn build(scratch: &Path, entries: &[Entry]) -> PathBuf {
    let data = tar_of(entries);
    let members: [Member; 3] = [("debian-binary", b"2.0\n"), ("control.tar", &control()), ("data.tar", &data)];
    package(&scratch.join("hostile_1_all.deb"), &members)
}

fn step(exclude: &[&str]) -> Value {
    json!({"kind": "deb", "exclude": exclude})
}

#[test]
fn a_real_package_is_what_dpkg_deb_unpacks() {
    let scratch = tempfile::tempdir().unwrap();
    for name in ["libc6", "login", "base-files", "perl-base"] {
        let dir = scratch.path().join(name);
        fs::create_dir(&dir).unwrap();
        let deb = &download(&[name])[0];
        let (out, oracle) = (dir.join("out"), dir.join("oracle"));
        run(step(&[]), &[("deb", &[deb])], &out).unwrap();
        sh("dpkg-deb", &["-x", deb.to_str().unwrap(), oracle.to_str().unwrap()], &dir);

        let mut expected = BTreeMap::new();
        for (path, entry) in listing(&oracle, true) {
            let (first, _) = path.split_once('/').unwrap_or((&path, ""));
            let merged = if ["bin", "sbin", "lib", "lib64"].contains(&first) { format!("usr/{path}") } else { path };
            expected.insert(merged, entry);
        }
        // The store keeps one bit of the mode; meta.json keeps the rest.
        let meta: Value = serde_json::from_slice(&fs::read(out.join("meta.json")).unwrap()).unwrap();
        let mut got = listing(&out.join("tree"), true);
        for (path, exception) in meta["exceptions"].as_object().unwrap() {
            let entry = got.get_mut(path).unwrap();
            let rest = entry.split_once(' ').unwrap().1.to_owned();
            *entry = format!("{:o} {rest}", exception["mode"].as_u64().unwrap());
        }
        assert_eq!(got, expected, "{name}");
        let stanza = sh("dpkg-deb", &["-f", deb.to_str().unwrap()], &dir);
        assert_eq!(fs::read_to_string(out.join("control")).unwrap().trim_end(), stanza.trim_end());
    }
}

#[test]
fn excludes_can_spare_the_licences() {
    let scratch = tempfile::tempdir().unwrap();
    let deb = &download(&["libc-bin"])[0];
    let out = scratch.path().join("out");
    let excludes = ["usr/share/doc/**", "!usr/share/doc/*/copyright", "usr/share/man/**"];
    run(step(&excludes), &[("deb", &[deb])], &out).unwrap();
    let left: Vec<String> =
        listing(&out.join("tree"), false).into_keys().filter(|path| path.starts_with("usr/share/doc/")).collect();
    assert_eq!(left, ["usr/share/doc/libc-bin", "usr/share/doc/libc-bin/copyright"]);
    assert!(!out.join("tree/usr/share/man/man1").exists());
    assert!(out.join("tree/usr/bin/ldd").exists());
}

#[test]
fn every_compression_gives_the_same_tree() {
    let scratch = tempfile::tempdir().unwrap();
    let data = tar_of(&[(EntryType::Regular, "./bin/tool", "tool"), (EntryType::Symlink, "./lib/x", "../etc/y")]);
    let gz = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&data).unwrap();
        encoder.finish().unwrap()
    };
    let xz = {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 6);
        encoder.write_all(&data).unwrap();
        encoder.finish().unwrap()
    };
    let zst = zstd::encode_all(&*data, 3).unwrap();
    let mut seen = Vec::new();
    for (name, bytes) in [("data.tar", &data), ("data.tar.gz", &gz), ("data.tar.xz", &xz), ("data.tar.zst", &zst)] {
        let deb = scratch.path().join(format!("{name}.deb"));
        package(&deb, &[("debian-binary", b"2.0\n"), ("_ignored", b"x"), ("control.tar", &control()), (name, bytes)]);
        let out = scratch.path().join(format!("{name}.out"));
        run(step(&[]), &[("deb", &[&deb])], &out).unwrap();
        seen.push(listing(&out, true));
    }
    assert!(seen.iter().all(|listing| *listing == seen[0]));
    assert_eq!(seen[0]["tree/usr/lib/x"], "-> ../../etc/y");
    assert!(seen[0].contains_key("tree/usr/bin/tool"));
}

#[test]
fn hostile_archives_are_refused_by_member_and_reason() {
    use EntryType::{Block, Char, Directory, Fifo, GNUSparse, Link, Regular, Symlink};
    let table: [(&[Entry], &str, &str); 21] = [
        (&[(Regular, "/etc/passwd", "x")], "/etc/passwd", "not a path below the root"),
        (&[(Regular, "../x", "x")], "../x", "not a path below the root"),
        (&[(Regular, "./usr/../../x", "x")], "./usr/../../x", "not a path below the root"),
        (&[(Regular, ".//etc/passwd", "x")], ".//etc/passwd", "not a path below the root"),
        (&[(Regular, "./", "x")], "./", "not a path below the root"),
        (&[(Char, "./dev/null", "")], "./dev/null", "character device"),
        (&[(Block, "./dev/sda", "")], "./dev/sda", "block device"),
        (&[(Fifo, "./run/pipe", "")], "./run/pipe", "named pipe"),
        (&[(GNUSparse, "./sparse", "")], "./sparse", "sparse file"),
        (&[(Link, "./a", "/etc/passwd")], "./a", "hard link to `/etc/passwd`"),
        (&[(Link, "./a", "../../etc/passwd")], "./a", "hard link to `../../etc/passwd`"),
        (&[(Link, "./a", "./b"), (Regular, "./b", "x")], "./a", "comes before it"),
        (&[(Symlink, "./b", "/etc/passwd"), (Link, "./a", "./b")], "./a", "hard link"),
        (&[(Directory, "./d/", ""), (Link, "./a", "./d")], "./a", "hard link"),
        (&[(Symlink, "./d", "/tmp"), (Regular, "./d/x", "x")], "./d/x", "through the symbolic link `d`"),
        (&[(Symlink, "./d", "."), (Directory, "./d/", "")], "./d/", "through the symbolic link `d`"),
        (&[(Symlink, "./d", "e"), (Regular, "./d", "x")], "./d", "named twice"),
        (&[(Regular, "./f", "x"), (Regular, "./f/x", "x")], "./f/x", "below `f`, which is a file"),
        (&[(Regular, "./bin/x", "1"), (Regular, "./usr/bin/x", "2")], "./usr/bin/x", "named twice"),
        (&[(Symlink, "./lib", "/tmp/evil")], "./lib", "must stay a link to `/usr/lib`"),
        (&[(Symlink, "./empty", "")], "./empty", "empty"),
    ];
    for (entries, member, reason) in table {
        let scratch = tempfile::tempdir().unwrap();
        let outside = scratch.path().join("untouched");
        fs::create_dir(&outside).unwrap();
        let deb = build(scratch.path(), entries);
        let error = run(step(&[]), &[("deb", &[&deb])], &scratch.path().join("out")).unwrap_err();
        assert!(error.starts_with("hostile_1_all.deb: "), "{error}");
        assert!(error.contains(&format!("`{member}`")) && error.contains(reason), "{entries:?}: {error}");
        let left: Vec<_> = fs::read_dir(scratch.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left.len(), 3, "{left:?}");
    }
}

#[test]
fn a_hard_link_to_an_excluded_file_is_named() {
    let scratch = tempfile::tempdir().unwrap();
    let entries =
        [(EntryType::Regular, "./usr/share/doc/x", "x"), (EntryType::Link, "./usr/bin/x", "./usr/share/doc/x")];
    let deb = build(scratch.path(), &entries);
    let error = run(step(&["usr/share/doc/**"]), &[("deb", &[&deb])], &scratch.path().join("out")).unwrap_err();
    assert!(error.contains("`./usr/bin/x`") && error.contains("excludes"), "{error}");
}

#[test]
fn the_links_of_merged_usr_are_left_to_the_generated_tree() {
    let scratch = tempfile::tempdir().unwrap();
    let entries = [(EntryType::Symlink, "./bin", "usr/bin"), (EntryType::Symlink, "./usr/bin/sh", "dash")];
    let deb = build(scratch.path(), &entries);
    let out = scratch.path().join("out");
    run(step(&[]), &[("deb", &[&deb])], &out).unwrap();
    let got: Vec<_> = listing(&out.join("tree"), false).into_iter().collect();
    assert_eq!(got[2], ("usr/bin/sh".to_owned(), "-> dash".to_owned()));
    assert_eq!(got.len(), 3);
}

#[test]
fn long_names_of_both_dialects() {
    let scratch = tempfile::tempdir().unwrap();
    let name = format!("usr/share/{}/{}", "d".repeat(120), "f".repeat(150));
    let mut builder = tar::Builder::new(Vec::new());
    let prepare = |mut header: Header| {
        header.set_size(1);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header
    };
    let mut header = prepare(Header::new_gnu());
    builder.append_data(&mut header, format!("./{name}-gnu"), &b"x"[..]).unwrap();
    let pax = format!("./{name}-pax");
    builder.append_pax_extensions([("path", pax.as_bytes())]).unwrap();
    let mut header = prepare(Header::new_ustar());
    header.set_path("short").unwrap();
    header.set_cksum();
    builder.append(&header, &b"x"[..]).unwrap();
    let data = builder.into_inner().unwrap();
    let deb = scratch.path().join("long.deb");
    package(&deb, &[("debian-binary", b"2.0\n"), ("control.tar", &control()), ("data.tar", &data)]);
    let out = scratch.path().join("out");
    run(step(&[]), &[("deb", &[&deb])], &out).unwrap();
    for suffix in ["gnu", "pax"] {
        assert_eq!(fs::read(out.join("tree").join(format!("{name}-{suffix}"))).unwrap(), b"x");
    }
}

#[test]
fn damage_is_found_and_named() {
    let scratch = tempfile::tempdir().unwrap();
    let data = zstd::encode_all(&*tar_of(&[(EntryType::Regular, "./a", &"content".repeat(5000))]), 3).unwrap();
    let (control, version) = (control(), &b"2.0\n"[..]);
    let cases: [(&[Member], &str); 7] = [
        (&[("debian-binary", b"3.0\n"), ("control.tar", &control), ("data.tar.zst", &data)], "format 2"),
        (&[("control.tar", &control), ("data.tar.zst", &data)], "where `debian-binary` must stand"),
        (&[("debian-binary", version), ("data.tar.zst", &data)], "where `control.tar` must stand"),
        (&[("debian-binary", version), ("control.tar", &control)], "ends before `data.tar`"),
        (&[("debian-binary", version), ("control.tar", &control), ("data.tar.lz4", &data)], "`.lz4`"),
        (
            &[("debian-binary", version), ("control.tar", &control), ("data.tar.zst", &data[..data.len() / 2])],
            "data.tar",
        ),
        (&[("debian-binary", version), ("control.tar", b""), ("data.tar.zst", &data)], "control` is missing"),
    ];
    for (number, (members, expected)) in cases.into_iter().enumerate() {
        let deb = package(&scratch.path().join(format!("{number}.deb")), members);
        let out = scratch.path().join(format!("{number}.out"));
        let error = run(step(&[]), &[("deb", &[&deb])], &out).unwrap_err();
        assert!(error.contains(expected) && error.contains(".deb"), "{error}");
    }
}

/// An archive with one file of this name, which takes an extended header.
fn tar_with_name(name: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_size(0);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    builder.append_data(&mut header, name, &b""[..]).unwrap();
    builder.into_inner().unwrap()
}

#[test]
fn names_beyond_what_linux_can_open_are_refused_before_they_take_memory_or_stack() {
    let scratch = tempfile::tempdir().unwrap();
    let mebibyte = tar_with_name(&"n".repeat(1 << 20));
    let deep = tar_with_name(&("a/".repeat(15_000) + "b"));
    let control = control();
    for (number, (control, data, expected)) in [
        (&mebibyte, &deep, "`control.tar/control` cannot be unpacked: an extended header is longer than any name"),
        (&control, &mebibyte, "`data.tar` cannot be unpacked: an extended header is longer than any name"),
        (&control, &deep, "has a path of more than 4095 bytes"),
    ]
    .into_iter()
    .enumerate()
    {
        let members: [Member; 3] = [("debian-binary", b"2.0\n"), ("control.tar", control), ("data.tar", data)];
        let deb = package(&scratch.path().join(format!("{number}.deb")), &members);
        let error = run(step(&[]), &[("deb", &[&deb])], &scratch.path().join(format!("{number}.out"))).unwrap_err();
        assert!(error.contains(expected) && error.len() < 600, "{error}");
    }
}
