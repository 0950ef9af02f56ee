//! One file with all that it is: bytes, owner, mode, extended attributes; or one link.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::Path;

use cairn_formats::{HashWriter, Sha256};
use cairn_protocol::{AdoptedContent, AdoptedFile};
use nix::sys::stat::fstat;
use rustix::fs::{XattrFlags, fgetxattr, flistxattr, fsetxattr};
use rustix::io::Errno;

use crate::error::{AgentError, Result, file};
use crate::files;
use crate::folder::{Folder, give};

/// No file system takes longer names or values (xattr(7)).
const LONGEST: usize = 64 << 10;

/// The largest file that is adopted: they are configuration.
pub const LARGEST: u64 = 64 << 20;

/// Copies the file or link of this name, and says what it is with its owner and group.
pub fn take(folder: &Folder, name: &str, to: &Path) -> Result<(AdoptedContent, u32, u32)> {
    let from = folder.path().join(name);
    let not_kept = |reason: &str| AgentError::Content { path: from.clone(), reason: reason.to_owned() };
    files::remove(to)?;
    if let Some(target) = folder.target(name) {
        let (uid, gid, _) = folder.owner_and_mode(name)?.ok_or_else(|| not_kept("it has just gone"))?;
        symlink(&target, to).map_err(file("cannot link", to))?;
        let target = target.into_os_string().into_string().map_err(|_| not_kept("its target is not text"))?;
        return Ok((AdoptedContent::Link { target }, uid, gid));
    }
    let (source, bytes) = folder.read(name, LARGEST)?.ok_or_else(|| not_kept("it is not a regular file"))?;
    let known = || Ok::<_, io::Error>((fstat(&source)?, attributes(&source)?));
    let (meta, xattrs) = known().map_err(file("cannot read", &from))?;
    let content = AdoptedContent::File { sha256: Sha256::of(&bytes), mode: meta.st_mode & 0o7777, xattrs };
    let copy = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
    fill(copy.map_err(file("cannot write", to))?, &bytes, &content, (meta.st_uid, meta.st_gid))
        .map_err(file("cannot write", to))?;
    Ok((content, meta.st_uid, meta.st_gid))
}

/// Puts the copy in the place of what has this name, in one step.
pub fn restore(copy: &Path, folder: &Folder, name: &str, adopted: &AdoptedFile) -> Result<()> {
    let temporary = format!("{name}.new-{}", std::process::id());
    let owner = (adopted.uid, adopted.gid);
    match &adopted.content {
        AdoptedContent::Link { target } => {
            folder.point(&temporary, Path::new(target))?;
            folder.give_link(&temporary, owner)?;
        }
        content @ AdoptedContent::File { .. } => {
            let bytes = fs::read(copy).map_err(file("cannot read", copy))?;
            let out = folder.new_file(&temporary, 0o600)?;
            fill(out, &bytes, content, owner).map_err(file("cannot write", &folder.path().join(name)))?;
        }
    }
    folder.rename(&temporary, name)?;
    folder.sync()
}

/// Fills a new file that only root may read, and gives it its owner and mode.
fn fill(mut out: File, bytes: &[u8], content: &AdoptedContent, owner: (u32, u32)) -> io::Result<()> {
    let AdoptedContent::File { mode, xattrs, .. } = content else { return Ok(()) };
    io::Write::write_all(&mut out, bytes)?;
    give(&out, *mode, Some(owner))?;
    for (name, value) in xattrs {
        let value =
            unhex(value).ok_or_else(|| io::Error::other(format!("the value noted of {name} is not hexadecimal")))?;
        fsetxattr(&out, name, &value, XattrFlags::empty())?;
    }
    out.sync_all()
}

/// Whether it is (still) what was noted; owner and mode apart. A file of more than `most` bytes is not.
pub fn is_same(folder: &Folder, name: &str, content: &AdoptedContent, most: u64) -> bool {
    match content {
        AdoptedContent::Link { target } => folder.target(name).is_some_and(|to| to == Path::new(target)),
        AdoptedContent::File { sha256, .. } => match folder.open_file(name) {
            Ok(Some(found)) => {
                let mut hasher = HashWriter::new(io::sink());
                let copied = io::copy(&mut found.take(most.saturating_add(1)), &mut hasher);
                copied.is_ok_and(|bytes| bytes <= most) && hasher.finish().1 == *sha256
            }
            _ => false,
        },
    }
}

fn attributes(file: &File) -> io::Result<Vec<(String, String)>> {
    let mut buffer = vec![0_u8; LONGEST];
    let length = match flistxattr(file, &mut buffer[..]) {
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        other => other?,
    };
    let names: Vec<String> = buffer[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect();
    let value = |name: String| {
        let mut buffer = vec![0_u8; LONGEST];
        let length = fgetxattr(file, name.as_str(), &mut buffer[..])?;
        let hex = buffer[..length].iter().map(|byte| format!("{byte:02x}")).collect();
        Ok((name, hex))
    };
    names.into_iter().map(value).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let byte = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn adopted(content: AdoptedContent) -> AdoptedFile {
        let (uid, gid) = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
        AdoptedFile { path: "/etc/x".to_owned(), content, uid, gid, operator: String::new(), since: 0 }
    }

    #[test]
    fn attributes_travel_where_the_file_system_has_them() {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::write(&from, "x").unwrap();
        match fsetxattr(
            File::options().write(true).open(&from).unwrap(),
            "user.cairn",
            b"\x00\xff",
            XattrFlags::empty(),
        ) {
            Err(Errno::NOTSUP) => return,
            other => other.unwrap(),
        }
        let all = Folder::trusted(folder.path()).unwrap();
        let (content, ..) = take(&all, "from", &to).unwrap();
        assert_eq!(attributes(&File::open(&to).unwrap()).unwrap(), [("user.cairn".to_owned(), "00ff".to_owned())]);
        assert!(is_same(&all, "to", &content, 1));
        restore(&to, &all, "back", &adopted(content)).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("back")).unwrap(), "x");
        assert_eq!((unhex("00ff"), unhex("0"), unhex("zz")), (Some(vec![0, 255]), None, None));
    }
}
