//! One file with all that it is: bytes, owner, mode, extended attributes; or one link.

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::{PermissionsExt as _, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use cairn_formats::Sha256;
use cairn_protocol::{AdoptedContent, AdoptedFile};
use nix::sys::stat::fstat;
use rustix::fs::{XattrFlags, fgetxattr, flistxattr, fsetxattr};
use rustix::io::Errno;

use crate::error::{AgentError, Result, file};
use crate::files;

/// No file system takes longer names or values (xattr(7)).
const LONGEST: usize = 64 << 10;

/// Copies a file or link, and says what it is.
pub fn take(from: &Path, to: &Path) -> Result<AdoptedContent> {
    files::remove(to)?;
    if let Ok(target) = fs::read_link(from) {
        symlink(&target, to).map_err(file("cannot link", to))?;
        let target = target
            .into_os_string()
            .into_string()
            .map_err(|_| AgentError::Content { path: from.to_owned(), reason: "its target is no text".to_owned() })?;
        return Ok(AdoptedContent::Link { target });
    }
    let read = || {
        let mut source = File::open(from)?;
        let mut bytes = Vec::new();
        source.read_to_end(&mut bytes)?;
        Ok::<_, io::Error>((fstat(&source)?, attributes(&source)?, bytes))
    };
    let (meta, xattrs, bytes) = read().map_err(file("cannot read", from))?;
    let content = AdoptedContent::File { sha256: Sha256::of(&bytes), mode: meta.st_mode & 0o7777, xattrs };
    write(to, &bytes, &content, (meta.st_uid, meta.st_gid))?;
    Ok(content)
}

/// Puts the copy where the file was, in one step.
pub fn restore(copy: &Path, to: &Path, adopted: &AdoptedFile) -> Result<()> {
    let temporary = beside(to);
    files::remove(&temporary)?;
    if let Some(parent) = to.parent() {
        files::make_directories(parent)?;
    }
    match &adopted.content {
        AdoptedContent::Link { target } => {
            let made =
                symlink(target, &temporary).and_then(|()| lchown(&temporary, Some(adopted.uid), Some(adopted.gid)));
            made.map_err(file("cannot link", &temporary))?;
        }
        content @ AdoptedContent::File { .. } => {
            let bytes = fs::read(copy).map_err(file("cannot read", copy))?;
            write(&temporary, &bytes, content, (adopted.uid, adopted.gid))?;
        }
    }
    fs::rename(&temporary, to).map_err(file("cannot write", to))?;
    let parent = to.parent().unwrap_or(Path::new("/"));
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(file("cannot write", parent))
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".new-{}", std::process::id()));
    path.with_file_name(name)
}

fn write(to: &Path, bytes: &[u8], content: &AdoptedContent, (uid, gid): (u32, u32)) -> Result<()> {
    let AdoptedContent::File { mode, xattrs, .. } = content else { return Ok(()) };
    let make = || {
        // Nobody reads it before it has its owner and mode.
        let mut out = fs::OpenOptions::new();
        std::os::unix::fs::OpenOptionsExt::mode(&mut out, 0o600);
        let mut out = out.write(true).create_new(true).open(to)?;
        io::Write::write_all(&mut out, bytes)?;
        chown(to, Some(uid), Some(gid))?;
        out.set_permissions(Permissions::from_mode(*mode))?;
        for (name, value) in xattrs {
            let value = unhex(value)
                .ok_or_else(|| io::Error::other(format!("the value noted of {name} is not hexadecimal")))?;
            fsetxattr(&out, name, &value, XattrFlags::empty())?;
        }
        out.sync_all()
    };
    make().map_err(file("cannot write", to))
}

/// Whether it is (still) what was noted; owner and mode apart.
pub fn is_same(at: &Path, content: &AdoptedContent) -> bool {
    match content {
        AdoptedContent::Link { target } => fs::read_link(at).is_ok_and(|to| to == Path::new(target)),
        AdoptedContent::File { sha256, .. } => {
            !at.is_symlink() && fs::read(at).is_ok_and(|bytes| Sha256::of(&bytes) == *sha256)
        }
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
        let content = take(&from, &to).unwrap();
        assert_eq!(attributes(&File::open(&to).unwrap()).unwrap(), [("user.cairn".to_owned(), "00ff".to_owned())]);
        assert!(is_same(&to, &content));
        assert_eq!((unhex("00ff"), unhex("0"), unhex("zz")), (Some(vec![0, 255]), None, None));
    }
}
