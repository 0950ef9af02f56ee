//! Opens files beneath a folder whose content another person wrote: a checkout of a repository, a
//! folder of a service, the tree of a machine.
//!
//! A path is resolved by the kernel (`openat2`, Linux 5.6), which refuses every way out of the
//! folder: `..`, absolute links, links that lead out, links of `/proc`. Nothing is resolved twice, so
//! nothing can be exchanged between a check and a use.
//!
//! ```
//! use std::path::Path;
//!
//! let project = tempfile::tempdir()?;
//! std::fs::write(project.path().join("motd"), "hello\n")?;
//! std::os::unix::fs::symlink("/etc/passwd", project.path().join("leak"))?;
//! assert_eq!(cairn_beneath::read(project.path(), Path::new("motd"), 1 << 20)?, b"hello\n");
//! let error = cairn_beneath::read(project.path(), Path::new("leak"), 1 << 20).unwrap_err();
//! assert!(cairn_beneath::leads_out(&error));
//! # Ok::<(), std::io::Error>(())
//! ```

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, open, openat, openat2};
use rustix::io::Errno;

/// How often the kernel is asked again when it cannot say whether a `..` has led out.
const TRIES: usize = 64;

/// Which links are followed on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// None, not in the last place either.
    Refused,
    /// Those that lead to a place beneath the folder.
    Inside,
}

