//! Adding: hash, find the path, share the files, flush, rename into place, register.
//!
//! The order is what makes it safe against a crash. Names in `.links` appear only for files whose
//! bytes are on disk, or another path could share torn bytes; the tree is renamed as a whole; the
//! row comes last, when bytes and names are durable. One `syncfs` covers all files: for 8,000 of
//! them an `fsync` each takes seconds; and it covers all paths that come at the same time.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::io::{self, BufWriter};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use cairn_formats::nar::Encoder;
use cairn_formats::{ContentAddress, HashWriter, Sha256, StoreName, StorePath, fixed_flat, fixed_recursive};

use crate::canonical;
use crate::error::{At as _, Result, StoreError};
use crate::info::PathInfo;
use crate::ingest::{IngestedFile, ingest};
use crate::links::{Adopted, Links};
use crate::lock::PathLock;
use crate::remove::remove_tree;
use crate::store::Store;
use crate::tree;
use crate::walk::{self, MAX_DEPTH, is_executable};

impl Store {
    /// Takes a finished file or directory from a [`Store::build_dir`] into the store. `candidates`
    /// are the paths that it may refer to. When the path is valid already the tree is discarded.
    ///
    /// The path and its references are kept from collection until this store is dropped.
    pub fn add_output(&self, tree: &Path, name: &StoreName, candidates: &BTreeSet<StorePath>) -> Result<PathInfo> {
        self.settle(self.read_output(tree, name, candidates)?)
    }

    /// The half of [`Store::add_output`] that takes a processor: reads and hashes the tree. The other
    /// half, [`Store::settle`], waits for the disk.
    pub fn read_output<'t>(
        &self,
        tree: &'t Path,
        name: &StoreName,
        candidates: &BTreeSet<StorePath>,
    ) -> Result<Output<'t>> {
        let found = ingest(tree, candidates)?;
        let info = PathInfo {
            path: fixed_recursive(name, &found.nar_hash, &found.references),
            nar_hash: found.nar_hash,
            nar_size: found.nar_size,
            references: found.references,
            ca: Some(ContentAddress::Recursive(found.nar_hash)),
            registered: 0,
            deriver: None,
        };
        Ok(Output { incoming: Incoming { tree, files: found.files, directories: found.directories }, info })
    }

    /// Moves one plain file into the store under the path that a download with its hash has.
    pub fn add_flat(&self, file: &Path, name: &StoreName) -> Result<PathInfo> {
        let meta = file.symlink_metadata().at("read", file)?;
        if !meta.is_file() {
            return Err(StoreError::NotAFile { path: file.to_path_buf() });
        }
        let dir = self.layout().builds();
        if meta.dev() != dir.metadata().at("read", &dir)?.dev() {
            let build = self.build_dir()?;
            let copy = build.path().join("file");
            copy_file(file, &copy, &meta).map_err(|e| e.needing(meta.len()))?;
            let info = self.add_flat(&copy, name)?;
            std::fs::remove_file(file).at("remove", file)?;
            return Ok(info);
        }
        canonical::open_up(file, &meta)?;
        if is_executable(&meta) {
            canonical::set_mode(file, 0o644)?;
        }
        let (flat, nar_hash, nar_size) = hash_flat(file, meta.len())?;
        let info = PathInfo {
            path: fixed_flat(name, &flat),
            nar_hash,
            nar_size,
            references: BTreeSet::new(),
            ca: Some(ContentAddress::Flat(flat)),
            registered: 0,
            deriver: None,
        };
        canonical::canonicalise_node(file, &file.symlink_metadata().at("read", file)?)?;
        let files = vec![IngestedFile { path: file.to_path_buf(), hash: nar_hash, len: meta.len() }];
        self.settle(Output { incoming: Incoming { tree: file, files, directories: Vec::new() }, info })
    }

    /// Copies a file or directory from anywhere into the store; `src` is not touched. Of modes
    /// only the owner's execute bit is kept. Refuses devices, sockets and FIFOs.
    pub fn add_source(&self, src: &Path, name: &StoreName) -> Result<PathInfo> {
        // Hashing first makes the usual case, nothing changed, free of writes. Should the source
        // change before it is copied, the copy decides.
        let (hash, size) = tree::hash(src)?;
        let path = fixed_recursive(name, &hash, &BTreeSet::new());
        self.add_temp_root(&path)?;
        if let Some(info) = self.present(&path)? {
            return Ok(info);
        }
        let build = self.build_dir()?;
        let copy = build.path().join("source");
        copy_tree(src, &copy).map_err(|e| e.needing(size))?;
        self.add_output(&copy, name, &BTreeSet::new())
    }

    /// The row of a path that is valid and on disk. One that is valid but gone is added again.
    pub(crate) fn present(&self, path: &StorePath) -> Result<Option<PathInfo>> {
        Ok(self.query(path)?.filter(|_| self.physical(path).symlink_metadata().is_ok()))
    }

    /// Makes a path of what was read. Those who do so at the same time share the flushes.
    pub fn settle(&self, output: Output<'_>) -> Result<PathInfo> {
        let Output { incoming, info } = output;
        self.add_temp_roots(info.references.iter().chain([&info.path]))?;
        if let Some(info) = self.present(&info.path)? {
            remove_tree(incoming.tree)?;
            return Ok(info);
        }
        for reference in &info.references {
            if !self.is_valid(reference)? {
                return Err(StoreError::InvalidReference { path: info.path, reference: reference.clone() });
            }
        }
        let lock = self.lock_path(&info.path)?;
        if let Some(info) = self.present(&info.path)? {
            remove_tree(incoming.tree)?;
            return Ok(info);
        }
        let size = info.nar_size;
        let place = || {
            let new = self.share(&incoming)?;
            self.flush_data()?;
            self.put_in_place(&incoming, &new, &info.path, &lock)?;
            self.register_with_others(info.clone())
        };
        place().map_err(|e: StoreError| e.needing(size))?;
        self.query(&info.path)?.ok_or(StoreError::NotValid { path: info.path })
    }

    /// Replaces the files that the store has by its own. Gives those that it has not, which must
    /// be flushed before they are offered.
    pub(crate) fn share<'i>(&self, incoming: &'i Incoming<'_>) -> Result<Vec<&'i IngestedFile>> {
        let links = Links::for_tree(self.layout(), incoming.tree);
        let mut new = Vec::new();
        for file in &incoming.files {
            if links.adopt(&file.path, &file.hash, file.len)? == Adopted::Unknown {
                new.push(file);
            }
        }
        Ok(new)
    }

    /// Offers the new files, closes the directories and renames the tree to its path. Whatever
    /// lies there is not valid, so it is what a crash left.
    pub(crate) fn put_in_place(
        &self,
        incoming: &Incoming<'_>,
        new: &[&IngestedFile],
        path: &StorePath,
        _lock: &PathLock,
    ) -> Result<()> {
        let links = Links::for_tree(self.layout(), incoming.tree);
        for file in new {
            links.offer(&file.path, &file.hash, file.len)?;
        }
        let inner = incoming.directories.split_last().map_or(&[][..], |(_, inner)| inner);
        for dir in inner {
            canonical::canonicalise_directory(dir)?;
        }
        let place = self.physical(path);
        if place.symlink_metadata().is_ok() {
            tracing::info!(path = %place.display(), "replacing what an interrupted add left");
            remove_tree(&place)?;
        }
        // A directory must be writable to change its parent, so the outermost is closed last.
        std::fs::rename(incoming.tree, &place).map_err(|source| match source.kind() {
            io::ErrorKind::CrossesDevices => {
                StoreError::OtherFileSystem { tree: incoming.tree.to_path_buf(), store: self.layout().store_dir() }
            }
            _ => StoreError::io("move into the store", incoming.tree, source),
        })?;
        if incoming.directories.is_empty() {
            return Ok(());
        }
        canonical::canonicalise_directory(&place)
    }
}

