//! Several trees seen as one: the rules of which entries may come from more than one of them.
//!
//! A directory may come from any number of trees, a file or link from several only when they are
//! the same to the last bit. A directory never covers a link. Attributes that a tree recorded win
//! over the usual ones that another tree only implied; two recorded ones must agree.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use cairn_formats::RelPath;

use super::Attributes;
use super::read::{Tree, walk};
use crate::error::{Error, Result};
use crate::layout;

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Directory,
    File { executable: bool, size: u64 },
    Link { target: Vec<u8> },
}

/// One entry of the union: what it is and which tree it was taken from.
#[derive(Debug, Clone)]
pub struct Found {
    pub kind: Kind,
    pub exception: Option<Attributes>,
    tree: usize,
}

/// The union of several tree outputs.
pub struct Union {
    trees: Vec<Tree>,
    entries: BTreeMap<RelPath, Found>,
}

impl Union {
    /// Reads the trees and checks that they go together.
    pub fn read(outputs: &[PathBuf]) -> Result<Self> {
        let trees = outputs.iter().map(|output| Tree::open(output)).collect::<Result<_>>()?;
        let mut union = Self { trees, entries: BTreeMap::new() };
        for index in 0..union.trees.len() {
            let files = union.trees[index].files.clone();
            walk(&files, &mut |path, kind| union.add(index, path, kind))?;
        }
        Ok(union)
    }

    /// Every entry, in the order of the bytes of the paths; a directory precedes what it holds.
    pub fn entries(&self) -> impl Iterator<Item = (&RelPath, &Found)> {
        self.entries.iter()
    }

    pub fn get(&self, path: &RelPath) -> Option<&Found> {
        self.entries.get(path)
    }

    /// The entries below a directory at any depth, in order.
    pub fn below<'a>(&'a self, directory: &'a RelPath) -> impl Iterator<Item = (&'a RelPath, &'a Found)> {
        let prefix = [directory.as_bytes(), b"/"].concat();
        self.entries
            .range(directory.clone()..)
            .skip_while(move |(path, _)| *path == directory)
            .take_while(|(path, _)| path.as_bytes().starts_with(directory.as_bytes()))
            .filter(move |(path, _)| path.as_bytes().starts_with(&prefix))
    }

    /// Where the entry lies on disk.
    pub fn physical(&self, path: &RelPath, found: &Found) -> PathBuf {
        self.trees[found.tree].files.join(path.as_path())
    }

    /// How messages name the tree that an entry comes from.
    pub fn owner(&self, found: &Found) -> &str {
        &self.trees[found.tree].label
    }

    /// The tree outputs themselves, in the order given.
    pub fn outputs(&self) -> impl Iterator<Item = &Path> {
        self.trees.iter().map(|tree| &*tree.output)
    }

    /// Follows every symbolic link on the way, as a process with this root would, and finds what
    /// stands at the end. Links of merged `/usr` count even when no tree holds them.
    pub fn resolve(&self, path: &RelPath) -> Option<(RelPath, &Found)> {
        let end = resolve_links(path, &mut |path| match self.get(path) {
            Some(Found { kind: Kind::Link { target }, .. }) => Some(target.clone()),
            _ => None,
        })?;
        self.get(&end).map(|found| (end, found))
    }

    fn add(&mut self, tree: usize, path: &RelPath, kind: Kind) -> Result<()> {
        let exception =
            std::str::from_utf8(path.as_bytes()).ok().and_then(|path| self.trees[tree].meta.exceptions.get(path));
        let new = Found { kind, exception: exception.copied(), tree };
        match self.entries.entry(path.clone()) {
            Slot::Vacant(slot) => {
                slot.insert(new);
            }
            Slot::Occupied(mut slot) => {
                if !goes_together(&self.trees, path, slot.get(), &new)? {
                    return Err(self.conflict(path, &new));
                }
                let old = slot.get_mut();
                old.exception = old.exception.or(new.exception);
            }
        }
        Ok(())
    }

    fn conflict(&self, path: &RelPath, new: &Found) -> Error {
        let old = self.entries.get(path).unwrap_or(new);
        let describe = |found: &Found, other: &Found| {
            // The attributes only where they are what differs.
            let same = found.kind == other.kind && found.kind == Kind::Directory;
            let attributes = found.exception.filter(|_| same || found.exception != other.exception);
            format!("{}{}", found.kind, attributes.map_or_else(String::new, |a| format!(", {a}")))
        };
        Error::Conflict {
            path: path.clone(),
            first: self.owner(old).to_owned(),
            first_is: describe(old, new),
            second: self.owner(new).to_owned(),
            second_is: describe(new, old),
        }
    }
}

fn goes_together(trees: &[Tree], path: &RelPath, old: &Found, new: &Found) -> Result<bool> {
    if old.exception.zip(new.exception).is_some_and(|(old, new)| old != new) || old.kind != new.kind {
        return Ok(false);
    }
    match old.kind {
        Kind::Directory | Kind::Link { .. } => Ok(true),
        Kind::File { .. } => {
            let at = |found: &Found| trees[found.tree].files.join(path.as_path());
            // Attributes of files are no accident of who names a directory first: they must agree.
            Ok(old.exception == new.exception && same_bytes(&at(old), &at(new))?)
        }
    }
}

/// Rare enough (two owners of one path with one length) to read both at once.
fn same_bytes(a: &Path, b: &Path) -> Result<bool> {
    let read = |path: &Path| fs::read(path).map_err(Error::io("read", path));
    Ok(read(a)? == read(b)?)
}

/// Where `path` ends when each link on the way is followed inside the root; `None` for a loop.
/// `target` says what a path links to. Absolute targets begin at the root, and `..` stops there.
pub(crate) fn resolve_links(path: &RelPath, target: &mut dyn FnMut(&RelPath) -> Option<Vec<u8>>) -> Option<RelPath> {
    // The kernel's own limit (path_resolution(7)).
    let mut links_left = 40;
    let mut path = layout::merged(path);
    'again: loop {
        let mut at = RelPath::root();
        let parts: Vec<Vec<u8>> = path.parts().map(<[u8]>::to_vec).collect();
        for (index, part) in parts.iter().enumerate() {
            at = at.join(part).ok()?;
            if let Some(target) = target(&at) {
                links_left -= 1;
                if links_left == 0 {
                    return None;
                }
                let mut rest = target;
                for part in &parts[index + 1..] {
                    rest.push(b'/');
                    rest.extend(part);
                }
                path = layout::merged(&layout::follow(&at, &rest));
                continue 'again;
            }
        }
        return Some(path);
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory => f.write_str("a directory"),
            Self::File { executable: true, size } => write!(f, "a program of {size} bytes"),
            Self::File { executable: false, size } => write!(f, "a file of {size} bytes"),
            Self::Link { target } => write!(f, "a link to `{}`", String::from_utf8_lossy(target)),
        }
    }
}

impl fmt::Display for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mode {:04o} owner {}:{}", self.mode, self.uid, self.gid)
    }
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
