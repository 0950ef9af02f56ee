//! Paths that running processes use: what they execute, map, have open, or have as their root.
//!
//! A service keeps running in its `RootDirectory=` when its generation is deleted, and must not
//! lose the files under its feet. Nix looks at the same places, mounts excepted.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use cairn_formats::StorePath;

use crate::scan::Scanner;

/// The most that is read of one of a process's files. Any local user decides how long they are; the
/// longest honest ones are `maps` of 65,530 mappings (the kernel's `vm.max_map_count`), about 13 MiB,
/// and an environment of 6 MiB (the kernel's limit). Beyond it, a process can only hide its own use.
const MOST_TEXT: u64 = 32 * 1024 * 1024;
/// And of its open files: the kernel's `fs.nr_open` allows a million to each process.
const MOST_DESCRIPTORS: usize = 65_536;

/// Which of `candidates` the processes below `proc` name. A process may end, or be another
/// user's, while it is looked at; what cannot be read says nothing.
pub(crate) fn in_use(proc: &Path, candidates: &BTreeSet<StorePath>) -> BTreeSet<StorePath> {
    let mut scanner = Scanner::new(candidates);
    let mut buffer = vec![0; 64 * 1024];
    let is_number = |name: &std::ffi::OsStr| name.as_bytes().iter().all(u8::is_ascii_digit);
    for process in std::fs::read_dir(proc).into_iter().flatten().flatten() {
        if !is_number(&process.file_name()) {
            continue;
        }
        let process = process.path();
        for text in ["mountinfo", "maps", "environ", "cmdline"] {
            feed_file(&mut scanner, &process.join(text), &mut buffer);
        }
        let descriptors = std::fs::read_dir(process.join("fd")).into_iter().flatten().flatten().map(|fd| fd.path());
        let descriptors = descriptors.take(MOST_DESCRIPTORS);
        for link in ["exe", "cwd", "root"].map(|name| process.join(name)).into_iter().chain(descriptors) {
            let target = std::fs::read_link(link).unwrap_or_default();
            scanner.feed(target.as_os_str().as_bytes());
            separate(&mut scanner);
        }
    }
    scanner.finish()
}

/// In pieces: no process of the host decides how much memory this one takes.
fn feed_file(scanner: &mut Scanner<'_>, path: &Path, buffer: &mut [u8]) {
    let Ok(file) = File::open(path) else { return };
    let mut file = file.take(MOST_TEXT);
    loop {
        match file.read(buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => break,
            Ok(length) => scanner.feed(&buffer[..length]),
        }
    }
    separate(scanner);
}

/// So that the end of one text and the start of the next make no hash part.
fn separate(scanner: &mut Scanner<'_>) {
    scanner.feed(b"\n");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::FileExt as _;

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

    /// A terabyte of `environ` is neither held in memory nor read to its end; what the process has
    /// before that, across the ends of pieces, and what other processes have, is found.
    #[test]
    fn a_process_cannot_make_the_collection_read_without_end() {
        let proc = tempfile::tempdir().unwrap();
        let path = |hash: char| StorePath::parse(&format!("{}-x", String::from(hash).repeat(32))).unwrap();
        let (spanning, beyond, elsewhere) = (path('1'), path('2'), path('3'));
        for process in ["17", "18"] {
            std::fs::create_dir(proc.path().join(process)).unwrap();
        }
        let environ = File::create(proc.path().join("17/environ")).unwrap();
        environ.set_len(1 << 40).unwrap();
        environ.write_all_at(spanning.absolute().as_bytes(), 64 * 1024 - 20).unwrap();
        environ.write_all_at(beyond.absolute().as_bytes(), MOST_TEXT + 1).unwrap();
        std::fs::write(proc.path().join("18/cmdline"), elsewhere.absolute()).unwrap();

        let candidates = BTreeSet::from([spanning.clone(), beyond, elsewhere.clone()]);
        assert_eq!(in_use(proc.path(), &candidates), BTreeSet::from([spanning, elsewhere]));
    }
}
