//! Archives of packages, as mirrors serve them: `.deb` files and wheels.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use cairn_builder::fuzzing;
use cairn_builder::glob::Excludes;
use cairn_recipe::step::{Request, Step};

use crate::input::with_scratch;

/// What an image leaves out, with each kind of pattern.
const EXCLUDE: [&str; 3] = ["usr/share/doc/**", "!usr/share/doc/*/copyright", "usr/share/[lm]*/*.gz"];

/// A whole package, by the builder's step and by the reader of `deploy lock`.
pub fn deb(input: &[u8]) {
    with_scratch(|scratch| {
        let file = scratch.write("fuzz.deb", input);
        let out = scratch.vacant("out");
        let request = Request {
            step: Step::Deb { exclude: EXCLUDE.map(str::to_owned).to_vec() },
            inputs: [("deb".to_owned(), vec![file.display().to_string()])].into(),
            out: out.display().to_string(),
        };
        if cairn_builder::run(&request).is_ok() {
            check_tree(&out);
        }
        if let Ok(scripts) = cairn_lock::debian::deb::scripts(&file) {
            assert!(scripts.len() <= 2, "only two kinds of script run at installation");
        }
    });
}

/// The control archive of a package, not compressed.
pub fn deb_control(input: &[u8]) {
    if let Ok(stanza) = fuzzing::control_tar(input) {
        assert!(stanza.len() <= input.len());
    }
}

/// The data archive of a package, not compressed.
pub fn deb_data(input: &[u8]) {
    let Ok(excludes) = Excludes::parse(&EXCLUDE) else { unreachable!("the patterns are ours") };
    with_scratch(|scratch| {
        let out = scratch.vacant("out");
        if fuzzing::data_tar(input, &excludes, &out).is_ok() {
            check_tree(&out);
        }
    });
}

/// A wheel, without byte code.
pub fn wheel(input: &[u8]) {
    with_scratch(|scratch| {
        let file = scratch.write("demo-1-py3-none-any.whl", input);
        let out = scratch.vacant("out");
        if fuzzing::wheel(&file, &out).is_ok() {
            check_tree(&out);
        }
    });
}

/// The list of a wheel's files. What we quote is read as it was.
pub fn wheel_record(input: &[u8]) {
    let files = ["demo-1.dist-info/METADATA", "demo-1.dist-info/RECORD", "demo.py"].map(str::to_owned);
    let _ = fuzzing::record(input, &files);
    let text = String::from_utf8_lossy(input);
    let mut fields = text.split('|').map(str::to_owned);
    let row: Vec<String> = (0..3).map(|_| fields.next().unwrap_or_default()).collect();
    // A row without any text is passed over, as Python's reader does.
    if row.iter().any(|field| !field.is_empty()) {
        assert_eq!(fuzzing::record_rows(std::slice::from_ref(&row)), Ok(vec![row]));
    }
}

/// The commands of a wheel. Nothing of their names becomes another line of a program.
pub fn wheel_entry_points(input: &[u8]) {
    for script in fuzzing::entry_points(input).unwrap_or_default() {
        assert_eq!(script.lines().count(), 6, "{script}");
    }
}

/// Whatever was unpacked lies below `out/tree`, is a file, folder or link, and has no special bits.
fn check_tree(out: &Path) {
    let mut folders = vec![out.join("tree")];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries.flatten() {
            let meta = fs::symlink_metadata(entry.path()).unwrap_or_else(|error| panic!("{error}"));
            let kind = meta.file_type();
            assert!(kind.is_dir() || kind.is_file() || kind.is_symlink(), "{}", entry.path().display());
            if kind.is_symlink() {
                continue;
            }
            assert_eq!(meta.permissions().mode() & 0o7000, 0, "{}", entry.path().display());
            if kind.is_dir() {
                folders.push(entry.path());
            }
        }
    }
}
