//! The one form in which nodes lie in the store, so that nothing but content tells them apart.
//!
//! Files 0444 or 0555, directories 0555, everything dated one second past the epoch, owned by
//! whoever owns the store, without extended attributes: what Nix makes of a path, and checks.

use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT};

use crate::error::{At as _, Result, StoreError};
use crate::walk::{self, MAX_DEPTH, is_executable};

/// Seconds since the epoch; 0 is what some programs take for "no time".
const MTIME: i64 = 1;

/// Attributes that the kernel's policy sets, or that a file server makes up: they cannot be
/// removed, and Nix leaves them too.
const KEPT_ATTRIBUTES: [&[u8]; 2] = [b"security.selinux", b"system.nfs4_acl"];

/// Brings one node into the store's form. `meta` is its state before.
pub(crate) fn canonicalise_node(path: &Path, meta: &Metadata) -> Result<()> {
    strip_attributes(path)?;
    if meta.uid() != rustix::process::geteuid().as_raw() {
        std::os::unix::fs::lchown(
            path,
            Some(rustix::process::geteuid().as_raw()),
            Some(rustix::process::getegid().as_raw()),
        )
        .at("take the ownership of", path)?;
    }
    if !meta.is_symlink() {
        let mode = if meta.is_dir() || is_executable(meta) { 0o555 } else { 0o444 };
        if meta.mode() & 0o7777 != mode {
            set_mode(path, mode)?;
        }
    }
    if (meta.mtime(), meta.mtime_nsec()) == (MTIME, 0) {
        return Ok(());
    }
    set_time(path)
}

/// Brings a tree into the store's form, the innermost nodes first.
pub(crate) fn canonicalise_tree(path: &Path) -> Result<()> {
    let mut directories = Vec::new();
    let mut open = vec![(path.to_path_buf(), 0)];
    while let Some((path, depth)) = open.pop() {
        if depth > MAX_DEPTH {
            return Err(StoreError::TooDeep { path, limit: MAX_DEPTH });
        }
        let meta = path.symlink_metadata().at("read", &path)?;
        if meta.is_dir() {
            open_up(&path, &meta)?;
            open.extend(walk::sorted_names(&path)?.into_iter().map(|name| (path.join(name), depth + 1)));
            directories.push(path);
        } else if meta.is_file() || meta.is_symlink() {
            canonicalise_node(&path, &meta)?;
        } else {
            return Err(walk::unsupported(&path, &meta));
        }
    }
    // Each was found before those in it.
    directories.iter().rev().try_for_each(|directory| canonicalise_directory(directory))
}

/// For a directory whose mode may have changed since it was last looked at.
pub(crate) fn canonicalise_directory(path: &Path) -> Result<()> {
    canonicalise_node(path, &path.symlink_metadata().at("read", path)?)
}

/// Lets the owner read, and for a directory change, what a build left closed.
pub(crate) fn open_up(path: &Path, meta: &Metadata) -> Result<()> {
    let wanted = if meta.is_dir() { 0o700 } else { 0o400 };
    if meta.is_symlink() || meta.mode() & wanted == wanted {
        return Ok(());
    }
    set_mode(path, meta.mode() & 0o777 | wanted)
}

pub(crate) fn set_mode(path: &Path, mode: u32) -> Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).at("change the mode of", path)
}

fn set_time(path: &Path) -> Result<()> {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: MTIME, tv_nsec: 0 },
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).at("set the time of", path)
}

fn strip_attributes(path: &Path) -> Result<()> {
    let len = match rustix::fs::llistxattr_query(path) {
        Ok(0) | Err(rustix::io::Errno::NOTSUP) => return Ok(()),
        other => other.at("list the attributes of", path)?,
    };
    let mut names = vec![0u8; len];
    let len = rustix::fs::llistxattr(path, &mut names[..]).at("list the attributes of", path)?;
    for name in names[..len].split(|b| *b == 0).filter(|name| !name.is_empty() && !KEPT_ATTRIBUTES.contains(name)) {
        rustix::fs::lremovexattr(path, name).at("remove an attribute of", path)?;
    }
    Ok(())
}
