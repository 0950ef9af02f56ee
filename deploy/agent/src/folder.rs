//! A folder that other users can write to: the only way in which the agent, as root, touches one.
//!
//! A service owns its instance's folder below `/run/cairn` and its state below `/var/lib/cairn/state`;
//! an application's user may own a folder below `/etc`. Its owner can put a link, a FIFO or a folder
//! in any place at any moment, also between two system calls of ours. So the folder is opened once
//! (`openat2`, beneath a folder that root owns, through no link), and everything after that goes by
//! this descriptor and one plain name:
//!
//! - no call follows a link in the last place;
//! - a file is only created, with `O_EXCL`, and never opened because its name is there;
//! - owner and mode are set on the descriptor, never by name;
//! - a FIFO is never opened, and what lies in the way is removed, a bounded number of times.
//!
//! `no_other_module_touches_a_services_folder_by_path` keeps the rest of the agent from forming such paths.
//!
//! ```
//! use std::path::Path;
//! use cairn_agent::folder::Folder;
//!
//! let root = tempfile::tempdir()?;
//! std::fs::create_dir(root.path().join("own"))?;
//! std::os::unix::fs::symlink("/etc/nologin", root.path().join("own/sign"))?;
//! let folder = Folder::open(root.path(), Path::new("own"))?.expect("it was made above");
//! folder.create("sign", 0o644)?;
//! assert!(root.path().join("own/sign").symlink_metadata()?.is_file());
//! assert!(!Path::new("/etc/nologin").exists());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Component, Path, PathBuf};

use cairn_beneath::Links;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use rustix::fs::{self as at, AtFlags, FileType, Gid, Mode, OFlags, RawDir, Stat, Uid};
use rustix::io::Errno;

use crate::error::{Result, file};

mod remove;

/// An owner that puts things in our way faster than we remove them does not hold us up for longer.
const TRIES: usize = 16;
/// More names than any of our folders needs; an owner that makes more gets an error, and we no list
/// without end.
const MOST_NAMES: usize = 65_536;

/// A folder, by its descriptor.
#[derive(Debug)]
pub struct Folder {
    descriptor: OwnedFd,
    /// For messages.
    path: PathBuf,
}

/// Which file a socket is, as the kernel's table of sockets names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId {
    pub device: u64,
    pub inode: u64,
}

impl Folder {
    /// Opens the folder `below` a base that root owns. `None` if there is no such folder; a link on
    /// the way is an error.
    pub fn open(base: &Path, below: &Path) -> Result<Option<Self>> {
        Self::opened(base, below, |error| error.kind() == io::ErrorKind::NotFound)
    }

    /// As [`Folder::open`], but also `None` where a link or anything else than a folder is on the way.
    pub fn find(base: &Path, below: &Path) -> Result<Option<Self>> {
        let is_none = |error: &io::Error| {
            matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
                || cairn_beneath::leads_out(error)
        };
        Self::opened(base, below, is_none)
    }

    fn opened(base: &Path, below: &Path, is_none: impl Fn(&io::Error) -> bool) -> Result<Option<Self>> {
        let path = base.join(below);
        match cairn_beneath::open_at(base, below, Links::Refused, DIRECTORY) {
            Ok(descriptor) => Ok(Some(Self { descriptor, path })),
            Err(error) if is_none(&error) => Ok(None),
            Err(error) => Err(file("cannot open the folder", &path)(explain(error))),
        }
    }

