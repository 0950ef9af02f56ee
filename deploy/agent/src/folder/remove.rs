//! Removes a folder with all that is in it, while its owner may still work in it.
//!
//! - Each folder is taken from its owner (root's, mode 0700) before it is listed. From then on nothing
//!   is added to it, also not through a descriptor that the owner holds.
//! - What lies deeper is renamed into the top first, so neither the depth of the tree nor the length
//!   of its paths counts.

use rustix::fs::RenameFlags;

use super::*;

/// Names that are tried for the folders that are brought up: a bound on the folders of a tree.
const MOST: usize = 10_000_000;

/// Removes the folder `name` of `parent`; that there is nothing is fine.
pub(super) fn folder(parent: &OwnedFd, name: &str) -> io::Result<()> {
    let mut raised = 0_usize;
    for _ in 0..TRIES {
        match at::openat(parent, name, DIRECTORY, Mode::empty()) {
            Ok(top) => empty(&top, &mut raised)?,
            Err(Errno::NOENT) => return Ok(()),
            Err(Errno::NOTDIR | Errno::LOOP) => unlink(parent, name.as_bytes())?,
            Err(errno) => return Err(errno.into()),
        }
        // The owner of the parent may have put another thing in its place.
        match at::unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(io::Error::other("its owner puts something else in its place again and again"))
}

/// Removes all that is in a folder. `raised` counts the names that were tried.
fn empty(top: &OwnedFd, raised: &mut usize) -> io::Result<()> {
    seize(top)?;
    loop {
        let children = list(top)?;
        if children.is_empty() {
            return Ok(());
        }
        for (child, is_folder) in children {
            if !is_folder {
                unlink(top, &child)?;
                continue;
            }
            let inner = match at::openat(top, child.as_slice(), DIRECTORY, Mode::empty()) {
                Ok(inner) => inner,
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(errno.into()),
            };
            seize(&inner)?;
            for (grandchild, is_folder) in list(&inner)? {
                match is_folder {
                    true => raise(&inner, &grandchild, top, raised)?,
                    false => unlink(&inner, &grandchild)?,
                }
            }
            match at::unlinkat(top, child.as_slice(), AtFlags::REMOVEDIR) {
                // It held more than one list has.
                Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// Takes a folder from its owner. A process that is not root's removes folders of its own user alone.
fn seize(folder: &OwnedFd) -> io::Result<()> {
    if rustix::process::geteuid().is_root() {
        at::fchown(folder, Some(Uid::ROOT), Some(Gid::ROOT))?;
    }
    Ok(at::fchmod(folder, Mode::RWXU)?)
}

/// Renames a folder into the top, to a name that nothing there has.
fn raise(from: &OwnedFd, name: &[u8], top: &OwnedFd, raised: &mut usize) -> io::Result<()> {
    loop {
        *raised += 1;
        if *raised > MOST {
            return Err(io::Error::other(format!("more than {MOST} folders are in it")));
        }
        match at::renameat_with(from, name, top, format!(".removed-{raised}"), RenameFlags::NOREPLACE) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            // The owner had that name first.
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn unlink(folder: &OwnedFd, name: &[u8]) -> io::Result<()> {
    match at::unlinkat(folder, name, AtFlags::empty()) {
        // Replaced by a folder meanwhile: the next round removes it.
        Ok(()) | Err(Errno::NOENT | Errno::ISDIR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Some of the names, and which of them are folders.
fn list(folder: &OwnedFd) -> io::Result<Vec<(Vec<u8>, bool)>> {
    let opened = at::openat(folder, ".", DIRECTORY, Mode::empty())?;
    let mut buffer = Vec::with_capacity(32 << 10);
    let mut entries = RawDir::new(&opened, buffer.spare_capacity_mut());
    let mut found = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            let is_folder = match entry.file_type() {
                FileType::Unknown => {
                    let stat = at::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
                    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
                }
                known => known == FileType::Directory,
            };
            found.push((name.to_vec(), is_folder));
        }
        if found.len() >= MOST_NAMES {
            break;
        }
    }
    Ok(found)
}
