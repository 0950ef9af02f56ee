//! Walks the local trees and writes their manifests.
//!
//! Against a base, directory listings alone decide: the same inode number is the same file, because
//! equal files of the store are one file (`.links`). A subtree that is the same throughout is not
//! described, and none of its files is looked at.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirEntryExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use cairn_formats::{Sha256, nar};
use cairn_protocol::manifest;
use cairn_store::Store;

use super::links::{LinkMap, WORTH_LISTING};
use crate::TransportError;
use crate::session::WriteFault;

/// A file whose contents the manifests name, in the order of their numbers.
pub struct Content {
    pub file: PathBuf,
    pub size: u64,
}

pub struct Describer<'a, W: Write> {
    store: &'a Store,
    to: manifest::Writer<W>,
    shortcuts: bool,
    links: Option<LinkMap>,
    named: HashSet<Sha256>,
    contents: Vec<Content>,
}

/// What differs from the base, or all there is without one.
enum Node {
    Same,
    Directory(Vec<(OsString, Node)>),
    File(fs::Metadata),
    Symlink(PathBuf),
}

impl<'a, W: Write> Describer<'a, W> {
    pub fn new(store: &'a Store, to: manifest::Writer<W>, shortcuts: bool) -> Self {
        Self { store, to, shortcuts, links: None, named: HashSet::new(), contents: Vec::new() }
    }

    pub fn path(&mut self, header: &manifest::Header) -> Result<(), WriteFault> {
        let root = self.store.physical(&header.path);
        let base = header.base.as_ref().map(|base| self.store.physical(base));
        let tree = node_at(&root, base.as_deref()).map_err(Unreadable::into_fault)?;
        if self.shortcuts && self.links.is_none() && bytes(&tree) >= WORTH_LISTING {
            self.links = LinkMap::list(&self.store.links_dir()).ok();
        }
        self.to.path(header)?;
        self.write(&[], &root, tree)
    }

    pub fn finish(self) -> (manifest::Writer<W>, Vec<Content>) {
        (self.to, self.contents)
    }

    fn write(&mut self, name: &[u8], at: &Path, node: Node) -> Result<(), WriteFault> {
        match node {
            Node::Same => Ok(self.to.same(name)?),
            Node::Symlink(target) => Ok(self.to.symlink(name, target.as_os_str().as_bytes())?),
            Node::Directory(entries) => {
                self.to.directory(name)?;
                for (name, node) in entries {
                    self.write(name.as_bytes(), &at.join(&name), node)?;
                }
                Ok(self.to.leave()?)
            }
            Node::File(meta) => {
                let executable = meta.permissions().mode() & 0o100 != 0;
                let (size, link) = (meta.len(), self.link_hash(at, executable, &meta)?);
                let fresh = self.named.insert(link);
                if fresh {
                    self.contents.push(Content { file: at.to_path_buf(), size });
                }
                Ok(self.to.file(name, &manifest::File { executable, size, link, fresh })?)
            }
        }
    }

    fn link_hash(&self, at: &Path, executable: bool, meta: &fs::Metadata) -> Result<Sha256, WriteFault> {
        if let Some(hash) = self.links.as_ref().and_then(|links| links.hash(meta)) {
            return Ok(hash);
        }
        let hash = File::open(at).and_then(|mut file| nar::file_hash(executable, meta.len(), &mut file));
        hash.map_err(|source| Unreadable { file: at.to_path_buf(), source }.into_fault())
    }
}

/// A file of the local store that cannot be read.
pub struct Unreadable {
    pub file: PathBuf,
    pub source: io::Error,
}

impl Unreadable {
    pub fn into_fault(self) -> WriteFault {
        WriteFault::Other(TransportError::LocalFile { file: self.file, source: self.source })
    }
}

fn node_at(at: &Path, base: Option<&Path>) -> Result<Node, Unreadable> {
    let unreadable = |source| Unreadable { file: at.to_path_buf(), source };
    let meta = fs::symlink_metadata(at).map_err(unreadable)?;
    let base = base.and_then(|base| Some((base, fs::symlink_metadata(base).ok()?)));
    if meta.is_dir() {
        return directory(at, base.filter(|(_, meta)| meta.is_dir()).map(|(base, _)| base));
    }
    match base {
        Some((_, base)) if base.ino() == meta.ino() && base.dev() == meta.dev() => Ok(Node::Same),
        _ => leaf(at, meta),
    }
}

fn directory(at: &Path, base: Option<&Path>) -> Result<Node, Unreadable> {
    let entries = list(at)?;
    // A base that does not read is no base.
    let beside = base.and_then(|base| list(base).ok()).unwrap_or_default();
    let mut same = base.is_some() && beside.len() == entries.len();
    let beside: HashMap<&OsString, &Entry> = beside.iter().map(|entry| (&entry.name, entry)).collect();
    let mut nodes = Vec::with_capacity(entries.len());
    for entry in &entries {
        let path = at.join(&entry.name);
        let twin = beside.get(&entry.name).filter(|twin| twin.kind == entry.kind);
        let node = match (entry.kind, twin) {
            (Kind::Directory, twin) => directory(&path, twin.and(base).map(|b| b.join(&entry.name)).as_deref())?,
            (_, Some(twin)) if twin.inode == entry.inode => Node::Same,
            (Kind::Symlink, twin) => {
                let target = fs::read_link(&path).map_err(|source| Unreadable { file: path.clone(), source })?;
                let other = twin.and(base).and_then(|base| fs::read_link(base.join(&entry.name)).ok());
                if other.as_ref() == Some(&target) { Node::Same } else { Node::Symlink(target) }
            }
            (Kind::Other, _) => {
                let meta = fs::symlink_metadata(&path);
                leaf(&path, meta.map_err(|source| Unreadable { file: path.clone(), source })?)?
            }
        };
        same &= matches!(node, Node::Same);
        nodes.push(node);
    }
    if same {
        return Ok(Node::Same);
    }
    Ok(Node::Directory(entries.into_iter().map(|entry| entry.name).zip(nodes).collect()))
}

fn leaf(at: &Path, meta: fs::Metadata) -> Result<Node, Unreadable> {
    let unreadable = |source| Unreadable { file: at.to_path_buf(), source };
    if meta.is_symlink() {
        return fs::read_link(at).map(Node::Symlink).map_err(unreadable);
    }
    if meta.is_file() {
        return Ok(Node::File(meta));
    }
    let reason = "neither a file nor a directory nor a symbolic link: it has no place in a store";
    Err(unreadable(io::Error::new(io::ErrorKind::InvalidData, reason)))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Directory,
    Symlink,
    /// A file, or what a file system does not tell in its listings.
    Other,
}

struct Entry {
    name: OsString,
    kind: Kind,
    inode: u64,
}

/// The entries of a directory in the order of a NAR.
fn list(dir: &Path) -> Result<Vec<Entry>, Unreadable> {
    let unreadable = |source| Unreadable { file: dir.to_path_buf(), source };
    let mut entries = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let kind = match entry.file_type().map_err(unreadable)? {
            kind if kind.is_dir() => Kind::Directory,
            kind if kind.is_symlink() => Kind::Symlink,
            _ => Kind::Other,
        };
        entries.push(Entry { inode: entry.ino(), name: entry.file_name(), kind });
    }
    entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

fn bytes(node: &Node) -> u64 {
    match node {
        Node::File(meta) => meta.len(),
        Node::Directory(entries) => entries.iter().map(|(_, node)| bytes(node)).sum(),
        Node::Same | Node::Symlink(_) => 0,
    }
}
