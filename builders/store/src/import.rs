//! Importing: paths that another store announced, with trees received from it.
//!
//! Nothing is believed. Each tree is hashed, the hash must be the announced one, and the announced
//! path must follow from the content and the references, so no signature is needed. A batch of
//! paths costs one flush and one transaction.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cairn_formats::{ContentAddress, Sha256, StoreName};

use crate::add::Incoming;
use crate::error::{At as _, Result, StoreError};
use crate::info::PathInfo;
use crate::ingest::ingest;
use crate::links::Links;
use crate::lock::PathLock;
use crate::remove::remove_tree;
use crate::store::Store;

/// Paths in one transaction. Each holds a lock file open, and a process may hold 1,024.
const BATCH: usize = 256;

impl Store {
    /// Adds trees from a [`Store::build_dir`], each to be what its row says, references before
    /// referrers. What is valid already is discarded. On a fault the paths of earlier batches
    /// stay, and nothing of the faulty batch becomes valid.
    pub fn import(&self, trees: Vec<(PathBuf, PathInfo)>) -> Result<()> {
        self.add_temp_roots(trees.iter().map(|(_, info)| &info.path))?;
        for batch in trees.chunks(BATCH) {
            self.import_batch(batch)?;
        }
        Ok(())
    }

    fn import_batch(&self, batch: &[(PathBuf, PathInfo)]) -> Result<()> {
        let size: u64 = batch.iter().map(|(_, info)| info.nar_size).sum();
        let mut arrived = Vec::with_capacity(batch.len());
        for (tree, info) in batch {
            arrived.push(check(tree, info)?);
        }
        // Every importer takes its locks in the order of the names, so that two of them with
        // common paths cannot wait for each other.
        arrived.sort_by(|a, b| a.info.path.cmp(&b.info.path));
        let mut locked: Vec<(&Arrived<'_>, PathLock)> = Vec::with_capacity(arrived.len());
        for one in &arrived {
            let lock = self.lock_path(&one.info.path)?;
            if self.present(&one.info.path)?.is_some() {
                remove_tree(one.incoming.tree)?;
            } else {
                locked.push((one, lock));
            }
        }
        let place = || {
            let mut fresh = Vec::with_capacity(locked.len());
            for (one, lock) in &locked {
                fresh.push((one, lock, self.share(&one.incoming)?));
            }
            self.flush_data()?;
            for (one, lock, new) in &fresh {
                self.put_in_place(&one.incoming, new, &one.info.path, lock)?;
            }
            self.flush_names()?;
            let infos: Vec<PathInfo> = locked.iter().map(|(one, _)| one.info.clone()).collect();
            self.register_placed(&infos)
        };
        place().map_err(|e: StoreError| e.needing(size))
    }

    /// Takes received files into `.links`, so that an interrupted copy need not fetch them again.
    /// Each hash is that of the file's own NAR and is checked. The files stay where they are, which
    /// keeps a collector from taking the links: link the trees to them, then drop the build directory.
    pub fn add_links(&self, files: &[(PathBuf, Sha256)]) -> Result<()> {
        let mut checked = Vec::with_capacity(files.len());
        for (path, hash) in files {
            let mut found = ingest(path, &BTreeSet::new())?;
            match found.files.pop() {
                Some(file) if found.directories.is_empty() && file.hash == *hash => checked.push(file),
                Some(file) if found.directories.is_empty() => {
                    return Err(StoreError::FileMismatch { path: path.clone(), expected: *hash, found: file.hash });
                }
                _ => return Err(StoreError::NotAFile { path: path.clone() }),
            }
        }
        self.flush_data()?;
        for file in &checked {
            Links::for_tree(self.layout(), &file.path).offer(&file.path, &file.hash, file.len)?;
        }
        Ok(())
    }
}

struct Arrived<'b> {
    incoming: Incoming<'b>,
    info: PathInfo,
}

fn check<'b>(tree: &'b Path, info: &PathInfo) -> Result<Arrived<'b>> {
    let found = ingest(tree, &BTreeSet::new())?;
    let path = || info.path.clone();
    if found.nar_hash != info.nar_hash {
        return Err(StoreError::HashMismatch { path: path(), expected: info.nar_hash, found: found.nar_hash });
    }
    let name = StoreName::parse(info.path.name()).map_err(|source| StoreError::BadRow {
        path: info.path.absolute(),
        column: "path",
        source,
    })?;
    let ca = match info.ca.ok_or_else(|| StoreError::NoContentAddress { path: path() })? {
        ContentAddress::Recursive(_) => ContentAddress::Recursive(found.nar_hash),
        // The NAR hash has vouched for the bytes; the flat hash is of the same bytes, and cheap
        // beside their way here.
        ContentAddress::Flat(_) => ContentAddress::Flat(flat_hash(tree)?),
    };
    let computed = ca.store_path(&name, &info.references);
    if computed != info.path {
        return Err(StoreError::AddressMismatch { announced: path(), computed });
    }
    let info = PathInfo { nar_size: found.nar_size, ca: Some(ca), ..info.clone() };
    Ok(Arrived { incoming: Incoming { tree, files: found.files, directories: found.directories }, info })
}

fn flat_hash(file: &Path) -> Result<Sha256> {
    if !file.symlink_metadata().at("read", file)?.is_file() {
        return Err(StoreError::NotAFile { path: file.to_path_buf() });
    }
    let mut hash = cairn_formats::HashWriter::new(std::io::sink());
    let mut source = crate::walk::open(file)?;
    std::io::copy(&mut source, &mut hash).at("read", file)?;
    Ok(hash.finish().1)
}
