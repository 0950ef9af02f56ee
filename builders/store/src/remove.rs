//! Deleting trees whose directories are read-only, of any depth.
//!
//! A build step may leave a tree whose paths are longer than any that a system call takes, or with
//! more levels than there are descriptors. So each directory is opened from the one above it, and
//! only a few levels are open at once: a directory further down is moved up to the top first. The
//! common tree is less deep than that, and nothing of it is moved.

use std::ffi::CStr;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::canonical;
use crate::error::{At as _, Result};

/// Levels below the top that are open at once, with a descriptor each. Several threads remove trees
/// at the same time, and 1024 descriptors is what a process usually may have.
const OPEN_LEVELS: usize = 32;

const OPEN: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Removes a file or tree if it is there. Gives the bytes on disk that had no other name.
pub(crate) fn remove_tree(path: &Path) -> Result<u64> {
    let meta = match path.symlink_metadata() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other.at("read", path)?,
    };
    if !meta.is_dir() {
        std::fs::remove_file(path).at("remove", path)?;
        return Ok(if meta.nlink() == 1 { meta.blocks() * 512 } else { 0 });
    }
    canonical::open_up(path, &meta)?;
    let top = rustix::fs::open(path, OPEN, Mode::empty()).at("open", path)?;
    let mut removal = Removal { top: &top, path: path.to_owned(), freed: meta.blocks() * 512, moved: 0 };
    loop {
        let moved = removal.moved;
        let again = rustix::fs::openat(&top, c".", OPEN, Mode::empty()).at("open", path)?;
        removal.empty(again, 0)?;
        if removal.moved == moved {
            break;
        }
    }
    std::fs::remove_dir(path).at("remove", path)?;
    Ok(removal.freed)
}

struct Removal<'t> {
    top: &'t OwnedFd,
    /// Where the removal is, for messages.
    path: PathBuf,
    freed: u64,
    /// Directories that were moved to the top so far.
    moved: u64,
}

impl Removal<'_> {
    /// Removes what is in a directory, `depth` levels below the top.
    fn empty(&mut self, dir: OwnedFd, depth: usize) -> Result<()> {
        let mut entries = Dir::new(dir).at("list", &self.path)?;
        while let Some(entry) = entries.read() {
            let entry = entry.at("list", &self.path)?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            self.path.push(std::ffi::OsStr::from_bytes(name.to_bytes()));
            self.remove(entries.fd().at("list", &self.path)?, name, depth)?;
            self.path.pop();
        }
        Ok(())
    }

    fn remove(&mut self, dir: BorrowedFd, name: &CStr, depth: usize) -> Result<()> {
        let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).at("read", &self.path)?;
        let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if !is_dir {
            rustix::fs::unlinkat(dir, name, AtFlags::empty()).at("remove", &self.path)?;
            if stat.st_nlink == 1 {
                self.freed += bytes(&stat);
            }
            return Ok(());
        }
        // A directory is also written to when it moves: its `..` changes.
        let mode = Mode::from_raw_mode(stat.st_mode);
        if !mode.contains(Mode::RWXU) {
            rustix::fs::chmodat(dir, name, mode | Mode::RWXU, AtFlags::empty()).at("change the mode of", &self.path)?;
        }
        if depth == OPEN_LEVELS {
            return self.move_up(dir, name);
        }
        let inner = rustix::fs::openat(dir, name, OPEN, Mode::empty()).at("open", &self.path)?;
        self.empty(inner, depth + 1)?;
        rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR).at("remove", &self.path)?;
        self.freed += bytes(&stat);
        Ok(())
    }

    /// Leaves a directory to the next round. Its new name may be taken by the tree itself.
    fn move_up(&mut self, dir: BorrowedFd, name: &CStr) -> Result<()> {
        loop {
            self.moved += 1;
            match rustix::fs::renameat(dir, name, self.top, format!(".removing-{}", self.moved)) {
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
                moved => return moved.at("move", &self.path),
            }
        }
    }
}

#[allow(clippy::unnecessary_cast, reason = "the type differs between processors")]
fn bytes(stat: &Stat) -> u64 {
    stat.st_blocks as u64 * 512
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// Nested folders by descriptor, as a step makes them by `chdir`.
    fn nest(at: &Path, name: &str, levels: usize) {
        let mut dir = rustix::fs::open(at, OPEN, Mode::empty()).unwrap();
        for _ in 0..levels {
            rustix::fs::mkdirat(&dir, name, Mode::RWXU).unwrap();
            dir = rustix::fs::openat(&dir, name, OPEN, Mode::empty()).unwrap();
        }
        rustix::fs::openat(&dir, "file", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
    }

    #[test]
    fn a_tree_deeper_than_any_path_or_stack_is_removed() {
        let scratch = tempfile::tempdir().unwrap();
        let tree = scratch.path().join("tree");
        fs::create_dir(&tree).unwrap();
        nest(&tree, "d", 100_000);
        // In a thread: its stack is smaller than the one of a program.
        let removed = std::thread::Builder::new().stack_size(256 << 10).spawn({
            let tree = tree.clone();
            move || remove_tree(&tree)
        });
        let freed = removed.unwrap().join().unwrap().unwrap();
        assert!(freed > 0);
        assert!(!tree.exists());
    }

    #[test]
    fn long_names_closed_folders_and_taken_names_are_no_obstacle() {
        let scratch = tempfile::tempdir().unwrap();
        let tree = scratch.path().join("tree");
        fs::create_dir(&tree).unwrap();
        nest(&tree, &"n".repeat(200), 600);
        nest(&tree, "b", OPEN_LEVELS);
        // What a moved folder would be called: a full folder, a file, an empty folder.
        fs::create_dir_all(tree.join(".removing-1/full")).unwrap();
        fs::write(tree.join(".removing-2"), "").unwrap();
        fs::create_dir(tree.join(".removing-3")).unwrap();
        let outside = scratch.path().join("outside");
        fs::write(&outside, "kept").unwrap();
        std::os::unix::fs::symlink(&outside, tree.join("link")).unwrap();
        fs::hard_link(&outside, tree.join("hard")).unwrap();
        fs::create_dir_all(tree.join("closed/inner")).unwrap();
        fs::set_permissions(tree.join("closed"), fs::Permissions::from_mode(0o000)).unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
        assert_eq!(fs::read_to_string(outside).unwrap(), "kept");
        assert_eq!(remove_tree(&tree).unwrap(), 0);
    }
}