    /// A folder that root owns, links followed: a base of others.
    pub fn trusted(path: &Path) -> Result<Self> {
        let opened = at::open(path, OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY, Mode::empty());
        let descriptor = opened.map_err(|errno| file("cannot open the folder", path)(errno.into()))?;
        Ok(Self { descriptor, path: path.to_owned() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of this name in this one, and whether it was made now: with this mode, less the
    /// umask's bits, and ours.
    ///
    /// If another user owns this folder, the one that was made may have been exchanged before it is
    /// opened: then give nothing to it, and ask for the mode here.
    pub fn make(&self, name: &str, mode: u32) -> Result<(Self, bool)> {
        let name = plain(name)?;
        let path = self.path.join(name);
        let made = match at::mkdirat(&self.descriptor, name, Mode::from_raw_mode(mode)) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(file("cannot make the directory", &path)(errno.into())),
        };
        let opened = at::openat(&self.descriptor, name, DIRECTORY, Mode::empty());
        let descriptor = opened.map_err(|errno| file("cannot open the folder", &path)(explain(errno.into())))?;
        Ok((Self { descriptor, path }, made))
    }

    /// Gives the folder itself this mode, and this owner and group if any.
    pub fn give(&self, mode: u32, owner: Option<(u32, u32)>) -> Result<()> {
        give(&self.descriptor, mode, owner).map_err(file("cannot set owner and mode of", &self.path))
    }

    /// The user that owns the folder.
    pub fn owner(&self) -> Result<u32> {
        let stat = at::fstat(&self.descriptor).map_err(|errno| file("cannot read", &self.path)(errno.into()))?;
        Ok(stat.st_uid)
    }

    /// What is there under this name, links not followed.
    fn stat(&self, name: &str) -> Result<Option<Stat>> {
        match at::statat(&self.descriptor, plain(name)?, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(file("cannot read", &self.path.join(name))(errno.into())),
        }
    }

    /// Whether anything has this name, be it a link that leads nowhere.
    pub fn has(&self, name: &str) -> Result<bool> {
        Ok(self.stat(name)?.is_some())
    }

    /// The names of all that is there.
    pub fn names(&self) -> Result<Vec<String>> {
        let wrong = |error: io::Error| file("cannot list", &self.path)(error);
        // A descriptor of its own: the position in the list belongs to the open file.
        let opened = at::openat(&self.descriptor, ".", DIRECTORY, Mode::empty()).map_err(|e| wrong(e.into()))?;
        let mut buffer = Vec::with_capacity(8192);
        let mut entries = RawDir::new(&opened, buffer.spare_capacity_mut());
        let mut names = Vec::new();
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(|errno| wrong(errno.into()))?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            // None of ours is anything but text.
            names.extend(std::str::from_utf8(name).map(str::to_owned));
            if names.len() > MOST_NAMES {
                return Err(wrong(io::Error::other(format!("it holds more than {MOST_NAMES} files"))));
            }
        }
        Ok(names)
    }

    /// The target of a link; `None` if it is not a link.
    pub fn target(&self, name: &str) -> Option<PathBuf> {
        let target = at::readlinkat(&self.descriptor, plain(name).ok()?, Vec::new()).ok()?;
        Some(PathBuf::from(OsStr::from_bytes(target.as_bytes())))
    }

    /// An empty file of this name with this mode. One that is there already stays as it is; anything
    /// else of that name is removed.
    pub fn create(&self, name: &str, mode: u32) -> Result<()> {
        for _ in 0..TRIES {
            match self.create_new(name, mode) {
                Ok(_) => return Ok(()),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(file("cannot make", &self.path.join(name))(errno.into())),
            }
            match self.stat(name)? {
                Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => return Ok(()),
                _ => self.remove(name)?,
            }
        }
        Err(self.in_the_way(name))
    }

    /// As [`Folder::create`], in place of what has the name: at no moment is there nothing.
    pub fn replace_with_empty(&self, name: &str, mode: u32) -> Result<()> {
        let temporary = temporary(name);
        self.create(&temporary, mode)?;
        self.rename(&temporary, name)
    }

    /// A link of this name, in place of what has it: at no moment is there nothing.
    pub fn point(&self, name: &str, target: &Path) -> Result<()> {
        if self.target(name).is_some_and(|now| now == target) {
            return Ok(());
        }
        let temporary = temporary(name);
        for _ in 0..TRIES {
            match at::symlinkat(target, &self.descriptor, plain(&temporary)?) {
                Ok(()) => return self.rename(&temporary, name),
                Err(Errno::EXIST) => self.remove(&temporary)?,
                Err(errno) => return Err(file("cannot link", &self.path.join(name))(errno.into())),
            }
        }
        Err(self.in_the_way(&temporary))
    }

    /// A link of this name where nothing has it.
    pub fn link_new(&self, name: &str, target: &Path) -> Result<()> {
        let linked = at::symlinkat(target, &self.descriptor, plain(name)?);
        linked.map_err(|errno| file("cannot link", &self.path.join(name))(errno.into()))
    }

    /// Removes what has this name, a folder with all that is in it; that there is nothing is fine.
    pub fn remove(&self, name: &str) -> Result<()> {
        let path = self.path.join(name);
        match at::unlinkat(&self.descriptor, plain(name)?, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR) => remove::folder(&self.descriptor, name).map_err(file("cannot remove", &path)),
            Err(errno) => Err(file("cannot remove", &path)(errno.into())),
        }
    }

