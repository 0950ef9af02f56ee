//! Paths that running processes use: what they execute, map, have open, or have as their root.
//!
//! A service keeps running in its `RootDirectory=` when its generation is deleted, and must not
//! lose the files under its feet. Nix looks at the same places, mounts excepted.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use cairn_formats::StorePath;

use crate::scan::Scanner;

/// Which of `candidates` the processes below `proc` name. A process may end, or be another
/// user's, while it is looked at; what cannot be read says nothing.
pub(crate) fn in_use(proc: &Path, candidates: &BTreeSet<StorePath>) -> BTreeSet<StorePath> {
    let mut scanner = Scanner::new(candidates);
    let is_number = |name: &std::ffi::OsStr| name.as_bytes().iter().all(u8::is_ascii_digit);
    for process in std::fs::read_dir(proc).into_iter().flatten().flatten() {
        if !is_number(&process.file_name()) {
            continue;
        }
        let process = process.path();
        for text in ["mountinfo", "maps", "environ", "cmdline"] {
            feed(&mut scanner, &std::fs::read(process.join(text)).unwrap_or_default());
        }
        let descriptors = std::fs::read_dir(process.join("fd")).into_iter().flatten().flatten().map(|fd| fd.path());
        for link in ["exe", "cwd", "root"].map(|name| process.join(name)).into_iter().chain(descriptors) {
            let target = std::fs::read_link(link).unwrap_or_default();
            feed(&mut scanner, target.as_os_str().as_bytes());
        }
    }
    scanner.finish()
}

fn feed(scanner: &mut Scanner<'_>, text: &[u8]) {
    scanner.feed(text);
    // So that the end of one text and the start of the next make no hash part.
    scanner.feed(b"\n");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_mounted_root_and_an_open_file_are_in_use() {
        let proc = tempfile::tempdir().unwrap();
        let path = |hash: char| StorePath::parse(&format!("{}-x", String::from(hash).repeat(32))).unwrap();
        let (mounted, open, unused) = (path('1'), path('2'), path('3'));
        let process = proc.path().join("17");
        std::fs::create_dir_all(process.join("fd")).unwrap();
        let mounts = format!("36 35 98:0 {} / ro - ext4 /dev/vda ro\n", mounted.absolute());
        std::fs::write(process.join("mountinfo"), mounts).unwrap();
        std::os::unix::fs::symlink(format!("{}/lib/x.so", open.absolute()), process.join("fd/3")).unwrap();
        // Not a process.
        std::fs::create_dir(proc.path().join("sys")).unwrap();
        std::fs::write(proc.path().join("sys/maps"), unused.absolute()).unwrap();

        let candidates = BTreeSet::from([mounted.clone(), open.clone(), unused]);
        assert_eq!(in_use(proc.path(), &candidates), BTreeSet::from([mounted, open]));
    }
}
