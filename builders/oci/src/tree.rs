//! Tree outputs and how several become one sorted list of entries.
//!
//! A tree output is a folder with `tree/`, the files, and `meta.json`, what a store cannot hold:
//! ```json
//! {"exceptions": {"usr/bin/su": {"mode": 2541, "uid": 0, "gid": 0}}}
//! ```
//! The keys are paths from the root of the image without a leading slash; `mode` is a decimal
//! number of the permission bits (2541 is 0o4755). What has no exception belongs to root and has
//! mode 0755 (directories, executables) or 0644.
//!
//! Two trees may give the same path if they agree. For a directory they agree if only one of them
//! has an exception for it: a tree that merely needs `tmp/` as a parent says nothing about it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use cairn_formats::RelPath;
use serde::{Deserialize, Serialize};

use crate::error::at;
use crate::{OciError, Result, json};

/// The content of `meta.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TreeMeta {
    pub exceptions: BTreeMap<String, Ownership>,
}

/// Permission bits and numeric owner of one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ownership {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

impl Ownership {
    const fn root(mode: u32) -> Self {
        Self { mode, uid: 0, gid: 0 }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    Regular { size: u64 },
    Symlink { target: Vec<u8> },
}

/// One entry of a layer and the file it comes from.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub kind: Kind,
    pub owner: Ownership,
    pub source: PathBuf,
    declared: bool,
}

/// All entries of all trees, by path; a parent is a prefix of its children and so comes first.
pub(crate) fn merge(trees: &[PathBuf]) -> Result<BTreeMap<RelPath, Entry>> {
    let mut all = BTreeMap::new();
    for tree in trees {
        for (path, entry) in read_tree(tree)? {
            match all.remove(&path) {
                None => all.insert(path, entry),
                Some(first) => {
                    let agreed = agree(&path, first, entry)?;
                    all.insert(path, agreed)
                }
            };
        }
    }
    Ok(all)
}

fn read_tree(output: &Path) -> Result<BTreeMap<RelPath, Entry>> {
    let root = output.join("tree");
    let meta = fs::symlink_metadata(&root).map_err(at("read", &root))?;
    if !meta.is_dir() {
        return Err(OciError::SpecialFile { path: root, kind: "not a directory" });
    }
    let mut entries = BTreeMap::new();
    walk(&root, &RelPath::root(), &mut entries)?;
    apply_meta(&output.join("meta.json"), &mut entries)?;
    Ok(entries)
}

fn walk(dir: &Path, at_path: &RelPath, entries: &mut BTreeMap<RelPath, Entry>) -> Result<()> {
    for item in fs::read_dir(dir).map_err(at("list", dir))? {
        let item = item.map_err(at("list", dir))?;
        let source = item.path();
        let path = at_path
            .join(item.file_name().as_bytes())
            .map_err(|_| OciError::SpecialFile { path: source.clone(), kind: "a name that is no file name" })?;
        let meta = fs::symlink_metadata(&source).map_err(at("read", &source))?;
        let file_type = meta.file_type();
        let (kind, mode) = if file_type.is_dir() {
            walk(&source, &path, entries)?;
            (Kind::Directory, 0o755)
        } else if file_type.is_file() {
            let executable = meta.mode() & 0o100 != 0;
            (Kind::Regular { size: meta.len() }, if executable { 0o755 } else { 0o644 })
        } else if file_type.is_symlink() {
            let target = fs::read_link(&source).map_err(at("read", &source))?;
            (Kind::Symlink { target: target.as_os_str().as_bytes().to_vec() }, 0o777)
        } else {
            return Err(OciError::SpecialFile { path: source, kind: special(file_type) });
        };
        entries.insert(path, Entry { kind, owner: Ownership::root(mode), source, declared: false });
    }
    Ok(())
}

fn special(file_type: fs::FileType) -> &'static str {
    if file_type.is_socket() {
        "a socket"
    } else if file_type.is_fifo() {
        "a named pipe"
    } else {
        "a device"
    }
}

fn apply_meta(path: &Path, entries: &mut BTreeMap<RelPath, Entry>) -> Result<()> {
    let meta: TreeMeta = json::read(path)?;
    for (key, owner) in meta.exceptions {
        let rel = RelPath::parse(key.as_bytes())
            .ok()
            .filter(|rel| !rel.is_root())
            .ok_or_else(|| OciError::MetaEscape { meta: path.to_owned(), key: key.clone() })?;
        let entry = entries
            .get_mut(&rel)
            .ok_or_else(|| OciError::MetaUnknownPath { meta: path.to_owned(), key: key.clone() })?;
        let link = matches!(entry.kind, Kind::Symlink { .. });
        if owner.mode > 0o7777 || (link && owner.mode != 0o777) {
            return Err(OciError::MetaMode { meta: path.to_owned(), key, mode: owner.mode });
        }
        entry.owner = owner;
        entry.declared = true;
    }
    Ok(())
}

fn agree(path: &RelPath, first: Entry, second: Entry) -> Result<Entry> {
    let conflict = |difference| OciError::Conflict {
        path: path.to_string(),
        difference,
        first: first.source.clone(),
        second: second.source.clone(),
    };
    if std::mem::discriminant(&first.kind) != std::mem::discriminant(&second.kind) {
        return Err(conflict("the kind of file"));
    }
    if first.kind == Kind::Directory && first.declared != second.declared {
        return Ok(if first.declared { first } else { second });
    }
    if first.owner != second.owner {
        return Err(conflict("mode or owner"));
    }
    match first.kind {
        Kind::Symlink { .. } if first.kind != second.kind => Err(conflict("the target of the link")),
        Kind::Regular { .. } if first.kind != second.kind || !same_bytes(&first.source, &second.source)? => {
            Err(conflict("content"))
        }
        _ => Ok(first),
    }
}

fn same_bytes(first: &Path, second: &Path) -> Result<bool> {
    let mut files = [
        (File::open(first).map_err(at("open", first))?, first, vec![0; 1 << 16]),
        (File::open(second).map_err(at("open", second))?, second, vec![0; 1 << 16]),
    ];
    loop {
        let mut filled = [0; 2];
        for ((file, path, buffer), filled) in files.iter_mut().zip(&mut filled) {
            while *filled < buffer.len() {
                match file.read(&mut buffer[*filled..]).map_err(at("read", path))? {
                    0 => break,
                    n => *filled += n,
                }
            }
        }
        if files[0].2[..filled[0]] != files[1].2[..filled[1]] {
            return Ok(false);
        }
        if filled[0] == 0 {
            return Ok(true);
        }
    }
}