    /// Removes the folder of this name if nothing is in it.
    pub fn remove_if_empty(&self, name: &str) -> bool {
        plain(name).is_ok_and(|name| at::unlinkat(&self.descriptor, name, AtFlags::REMOVEDIR).is_ok())
    }

    /// Renames within the folder. A folder in the place of `to` is removed.
    pub fn rename(&self, from: &str, to: &str) -> Result<()> {
        for _ in 0..TRIES {
            match at::renameat(&self.descriptor, plain(from)?, &self.descriptor, plain(to)?) {
                Ok(()) => return Ok(()),
                Err(Errno::ISDIR | Errno::EXIST | Errno::NOTEMPTY) => self.remove(to)?,
                Err(errno) => return Err(file("cannot rename", &self.path.join(from))(errno.into())),
            }
        }
        Err(self.in_the_way(to))
    }

    /// A new file of this name, to write to; `mode` as it is, whatever the umask. What has the name
    /// is removed.
    pub fn new_file(&self, name: &str, mode: u32) -> Result<File> {
        for _ in 0..TRIES {
            match self.create_new(name, mode) {
                Ok(descriptor) => return Ok(File::from(descriptor)),
                Err(Errno::EXIST) => self.remove(name)?,
                Err(errno) => return Err(file("cannot make", &self.path.join(name))(errno.into())),
            }
        }
        Err(self.in_the_way(name))
    }

    /// A regular file, to read; `None` if there is nothing of that name or anything but a regular file.
    /// The file is never waited for.
    pub fn open_file(&self, name: &str) -> Result<Option<File>> {
        let wrong = |error: io::Error| file("cannot read", &self.path.join(name))(error);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        match self.stat(name)? {
            Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {}
            _ => return Ok(None),
        }
        let opened = match at::openat(&self.descriptor, plain(name)?, flags, Mode::empty()) {
            Ok(opened) => File::from(opened),
            // Since the look another thing has come in its place.
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
            Err(errno) => return Err(wrong(errno.into())),
        };
        let is_file = opened.metadata().map_err(wrong)?.is_file();
        Ok(is_file.then_some(opened))
    }

    /// The bytes of a [regular file](Folder::open_file), and the file itself; one with more than `most`
    /// bytes is an error.
    pub fn read(&self, name: &str, most: u64) -> Result<Option<(File, Vec<u8>)>> {
        let path = self.path.join(name);
        let wrong = |error: io::Error| file("cannot read", &path)(error);
        let Some(opened) = self.open_file(name)? else { return Ok(None) };
        let mut bytes = Vec::new();
        (&opened).take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(wrong)?;
        match bytes.len() as u64 > most {
            true => Err(wrong(io::Error::other(format!("it is larger than {most} bytes")))),
            false => Ok(Some((opened, bytes))),
        }
    }

    /// Owner, group and mode of what has this name, links not followed.
    pub fn owner_and_mode(&self, name: &str) -> Result<Option<(u32, u32, u32)>> {
        Ok(self.stat(name)?.map(|stat| (stat.st_uid, stat.st_gid, stat.st_mode & 0o7777)))
    }

    /// Makes what was done in it last over a power loss.
    pub fn sync(&self) -> Result<()> {
        at::fsync(&self.descriptor).map_err(|errno| file("cannot write", &self.path)(errno.into()))
    }

