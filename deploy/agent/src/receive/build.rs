//! The third pass: trees out of hard links, and the hash of each. It goes on beside the second and
//! waits for each file that is still to come.
//!
//! The build directory is private and names were checked when they were read: every directory on
//! the way to an entry is one that we made, so that paths cannot be led astray by links.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use cairn_formats::{ContentAddress, Sha256, StorePath, nar};
use cairn_protocol::manifest::{self, Item};
use cairn_protocol::wanted::Wanted;
use cairn_store::{PathInfo, Store, tree};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

use super::ReceiveError;
use super::arrived::Arrived;
use super::contents::{epoch, mode};
use super::spool::{Spool, Walk, no_path};

/// A tree that was checked and waits to be put in its place.
pub struct Tree {
    pub at: PathBuf,
    pub info: PathInfo,
}

pub fn build(
    store: &Store,
    dir: &Path,
    spool: &Spool,
    wanted: &Wanted,
    arrived: &Arrived,
    checked: &mut dyn FnMut(&StorePath),
) -> Result<Vec<Tree>, ReceiveError> {
    let links = store.links_dir();
    let mut trees = Vec::new();
    let mut mismatch = None;
    let mut walk = spool.walk();
    while let Some(step) = walk.next_step()? {
        let Item::Path(header) = step.item else { return Err(no_path()) };
        let at = dir.join(format!("tree-{}", trees.len()));
        let base = header.base.as_ref().map(|base| store.physical(base));
        one_tree(&links, &at, base, &mut walk, |content| match wanted.contains(content) {
            true => arrived.wait_for(content),
            false => Ok(()),
        })?;
        let (got, size) = tree::hash(&at)?;
        if got != header.nar_hash || size != header.nar_size {
            mismatch = Some((header, got));
            break;
        }
        check_flat(&header, &at)?;
        checked(&header.path);
        trees.push(Tree { at, info: info(*header) });
    }
    match mismatch {
        None => Ok(trees),
        Some((header, got)) => {
            let dropped = drop_damaged(&links, spool, &header.path)?;
            Err(ReceiveError::TreeMismatch { path: header.path, expected: header.nar_hash, got, dropped })
        }
    }
}

fn info(header: manifest::Header) -> PathInfo {
    PathInfo {
        path: header.path,
        nar_hash: header.nar_hash,
        nar_size: header.nar_size,
        references: header.references,
        ca: header.ca,
        registered: 0,
        deriver: None,
    }
}

/// Builds the tree whose root is the next item. `present` returns when a new content is there.
fn one_tree(
    links: &Path,
    root: &Path,
    base: Option<PathBuf>,
    walk: &mut Walk<'_>,
    present: impl Fn(u64) -> Result<(), ReceiveError>,
) -> Result<(), ReceiveError> {
    let mut at = root.to_owned();
    let mut base = base.unwrap_or_default();
    let mut depth = 0;
    while let Some(step) = walk.next_step()? {
        match step.item {
            Item::Path(_) => return Err(no_path()),
            Item::Directory { name } => {
                enter(&mut at, &mut base, &name);
                make_directory(&at)?;
                depth += 1;
            }
            Item::Leave => {
                depth -= 1;
                // The root stays writable until it has been moved, which changes its `..`.
                close_directory(&at, depth > 0)?;
                if depth > 0 {
                    at.pop();
                    base.pop();
                }
            }
            Item::File { name, file } => {
                step.content.map_or(Ok(()), &present)?;
                enter(&mut at, &mut base, &name);
                link(&links.join(file.link.nix32()), &at)?;
                leave(&mut at, &mut base, &name);
            }
            Item::Symlink { name, target } => {
                enter(&mut at, &mut base, &name);
                symlink(&target, &at)?;
                leave(&mut at, &mut base, &name);
            }
            Item::Same { name } => {
                enter(&mut at, &mut base, &name);
                link_tree(&base, &at, depth > 0)?;
                leave(&mut at, &mut base, &name);
            }
        }
        if depth == 0 {
            break;
        }
    }
    Ok(())
}

/// The root has no name and is where we are.
fn enter(at: &mut PathBuf, base: &mut PathBuf, name: &[u8]) {
    if !name.is_empty() {
        at.push(std::ffi::OsStr::from_bytes(name));
        base.push(std::ffi::OsStr::from_bytes(name));
    }
}

fn leave(at: &mut PathBuf, base: &mut PathBuf, name: &[u8]) {
    if !name.is_empty() {
        at.pop();
        base.pop();
    }
}

fn make_directory(at: &Path) -> Result<(), ReceiveError> {
    DirBuilder::new().mode(0o755).create(at).map_err(ReceiveError::file("create", at))
}

