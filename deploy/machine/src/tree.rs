//! A machine's own files, as this computer sees them: the only way in which this crate touches them.
//!
//! Root in the machine decides what lies there and can exchange it at any moment: a folder for a link
//! that leads out of the tree, a file for a pipe that blocks its reader or for a device of this
//! computer. So every path is opened by `openat2(2)`, which refuses links in every part of it, and a
//! file is opened twice: once as a mere name (`O_PATH`), to see that it is a regular file, and then
//! that very file.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error::at;
use crate::{MachineError, Result};

pub(crate) struct Tree {
    root: OwnedFd,
    path: PathBuf,
}

impl Tree {
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| at("open", path)(errno.into()))?;
        Ok(Self { root, path: path.to_owned() })
    }

    /// Writes over a regular file that is there. It stays the same file: services have it mounted.
    pub fn overwrite(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let file = self.resolve(name, OFlags::PATH | OFlags::NOFOLLOW)?;
        let stat = rustix::fs::fstat(&file).map_err(self.failed("look at", name))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(MachineError::Foreign { path: self.path.join(name), found: "is not a regular file" });
        }
        // The file that was looked at, whatever has taken its name by now. A lease that a process of the
        // machine holds on it must not keep this one waiting: hence NONBLOCK.
        let same = format!("/proc/self/fd/{}", file.as_raw_fd());
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::open(same, flags, Mode::empty()).map_err(self.failed("open", name))?;
        write_over(File::from(file), bytes).map_err(at("write", &self.path.join(name)))
    }

    /// Makes a file afresh: what was there is removed first.
    pub fn create(&self, name: &str, bytes: &[u8], mode: u32) -> Result<()> {
        let (folder, last) = self.parent(name)?;
        self.unlink(&folder, last, name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&folder, last, flags, Mode::from_raw_mode(mode));
        let mut file = File::from(file.map_err(self.failed("create", name))?);
        file.write_all(bytes).map_err(at("write", &self.path.join(name)))
    }

    /// Makes a symbolic link in place of what was there.
    pub fn link(&self, name: &str, target: &str) -> Result<()> {
        let (folder, last) = self.parent(name)?;
        self.unlink(&folder, last, name)?;
        rustix::fs::symlinkat(target, &folder, last).map_err(self.failed("create", name))
    }

    /// Makes a folder, unless there is one.
    pub fn create_dir(&self, name: &str, mode: u32) -> Result<()> {
        let (folder, last) = self.parent(name)?;
        match rustix::fs::mkdirat(&folder, last, Mode::from_raw_mode(mode)) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => self.folder(name).map(drop),
            Err(errno) => Err(self.failed("create", name)(errno)),
        }
    }

    /// Removes a file or link, if there is one.
    pub fn remove(&self, name: &str) -> Result<()> {
        let (folder, last) = self.parent(name)?;
        self.unlink(&folder, last, name)
    }

    /// The names in a folder, in no order.
    pub fn names(&self, name: &str) -> Result<Vec<OsString>> {
        let folder = self.resolve(name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK)?;
        let mut names = Vec::new();
        for entry in Dir::new(folder).map_err(self.failed("list", name))? {
            let entry = entry.map_err(self.failed("list", name))?;
            names.push(OsString::from_vec(entry.file_name().to_bytes().to_vec()));
        }
        Ok(names)
    }

    fn folder(&self, name: &str) -> Result<OwnedFd> {
        self.resolve(name, OFlags::PATH | OFlags::DIRECTORY)
    }

    /// The folder that an entry is in, and the entry's name in there.
    fn parent<'n>(&self, name: &'n str) -> Result<(OwnedFd, &'n str)> {
        let (folder, last) = name.rsplit_once('/').unwrap_or((".", name));
        Ok((self.folder(folder)?, last))
    }

    fn resolve(&self, name: &str, flags: OFlags) -> Result<OwnedFd> {
        let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
        rustix::fs::openat2(&self.root, name, flags | OFlags::CLOEXEC, Mode::empty(), how)
            .map_err(self.failed("open", name))
    }

    fn unlink(&self, folder: &OwnedFd, last: &str, name: &str) -> Result<()> {
        match rustix::fs::unlinkat(folder, last, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.failed("remove", name)(errno)),
        }
    }

    fn failed(&self, action: &'static str, name: &str) -> impl FnOnce(Errno) -> MachineError {
        let path = self.path.join(name);
        move |errno| match errno {
            Errno::LOOP => MachineError::Foreign { path, found: "is, or leads through, a symbolic link" },
            errno => at(action, &path)(errno.into()),
        }
    }
}

