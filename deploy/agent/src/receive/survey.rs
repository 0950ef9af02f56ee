//! The first pass: is what is announced acceptable, and what does the store lack of it?

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use cairn_formats::{ContentAddress, StoreName, StorePath};
use cairn_protocol::manifest::{self, Item};
use cairn_protocol::wanted::Wanted;
use cairn_store::Store;

use super::begun::Begun;
use super::spool::{Spool, current};
use super::{ReceiveError, error};
use crate::paths::Paths;

pub struct Survey {
    pub wanted: Wanted,
    /// What is there of one of them.
    pub begun: Option<Begun>,
    /// Bytes on disk of what is wanted and of the trees.
    bytes: u64,
    inodes: u64,
}

/// The unit in which most file systems give space to a file.
const BLOCK: u64 = 4096;
/// For the database and its log.
const SLACK: u64 = 1 << 20;

pub fn survey(store: &Store, spool: &Spool) -> Result<Survey, ReceiveError> {
    let links = store.links_dir();
    let begun = Begun::find(&Paths::new(store.root()));
    let mut survey = Survey { wanted: Wanted::default(), begun, bytes: SLACK, inodes: 0 };
    let mut announced = HashSet::new();
    let mut references = HashSet::new();
    let (mut path, mut left) = (None, 0);
    let mut walk = spool.walk();
    while let Some(step) = walk.next_step()? {
        match step.item {
            Item::Path(header) => {
                check_address(&header)?;
                check_base(store, &header)?;
                store.add_temp_root(&header.path)?;
                left = header.nar_size;
                if !announced.insert(header.path.clone()) {
                    return Err(refused(&header.path, "it is announced twice"));
                }
                path = Some(header.path.clone());
                references.extend(header.references.into_iter().map(|reference| (reference, header.path.clone())));
            }
            Item::File { file, .. } => {
                let path = current(path.as_ref())?;
                let fits = left.checked_sub(file.size);
                left = fits.ok_or_else(|| refused(path, "its files are larger than its announced size"))?;
                if step.content.is_some() {
                    let lacks = !is_whole(&links.join(file.link.nix32()), file.size);
                    match survey.begun.as_ref().filter(|begun| lacks && begun.starts(&file)) {
                        Some(begun) => survey.wanted.push_begun(begun.bytes),
                        None => survey.wanted.push(lacks),
                    }
                    if lacks {
                        survey.bytes = survey.bytes.saturating_add(file.size.next_multiple_of(BLOCK));
                        survey.inodes += 1;
                    }
                }
            }
            Item::Directory { .. } => {
                survey.bytes = survey.bytes.saturating_add(BLOCK);
                survey.inodes += 1;
            }
            Item::Symlink { .. } => survey.inodes += 1,
            // Holds at least one directory or file; how many is known when it is built.
            Item::Same { .. } => survey.inodes += 1,
            Item::Leave => {}
        }
    }
    let mut gone: Vec<StorePath> = Vec::new();
    for (reference, _) in references {
        if !announced.contains(&reference) && !store.is_valid(&reference)? {
            gone.push(reference);
        }
    }
    gone.sort();
    gone.dedup();
    if gone.is_empty() { Ok(survey) } else { Err(ReceiveError::Gone { paths: gone }) }
}

/// Whether the link is there with its full length: a crash may have cut it short.
fn is_whole(link: &Path, size: u64) -> bool {
    fs::symlink_metadata(link).is_ok_and(|meta| meta.is_file() && meta.len() == size)
}

/// The name must follow from the announced hash; that the tree has this hash is checked when it is
/// built.
fn check_address(header: &manifest::Header) -> Result<(), ReceiveError> {
    let path = &header.path;
    let name = StoreName::parse(path.name()).map_err(|e| refused(path, &e.to_string()))?;
    let ca = header.ca.ok_or_else(|| {
        refused(path, "it is announced without a content address, and nothing else vouches for it here")
    })?;
    match ca {
        ContentAddress::Recursive(hash) if hash != header.nar_hash => {
            return Err(refused(path, "its content address is not its NAR hash"));
        }
        ContentAddress::Flat(_) if !header.references.is_empty() => {
            return Err(refused(path, "a flat file has no references"));
        }
        ContentAddress::Recursive(_) | ContentAddress::Flat(_) => {}
    }
    let computed = ca.store_path(&name, &header.references);
    if computed != *path {
        return Err(ReceiveError::Address { path: path.clone(), announced: header.nar_hash, computed });
    }
    Ok(())
}

fn check_base(store: &Store, header: &manifest::Header) -> Result<(), ReceiveError> {
    let Some(base) = &header.base else { return Ok(()) };
    store.add_temp_root(base)?;
    if store.is_valid(base)? { Ok(()) } else { Err(ReceiveError::Gone { paths: vec![base.clone()] }) }
}

fn refused(path: &StorePath, reason: &str) -> ReceiveError {
    ReceiveError::Refused { path: path.clone(), reason: reason.to_owned() }
}

/// Bytes and inodes that may be used on the file system of `dir`; no limit where it does not count.
fn free(dir: &Path) -> (u64, u64) {
    rustix::fs::statvfs(dir).map_or((u64::MAX, u64::MAX), |fs| {
        let inodes = if fs.f_files == 0 { u64::MAX } else { fs.f_favail };
        (fs.f_bavail.saturating_mul(fs.f_frsize), inodes)
    })
}

/// Bytes that may be used on the file system of `dir`.
pub fn free_bytes(dir: &Path) -> u64 {
    free(dir).0
}

impl Survey {
    /// Fails before anything is written if it cannot fit.
    pub fn check_space(&self, dir: &Path) -> Result<(), ReceiveError> {
        let (bytes, inodes) = free(dir);
        if self.bytes > bytes {
            let directory = dir.to_owned();
            return Err(ReceiveError::NoSpace { needed: self.bytes, free: bytes, directory, during: None });
        }
        if self.inodes > inodes {
            return Err(ReceiveError::NoInodes { needed: self.inodes, free: inodes, directory: dir.to_owned() });
        }
        Ok(())
    }

    /// For a disk that filled up all the same.
    pub fn no_space(&self, dir: &Path, error: &error::ReceiveError) -> ReceiveError {
        let during = Some(error.to_string());
        ReceiveError::NoSpace { needed: self.bytes, free: free(dir).0, directory: dir.to_owned(), during }
    }
}