/// A finished tree, read, and the path that it will have.
pub struct Output<'t> {
    incoming: Incoming<'t>,
    info: PathInfo,
}

/// A tree whose content is known and whose files are canonical.
pub(crate) struct Incoming<'t> {
    pub tree: &'t Path,
    pub files: Vec<IngestedFile>,
    /// Innermost first; the tree itself, if it is a directory, last.
    pub directories: Vec<std::path::PathBuf>,
}

/// The plain hash of a file, and hash and size of its NAR, from one read.
fn hash_flat(path: &Path, len: u64) -> Result<(Sha256, Sha256, u64)> {
    let mut nar = Encoder::new(BufWriter::with_capacity(128 << 10, HashWriter::new(io::sink()))).at("hash", path)?;
    let mut flat = HashWriter::new(io::sink());
    let mut file = Tee { file: walk::open(path)?, flat: &mut flat };
    nar.regular(false, len, &mut file).at("read", path)?;
    let writer = nar.finish().into_inner().map_err(io::IntoInnerError::into_error).at("hash", path)?;
    let (_, nar_hash, nar_size) = writer.finish();
    Ok((flat.finish().1, nar_hash, nar_size))
}

struct Tee<'f> {
    file: std::fs::File,
    flat: &'f mut HashWriter<io::Sink>,
}

impl io::Read for Tee<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buffer)?;
        io::Write::write_all(self.flat, &buffer[..n])?;
        Ok(n)
    }
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    let mut open = vec![(from.to_path_buf(), to.to_path_buf(), 0)];
    while let Some((from, to, depth)) = open.pop() {
        if depth > MAX_DEPTH {
            return Err(StoreError::TooDeep { path: from, limit: MAX_DEPTH });
        }
        let meta = from.symlink_metadata().at("read", &from)?;
        if meta.is_file() {
            copy_file(&from, &to, &meta)?;
        } else if meta.is_symlink() {
            let target = std::fs::read_link(&from).at("read the link", &from)?;
            std::os::unix::fs::symlink(target, &to).at("create the link", &to)?;
        } else if meta.is_dir() {
            std::fs::create_dir(&to).at("create the directory", &to)?;
            let names = walk::sorted_names(&from)?;
            open.extend(names.into_iter().map(|name| (from.join(&name), to.join(name), depth + 1)));
        } else {
            return Err(walk::unsupported(&from, &meta));
        }
    }
    Ok(())
}

/// Bytes and the execute bit, nothing else.
fn copy_file(from: &Path, to: &Path, meta: &Metadata) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mode = if is_executable(meta) { 0o755 } else { 0o644 };
    let mut source = walk::open(from)?;
    let mut target =
        std::fs::File::options().write(true).create_new(true).mode(mode).open(to).at("create the file", to)?;
    io::copy(&mut source, &mut target).at("copy to", to).map(|_| ())
}