/// Leaves a file alone that has these bytes already: a write would wake what watches it.
fn write_over(mut file: File, bytes: &[u8]) -> io::Result<()> {
    let length = bytes.len() as u64;
    if file.metadata()?.len() == length {
        let mut now = Vec::new();
        (&file).take(length).read_to_end(&mut now)?;
        if now == bytes {
            return Ok(());
        }
        io::Seek::rewind(&mut file)?;
    }
    file.write_all(bytes)?;
    file.set_len(length)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};

    use super::*;

    /// A machine's tree, and beside it a folder as this computer's /etc that must stay as it is.
    struct Bed {
        dir: tempfile::TempDir,
        tree: Tree,
    }

    impl Bed {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            for folder in ["root/etc/ssh", "outside/ssh"] {
                fs::create_dir_all(dir.path().join(folder)).unwrap();
            }
            for file in ["root/etc/hosts", "outside/hosts", "outside/ssh/key"] {
                fs::write(dir.path().join(file), file).unwrap();
            }
            let tree = Tree::open(&dir.path().join("root")).unwrap();
            Self { dir, tree }
        }

        fn at(&self, path: &str) -> PathBuf {
            self.dir.path().join(path)
        }

        /// Puts a link in place of what the machine has there.
        fn link(&self, path: &str, target: &Path) {
            let path = self.at("root").join(path);
            if path.is_dir() {
                fs::remove_dir_all(&path).unwrap();
            } else {
                fs::remove_file(&path).unwrap();
            }
            symlink(target, path).unwrap();
        }

        fn outside_is_untouched(&self) {
            for file in ["outside/hosts", "outside/ssh/key"] {
                assert_eq!(fs::read_to_string(self.at(file)).unwrap(), file);
            }
            assert_eq!(fs::read_dir(self.at("outside")).unwrap().count(), 2);
            assert_eq!(fs::read_dir(self.at("outside/ssh")).unwrap().count(), 1);
        }
    }

    #[test]
    fn a_file_is_written_over_and_stays_the_same_one() {
        let bed = Bed::new();
        let path = bed.at("root/etc/hosts");
        let before = fs::metadata(&path).unwrap();
        for text in ["longer than it was before", "short", "short", ""] {
            bed.tree.overwrite("etc/hosts", text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(fs::metadata(&path).unwrap().ino(), before.ino());
    }

    #[test]
    fn files_links_and_folders_are_made_in_place_of_what_was_there() {
        let bed = Bed::new();
        bed.link("etc/hosts", &bed.at("outside/hosts"));
        bed.tree.create("etc/hosts", b"new", 0o600).unwrap();
        let made = fs::symlink_metadata(bed.at("root/etc/hosts")).unwrap();
        assert_eq!((made.is_file(), made.permissions().mode() & 0o777), (true, 0o600));
        bed.tree.link("etc/hosts", "/dev/null").unwrap();
        assert_eq!(fs::read_link(bed.at("root/etc/hosts")).unwrap(), Path::new("/dev/null"));
        for _ in 0..2 {
            bed.tree.create_dir("etc/x", 0o700).unwrap();
        }
        assert_eq!(bed.tree.names("etc").unwrap().len(), 5, "with . and ..");
        bed.tree.remove("etc/hosts").unwrap();
        bed.tree.remove("etc/hosts").unwrap();
        assert!(!bed.at("root/etc/hosts").exists());
        bed.outside_is_untouched();
    }

    /// Each way in, through a folder that the machine made a link: absolute, relative, and one that
    /// stays within the tree, which may be exchanged a moment later.
    #[test]
    fn no_link_of_the_machine_is_followed() {
        for target in ["ABSOLUTE", "../outside", "usr"] {
            let bed = Bed::new();
            fs::create_dir_all(bed.at("root/usr/ssh")).unwrap();
            fs::write(bed.at("root/usr/hosts"), "within").unwrap();
            let target = if target == "ABSOLUTE" { bed.at("outside") } else { PathBuf::from(target) };
            bed.link("etc", &target);
            let tree = &bed.tree;
            let results = [
                tree.overwrite("etc/hosts", b"x"),
                tree.create("etc/hosts", b"x", 0o644),
                tree.create("etc/ssh/key", b"x", 0o644),
                tree.link("etc/ssh/key", "/dev/null"),
                tree.create_dir("etc", 0o700),
                tree.create_dir("etc/new", 0o700),
                tree.remove("etc/ssh/key"),
                tree.names("etc/ssh").map(drop),
            ];
            for (number, result) in results.into_iter().enumerate() {
                let error = result.unwrap_err();
                assert!(matches!(error, MachineError::Foreign { .. } | MachineError::Io { .. }), "{number}: {error}");
            }
            let error = bed.tree.overwrite("etc/hosts", b"x").unwrap_err().to_string();
            assert!(error.contains("root/etc/hosts is, or leads through, a symbolic link"), "{error}");
            assert_eq!(fs::read_to_string(bed.at("root/usr/hosts")).unwrap(), "within");
            bed.outside_is_untouched();
        }
    }

    /// A pipe would block for ever, and a device would be this computer's.
    #[test]
    fn what_is_not_a_regular_file_is_not_opened() {
        let bed = Bed::new();
        let path = bed.at("root/etc/hosts");
        let replacements: [(&str, &dyn Fn()); 3] = [
            ("link", &|| symlink(bed.at("outside/hosts"), &path).unwrap()),
            ("pipe", &|| {
                rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
                assert!(fs::symlink_metadata(&path).unwrap().file_type().is_fifo());
            }),
            ("folder", &|| fs::create_dir(&path).unwrap()),
        ];
        fs::remove_file(&path).unwrap();
        for (what, make) in replacements {
            make();
            let error = bed.tree.overwrite("etc/hosts", b"x").unwrap_err();
            assert!(matches!(error, MachineError::Foreign { .. }), "{what}: {error}");
            if what == "folder" { fs::remove_dir(&path).unwrap() } else { fs::remove_file(&path).unwrap() }
        }
        bed.outside_is_untouched();
    }
}
