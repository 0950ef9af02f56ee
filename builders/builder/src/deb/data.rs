//! The files of a package: a tar archive, hostile until each entry was checked.
//!
//! Taken: files, directories, symbolic links, hard links to files that came before. Refused with
//! the member's name: devices, pipes and whatever else tar knows, absolute paths, `..`, hard links
//! out of the tree, writing through a link. Extended attributes are dropped, as dpkg does.

use std::collections::BTreeSet;
use std::io::{self, Read};

use cairn_formats::RelPath;
use tar::EntryType;

use super::entries::{Entries, Entry};
use crate::error::{Error, Problem, Result};
use crate::glob::Excludes;
use crate::layout;
use crate::tree::{Attributes, TreeWriter};

pub fn unpack(archive: impl Read, name: &str, excludes: &Excludes, tree: &mut TreeWriter) -> Result<()> {
    let mut tar = tar::Archive::new(archive);
    let mut unpacker = Unpacker { excludes, tree, excluded: BTreeSet::new() };
    let mut entries = Entries::of(&mut tar).map_err(|e| Error::member(name, "data.tar", e))?;
    while let Some(entry) = entries.next().map_err(|e| Error::member(name, "data.tar", e))? {
        let member = String::from_utf8_lossy(&entry.path).into_owned();
        unpacker.take(entry).map_err(|problem| Error::member(name, member, problem))?;
    }
    // To the very end, so that a damaged tail is found by the checksum that it breaks.
    io::copy(&mut tar.into_inner(), &mut io::sink()).map_err(|e| Error::member(name, "data.tar", e))?;
    Ok(())
}

struct Unpacker<'a> {
    excludes: &'a Excludes,
    tree: &'a mut TreeWriter,
    /// Files that were left out, for hard links to them.
    excluded: BTreeSet<RelPath>,
}

impl Unpacker<'_> {
    fn take<R: Read>(&mut self, entry: Entry<'_, R>) -> Result<(), Problem> {
        let Entry { path, target, mut raw } = entry;
        let kind = raw.header().entry_type();
        let original = member_path(&path, kind == EntryType::Directory)?;
        let path = layout::merged(&original);
        if path.is_root() {
            return if kind == EntryType::Directory { Ok(()) } else { Err(Problem::Escapes) };
        }
        if self.excludes.matches(&path) {
            self.excluded.insert(path);
            return known_kind(kind);
        }
        let attributes = attributes(raw.header())?;
        let target = || target.ok_or_else(|| Problem::Target(String::new()));
        match kind {
            EntryType::Directory => self.tree.directory(&path, attributes),
            EntryType::Regular => self.tree.file(&path, attributes, raw.size(), &mut raw),
            EntryType::Symlink => self.symlink(&original, &path, &target()?, attributes),
            EntryType::Link => self.hard_link(&path, &target()?),
            other => known_kind(other),
        }
    }

    fn symlink(
        &mut self,
        original: &RelPath,
        path: &RelPath,
        target: &[u8],
        attributes: Attributes,
    ) -> Result<(), Problem> {
        match layout::is_merge_link(original, target) {
            // The generated tree brings the links of merged /usr, the same for every image.
            Some(true) => Ok(()),
            Some(false) => Err(Problem::MergedUsr(original.to_string())),
            None => self.tree.symlink(path, &layout::link_target(original, target), attributes),
        }
    }

    fn hard_link(&mut self, path: &RelPath, target: &[u8]) -> Result<(), Problem> {
        let lossy = || String::from_utf8_lossy(target).into_owned();
        let existing = member_path(target, false).map_err(|_| Problem::HardLink { target: lossy() })?;
        let existing = layout::merged(&existing);
        if self.excluded.contains(&existing) {
            return Err(Problem::HardLinkExcluded { target: existing });
        }
        self.tree.hard_link(path, &existing)
    }
}

/// `./usr/bin/env` to `usr/bin/env`; anything that is not plainly below the root is refused.
fn member_path(raw: &[u8], directory: bool) -> Result<RelPath, Problem> {
    let path = raw.strip_prefix(b"./").unwrap_or(raw);
    let path = if directory { path.strip_suffix(b"/").unwrap_or(path) } else { path };
    match path {
        b"" if raw.is_empty() => Err(Problem::Escapes),
        b"." => Ok(RelPath::root()),
        path => RelPath::parse(path).map_err(|_| Problem::Escapes),
    }
}

fn attributes(header: &tar::Header) -> Result<Attributes, Problem> {
    let id = |value: u64| u32::try_from(value).map_err(|_| Problem::Other(format!("has the impossible owner {value}")));
    Ok(Attributes { mode: header.mode()? & 0o7777, uid: id(header.uid()?)?, gid: id(header.gid()?)? })
}

fn known_kind(kind: EntryType) -> Result<(), Problem> {
    Err(Problem::Kind(match kind {
        EntryType::Regular | EntryType::Directory | EntryType::Symlink | EntryType::Link => return Ok(()),
        EntryType::Block => "block device",
        EntryType::Char => "character device",
        EntryType::Fifo => "named pipe",
        EntryType::GNUSparse => "sparse file",
        _ => "kind of tar entry that packages do not hold",
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn member_paths() {
        for (raw, expected) in [
            ("./usr/bin/env", Some("usr/bin/env")),
            ("usr/bin/env", Some("usr/bin/env")),
            ("./", Some("")),
            (".", Some("")),
            ("./usr/", Some("usr")),
            ("", None),
            ("/etc/passwd", None),
            (".//etc/passwd", None),
            ("../x", None),
            ("./../x", None),
            ("./a/../../x", None),
            ("././a", None),
            ("./a//b", None),
        ] {
            let got = member_path(raw.as_bytes(), true).ok().map(|path| path.to_string());
            assert_eq!(got.as_deref(), expected, "{raw:?}");
        }
    }
}