/// Gives a finished directory the mode and time of the store.
fn close_directory(at: &Path, read_only: bool) -> Result<(), ReceiveError> {
    let closed = File::open(at).and_then(|dir| {
        if read_only {
            dir.set_permissions(Permissions::from_mode(0o555))?;
        }
        dir.set_times(fs::FileTimes::new().set_modified(epoch()))
    });
    closed.map_err(ReceiveError::file("set the mode and time of", at))
}

fn symlink(target: &[u8], at: &Path) -> Result<(), ReceiveError> {
    let made = std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(target), at).and_then(|()| {
        let omit = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
        let times = Timestamps { last_access: omit, last_modification: Timespec { tv_sec: 1, tv_nsec: 0 } };
        Ok(rustix::fs::utimensat(CWD, at, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    });
    made.map_err(ReceiveError::file("create", at))
}

/// A second name for a file, or a copy where the file has as many names as the file system allows
/// (65,000 on ext4: empty files get there).
fn link(existing: &Path, at: &Path) -> Result<(), ReceiveError> {
    match fs::hard_link(existing, at) {
        Err(e) if e.kind() == io::ErrorKind::TooManyLinks => {
            copy(existing, at).map_err(ReceiveError::file("create", at))
        }
        other => other.map_err(ReceiveError::file("link", existing)),
    }
}

fn copy(existing: &Path, at: &Path) -> io::Result<()> {
    let mut from = File::open(existing)?;
    let executable = from.metadata()?.permissions().mode() & 0o100 != 0;
    let mut to = File::options().write(true).create_new(true).mode(mode(executable)).open(at)?;
    io::copy(&mut from, &mut to)?;
    to.set_times(fs::FileTimes::new().set_modified(epoch()))
}

/// The subtree of a base, by hard links.
fn link_tree(base: &Path, at: &Path, read_only: bool) -> Result<(), ReceiveError> {
    let kind = fs::symlink_metadata(base).map_err(ReceiveError::file("read", base))?.file_type();
    if kind.is_dir() { link_directory(base, at, read_only) } else { link(base, at) }
}

fn link_directory(base: &Path, at: &Path, read_only: bool) -> Result<(), ReceiveError> {
    make_directory(at)?;
    for entry in fs::read_dir(base).map_err(ReceiveError::file("list", base))? {
        let entry = entry.map_err(ReceiveError::file("list", base))?;
        let (from, to) = (entry.path(), at.join(entry.file_name()));
        let kind = entry.file_type().map_err(ReceiveError::file("read", &from))?;
        if kind.is_dir() { link_directory(&from, &to, true)? } else { link(&from, &to)? }
    }
    close_directory(at, read_only)
}

/// A flat address is over the bytes of one plain file. The NAR hash has vouched for the bytes but
/// not for this.
fn check_flat(header: &manifest::Header, at: &Path) -> Result<(), ReceiveError> {
    let Some(ContentAddress::Flat(expected)) = header.ca else { return Ok(()) };
    let reading = ReceiveError::file("read", at);
    let meta = fs::symlink_metadata(at).map_err(ReceiveError::file("read", at))?;
    if !meta.is_file() || meta.permissions().mode() & 0o111 != 0 {
        let reason = "a flat content address belongs to a plain file that is not executable".to_owned();
        return Err(ReceiveError::Refused { path: header.path.clone(), reason });
    }
    let mut writer = cairn_formats::HashWriter::new(io::sink());
    File::open(at).and_then(|mut file| io::copy(&mut file, &mut writer)).map_err(reading)?;
    let (_, got, _) = writer.finish();
    if got == expected {
        return Ok(());
    }
    Err(ReceiveError::FileMismatch { path: header.path.clone(), expected, got })
}

/// Removes the links that a path uses and whose bytes are not what their name says, so that the
/// next attempt asks for them. Files of valid paths keep their bytes: only the link goes.
fn drop_damaged(links: &Path, spool: &Spool, path: &StorePath) -> Result<u64, ReceiveError> {
    let (mut inside, mut dropped) = (false, 0);
    let mut walk = spool.walk();
    while let Some(step) = walk.next_step()? {
        match step.item {
            Item::Path(header) => inside = header.path == *path,
            Item::File { file, .. } if inside => {
                let link = links.join(file.link.nix32());
                if hash_file(&link).is_ok_and(|hash| hash != file.link) && fs::remove_file(&link).is_ok() {
                    dropped += 1;
                }
            }
            _ => {}
        }
    }
    Ok(dropped)
}

fn hash_file(file: &Path) -> io::Result<Sha256> {
    let mut file = File::open(file)?;
    let meta = file.metadata()?;
    nar::file_hash(meta.permissions().mode() & 0o100 != 0, meta.len(), &mut file)
}