    /// Gives the link of this name, which we have just made, an owner. Anything else that has the name
    /// meanwhile keeps its own.
    pub fn give_link(&self, name: &str, owner: (u32, u32)) -> Result<()> {
        let wrong = |error: io::Error| file("cannot give away", &self.path.join(name))(error);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let link = at::openat(&self.descriptor, plain(name)?, flags, Mode::empty()).map_err(|e| wrong(e.into()))?;
        let stat = at::fstat(&link).map_err(|e| wrong(e.into()))?;
        let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
        if !is_link || stat.st_uid != rustix::process::geteuid().as_raw() || stat.st_nlink != 1 {
            return Err(self.in_the_way(name));
        }
        let (uid, gid) = (Some(Uid::from_raw(owner.0)), Some(Gid::from_raw(owner.1)));
        at::chownat(&link, "", uid, gid, AtFlags::EMPTY_PATH).map_err(|e| wrong(e.into()))
    }

    /// The socket of this name; `None` if there is none.
    pub fn socket(&self, name: &str) -> Result<Option<FileId>> {
        let stat = self.stat(name)?.filter(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Socket);
        Ok(stat.map(|stat| FileId { device: stat.st_dev, inode: stat.st_ino }))
    }

    fn create_new(&self, name: &str, mode: u32) -> std::result::Result<OwnedFd, Errno> {
        let flags = OFlags::WRONLY
            | OFlags::CREATE
            | OFlags::EXCL
            | OFlags::NOFOLLOW
            | OFlags::NONBLOCK
            | OFlags::NOCTTY
            | OFlags::CLOEXEC;
        let name = plain(name).map_err(|_| Errno::INVAL)?;
        let made = at::openat(&self.descriptor, name, flags, Mode::from_raw_mode(0o600))?;
        at::fchmod(&made, Mode::from_raw_mode(mode))?;
        Ok(made)
    }

    fn in_the_way(&self, name: &str) -> crate::error::AgentError {
        let error = io::Error::other("its owner puts something else in its place again and again");
        file("cannot write", &self.path.join(name))(error)
    }
}

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Sets mode, and owner and group if any, of what is open.
pub fn give(open: impl std::os::fd::AsFd, mode: u32, owner: Option<(u32, u32)>) -> io::Result<()> {
    if let Some((uid, gid)) = owner {
        // First: a change of owner takes set-user-ID bits away.
        at::fchown(&open, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    Ok(at::fchmod(&open, Mode::from_raw_mode(mode))?)
}

/// Connects to the socket at `path`, whose folder's owner may have put a link in its place: the file
/// is opened without following it, and must be a socket. Never waits.
pub fn connect_to(path: &Path) -> io::Result<UnixStream> {
    let (parent, name) = (path.parent().unwrap_or(Path::new("/")), path.file_name().unwrap_or_default());
    let folder = at::open(parent, OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let found = at::openat(&folder, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    if FileType::from_raw_mode(at::fstat(&found)?.st_mode) != FileType::Socket {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a socket"));
    }
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let stream = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    // The descriptor names the very file that was looked at.
    let address = UnixAddr::new(&PathBuf::from(format!("/proc/self/fd/{}", found.as_raw_fd())))?;
    connect(stream.as_raw_fd(), &address)?;
    Ok(UnixStream::from(stream))
}

/// One name, which leads nowhere else.
fn plain(name: &str) -> Result<&str> {
    let mut parts = Path::new(name).components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(only)), None) if only == OsStr::new(name) => Ok(name),
        _ => Err(file("cannot use the name", Path::new(name))(io::ErrorKind::InvalidInput.into())),
    }
}

fn temporary(name: &str) -> String {
    format!(".{name}.new-{}", std::process::id())
}

/// What the bare number does not say.
fn explain(error: io::Error) -> io::Error {
    match error.kind() {
        _ if cairn_beneath::leads_out(&error) => io::Error::other("a link is on the way, and none is followed there"),
        io::ErrorKind::NotADirectory => io::Error::other("it is not a folder (a link to one does not count)"),
        _ => error,
    }
}

#[cfg(test)]
mod tests;