/// Opens `below`, a relative path, beneath the folder `top`, which is trusted.
///
/// The error is `EXDEV` or `ELOOP` where the path leads out: see [`leads_out`].
pub fn open_at(top: &Path, below: &Path, links: Links, flags: OFlags) -> io::Result<OwnedFd> {
    // An empty path names nothing to the kernel.
    let below = if below.as_os_str().is_empty() { Path::new(".") } else { below };
    let folder = open(top, OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let (resolve, flags) = match links {
        // Without NOFOLLOW, which makes O_PATH open the link itself.
        Links::Refused => (resolve | ResolveFlags::NO_SYMLINKS, flags - OFlags::NOFOLLOW),
        Links::Inside => (resolve, flags),
    };
    for _ in 0..TRIES {
        match openat2(&folder, below, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            // Something on this computer was renamed or mounted meanwhile, and the path has a `..`.
            Err(Errno::AGAIN) => {}
            // Linux before 5.6, or a filter of system calls that does not know it.
            Err(Errno::NOSYS | Errno::PERM) => {
                return step_by_step(folder, top, below, links, flags | OFlags::CLOEXEC);
            }
            other => return Ok(other?),
        }
    }
    Err(Errno::AGAIN.into())
}

/// The same without `openat2`: name by name, or by the real path of all names.
fn step_by_step(folder: OwnedFd, top: &Path, below: &Path, links: Links, flags: OFlags) -> io::Result<OwnedFd> {
    if links == Links::Inside {
        let (top, real) = (top.canonicalize()?, top.join(below).canonicalize()?);
        if !real.starts_with(&top) {
            return Err(Errno::XDEV.into());
        }
        return Ok(openat(CWD, &real, flags | OFlags::NOFOLLOW, Mode::empty())?);
    }
    let mut at = folder;
    let parts: Vec<Component<'_>> = below.components().collect();
    for (number, part) in parts.iter().enumerate() {
        let name = match part {
            Component::Normal(name) => *name,
            Component::CurDir => OsStr::new("."),
            _ => return Err(Errno::XDEV.into()),
        };
        let flags = if number + 1 == parts.len() { flags } else { OFlags::DIRECTORY | OFlags::PATH };
        at = openat(&at, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        if FileType::from_raw_mode(fstat(&at)?.st_mode) == FileType::Symlink {
            return Err(Errno::LOOP.into());
        }
    }
    Ok(at)
}

/// Whether the error says that a path leads out of the folder, or through a link where none is
/// followed.
pub fn leads_out(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    code == Some(Errno::XDEV.raw_os_error()) || code == Some(Errno::LOOP.raw_os_error())
}

/// The bytes of a regular file, at most so many; a FIFO or device is an error, and never waited for.
pub fn read(top: &Path, below: &Path, most: u64) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(open_at(top, below, Links::Inside, flags)?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > most {
        true => Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {most} bytes"))),
        false => Ok(bytes),
    }
}

/// The path, free of links, of what lies beneath the folder. Links in a tree that lies there are not
/// followed by what reads the tree, so its path is enough.
pub fn locate(top: &Path, below: &Path) -> io::Result<PathBuf> {
    let found = open_at(top, below, Links::Inside, OFlags::PATH)?;
    std::fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A folder `top` with everything that may lie in a checkout, and a secret beside it.
    fn folder() -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let top = root.path().join("top");
        fs::create_dir_all(top.join("deep/er")).unwrap();
        fs::write(top.join("deep/file"), "inside").unwrap();
        fs::write(root.path().join("secret"), "outside").unwrap();
        symlink("deep", top.join("inner")).unwrap();
        symlink("../secret", top.join("out")).unwrap();
        symlink("..", top.join("up")).unwrap();
        symlink(top.join("deep/file"), top.join("absolute")).unwrap();
        symlink("/proc/self/root", top.join("magic")).unwrap();
        symlink("loop", top.join("loop")).unwrap();
        (root, top)
    }

    const WAYS_OUT: [&str; 9] = [
        "out",
        "up/secret",
        "../secret",
        "deep/../../secret",
        "absolute",
        "/etc/passwd",
        "magic/etc/passwd",
        "inner/../../secret",
        "loop",
    ];

    #[test]
    fn what_lies_inside_is_read_and_nothing_else() {
        let (_root, top) = folder();
        for inside in ["deep/file", "inner/file", "deep/er/../file", "./deep/file"] {
            assert_eq!(read(&top, Path::new(inside), 100).unwrap(), b"inside", "{inside}");
            assert_eq!(locate(&top, Path::new(inside)).unwrap(), top.canonicalize().unwrap().join("deep/file"));
        }
        for way in WAYS_OUT {
            let error = read(&top, Path::new(way), 100).unwrap_err();
            assert!(leads_out(&error), "{way}: {error}");
            assert!(leads_out(&locate(&top, Path::new(way)).unwrap_err()), "{way}");
        }
        assert!(!leads_out(&read(&top, Path::new("none"), 100).unwrap_err()));
    }

    #[test]
    fn the_way_without_the_system_call_is_the_same() {
        let (_root, top) = folder();
        let slowly = |below: &str, links| {
            let folder = open(&top, OFlags::DIRECTORY | OFlags::PATH, Mode::empty()).unwrap();
            step_by_step(folder, &top, Path::new(below), links, OFlags::RDONLY)
        };
        for links in [Links::Inside, Links::Refused] {
            assert!(slowly("deep/file", links).is_ok());
            assert_eq!(slowly("inner/file", links).is_ok(), links == Links::Inside);
            // This way alone can tell that an absolute link leads to a place inside.
            for way in WAYS_OUT {
                let absolute_inside = way == "absolute" && links == Links::Inside;
                assert_eq!(slowly(way, links).is_ok(), absolute_inside, "{way} {links:?}");
                assert!(open_at(&top, Path::new(way), links, OFlags::RDONLY).is_err(), "{way} {links:?}");
            }
        }
        assert!(open_at(&top, Path::new("inner"), Links::Refused, OFlags::PATH).is_err());
    }

    #[test]
    fn only_regular_files_of_a_bounded_size_are_read() {
        let (_root, top) = folder();
        rustix::fs::mknodat(CWD, top.join("fifo"), rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        for not_a_file in ["fifo", "deep"] {
            let error = read(&top, Path::new(not_a_file), 100).unwrap_err();
            assert!(error.to_string().contains("not a regular file"), "{not_a_file}: {error}");
        }
        assert!(read(&top, Path::new("deep/file"), 5).unwrap_err().to_string().contains("larger than 5"));
        assert_eq!(read(&top, Path::new("deep/file"), 6).unwrap(), b"inside");
    }
}
