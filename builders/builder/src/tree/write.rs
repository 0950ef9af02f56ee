//! Writing a tree from hostile descriptions of one.
//!
//! The output directory is ours alone and starts empty, so a map of what was written so far is the
//! whole truth about it. Each entry's parents are looked up in that map, never in the file system:
//! a link made by an archive can therefore never redirect a later write. Permissions are set after
//! creation, so that the umask does not matter.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use cairn_formats::RelPath;

use super::{Attributes, FILES, META, Meta};
use crate::error::{Error, Problem, Result};

/// Large enough that the number of system calls stops mattering, small enough for the cache.
const BUFFER: usize = 128 * 1024;
/// No longer path can be opened (PATH_MAX of limits.h counts its NUL).
const MAX_PATH: usize = 4095;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Node {
    Directory,
    File,
    Link,
}

/// A tree output while it is being written; [`TreeWriter::finish`] completes it.
pub struct TreeWriter {
    out: PathBuf,
    files: PathBuf,
    nodes: BTreeMap<RelPath, Node>,
    exceptions: BTreeMap<RelPath, Attributes>,
    buffer: Vec<u8>,
}

impl TreeWriter {
    /// Creates `out`, which must not exist yet.
    pub fn create(out: &Path) -> Result<Self> {
        let files = out.join(FILES);
        for directory in [out, &files] {
            fs::create_dir(directory)
                .and_then(|()| fs::set_permissions(directory, Permissions::from_mode(0o755)))
                .map_err(Error::io("create", directory))?;
        }
        Ok(Self {
            out: out.to_owned(),
            files,
            nodes: BTreeMap::new(),
            exceptions: BTreeMap::new(),
            buffer: vec![0; BUFFER],
        })
    }

    /// Where an entry lies on disk. For reading back what this writer wrote itself.
    pub fn physical(&self, path: &RelPath) -> PathBuf {
        self.files.join(path.as_path())
    }

    /// Regular files written so far, in the order of their paths.
    pub fn regular_files(&self) -> impl Iterator<Item = &RelPath> {
        self.nodes.iter().filter(|(_, node)| **node == Node::File).map(|(path, _)| path)
    }

    /// A directory; naming one again is fine, and its last attributes count, as in any tar.
    pub fn directory(&mut self, path: &RelPath, attributes: Attributes) -> Result<(), Problem> {
        self.make_directory(path)?;
        self.except(path, attributes, Attributes::DIRECTORY);
        Ok(())
    }

    /// A regular file of exactly `len` bytes.
    pub fn file(
        &mut self,
        path: &RelPath,
        attributes: Attributes,
        len: u64,
        data: &mut dyn Read,
    ) -> Result<(), Problem> {
        self.claim(path)?;
        let mut file = self.open_new(path, attributes.executable())?;
        let got = copy_stream(data, &mut file, len, &mut self.buffer)?;
        if got != len {
            return Err(Problem::Size { expected: len, got });
        }
        self.nodes.insert(path.clone(), Node::File);
        self.except(path, attributes, Attributes::file(attributes.executable()));
        Ok(())
    }

    pub fn bytes(&mut self, path: &RelPath, attributes: Attributes, data: &[u8]) -> Result<(), Problem> {
        self.file(path, attributes, data.len() as u64, &mut &*data)
    }

    pub fn symlink(&mut self, path: &RelPath, target: &[u8], attributes: Attributes) -> Result<(), Problem> {
        if target.is_empty() || target.contains(&0) {
            return Err(Problem::Target(String::from_utf8_lossy(target).into_owned()));
        }
        self.claim(path)?;
        symlink(std::ffi::OsStr::from_bytes(target), self.physical(path))?;
        self.nodes.insert(path.clone(), Node::Link);
        // The mode of a link means nothing; archives spell it in different ways.
        self.except(path, Attributes { mode: 0o777, ..attributes }, Attributes::LINK);
        Ok(())
    }

    /// Another name for a file that was written before.
    pub fn hard_link(&mut self, path: &RelPath, existing: &RelPath) -> Result<(), Problem> {
        if self.nodes.get(existing) != Some(&Node::File) {
            return Err(Problem::HardLink { target: existing.to_string() });
        }
        self.claim(path)?;
        fs::hard_link(self.physical(existing), self.physical(path))?;
        self.nodes.insert(path.clone(), Node::File);
        if let Some(attributes) = self.exceptions.get(existing).copied() {
            self.exceptions.insert(path.clone(), attributes);
        }
        Ok(())
    }

    /// Makes a directory for files that another program will write.
    pub fn adopt_parents(&mut self, path: &RelPath) -> Result<(), Problem> {
        self.make_directory(path)
    }

    /// Takes note of a file that another program wrote at [`TreeWriter::physical`] for us.
    pub fn adopt(&mut self, path: &RelPath) -> Result<(), Problem> {
        self.claim(path)?;
        self.nodes.insert(path.clone(), Node::File);
        Ok(())
    }

    /// Writes `meta.json`.
    pub fn finish(self) -> Result<()> {
        let mut meta = Meta::default();
        for (path, attributes) in self.exceptions {
            let name = String::from_utf8(path.as_bytes().to_vec())
                .map_err(|_| Error::member(&self.out.display().to_string(), path.to_string(), Problem::NotUtf8))?;
            meta.exceptions.insert(name, attributes);
        }
        let path = self.out.join(META);
        let mut json = serde_json::to_vec(&meta).map_err(|source| Error::Meta { path: path.clone(), source })?;
        json.push(b'\n');
        self::write_file(&path, &json)
    }

    fn except(&mut self, path: &RelPath, attributes: Attributes, usual: Attributes) {
        if path.is_root() {
            return;
        }
        if attributes == usual {
            self.exceptions.remove(path);
        } else {
            self.exceptions.insert(path.clone(), attributes);
        }
    }

    /// Makes sure that `path` is free and its parents are directories of ours.
    fn claim(&mut self, path: &RelPath) -> Result<(), Problem> {
        let Some(parent) = path.parent() else { return Err(Problem::Escapes) };
        if self.nodes.contains_key(path) {
            return Err(Problem::Twice);
        }
        self.make_directory(&parent)
    }

    fn make_directory(&mut self, path: &RelPath) -> Result<(), Problem> {
        // A recursion for each part: names of megabytes would exhaust the stack.
        if path.as_bytes().len() > MAX_PATH {
            return Err(Problem::PathTooLong { limit: MAX_PATH });
        }
        match (path.parent(), self.nodes.get(path)) {
            (None, _) | (_, Some(Node::Directory)) => Ok(()),
            (_, Some(Node::Link)) => Err(Problem::ThroughLink { link: path.clone() }),
            (_, Some(Node::File)) => Err(Problem::BelowFile { parent: path.clone() }),
            (Some(parent), None) => {
                self.make_directory(&parent)?;
                let physical = self.physical(path);
                fs::create_dir(&physical).or_else(|error| match error.kind() {
                    // The compiler of byte code makes its directories itself; see `adopt`.
                    io::ErrorKind::AlreadyExists if path.file_name() == b"__pycache__" => Ok(()),
                    _ => Err(error),
                })?;
                fs::set_permissions(&physical, Permissions::from_mode(0o755))?;
                self.nodes.insert(path.clone(), Node::Directory);
                Ok(())
            }
        }
    }

    fn open_new(&self, path: &RelPath, executable: bool) -> io::Result<File> {
        let mode = if executable { 0o755 } else { 0o644 };
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(self.physical(path))?;
        file.set_permissions(Permissions::from_mode(mode))?;
        Ok(file)
    }
}

/// Copies up to `len` bytes and says how many there were.
pub fn copy_stream(from: &mut dyn Read, to: &mut dyn Write, len: u64, buffer: &mut [u8]) -> io::Result<u64> {
    let mut left = len;
    while left > 0 {
        let room = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        match from.read(&mut buffer[..room]) {
            Ok(0) => break,
            Ok(n) => {
                to.write_all(&buffer[..n])?;
                left -= n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len - left)
}

/// A plain file of an output, beside the tree.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o644)))
        .map_err(Error::io("write", path))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn nothing_is_written_through_a_link() {
        let scratch = tempfile::tempdir().unwrap();
        let outside = scratch.path().join("outside");
        fs::create_dir(&outside).unwrap();
        let mut tree = TreeWriter::create(&scratch.path().join("out")).unwrap();
        tree.symlink(&path("a"), outside.as_os_str().as_bytes(), Attributes::LINK).unwrap();
        for victim in ["a/file", "a/b/file"] {
            let error = tree.bytes(&path(victim), Attributes::FILE, b"x").unwrap_err();
            assert!(matches!(error, Problem::ThroughLink { ref link } if link.as_bytes() == b"a"), "{error}");
        }
        assert!(matches!(tree.directory(&path("a"), Attributes::DIRECTORY), Err(Problem::ThroughLink { .. })));
        assert!(matches!(tree.bytes(&path("a"), Attributes::FILE, b"x"), Err(Problem::Twice)));
        assert!(matches!(tree.hard_link(&path("b"), &path("a")), Err(Problem::HardLink { .. })));
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }

    #[test]
    fn only_unusual_attributes_are_recorded() {
        let scratch = tempfile::tempdir().unwrap();
        let out = scratch.path().join("out");
        let mut tree = TreeWriter::create(&out).unwrap();
        tree.bytes(&path("usr/bin/su"), Attributes::root(0o4755), b"su").unwrap();
        tree.hard_link(&path("usr/bin/su2"), &path("usr/bin/su")).unwrap();
        tree.bytes(&path("usr/bin/env"), Attributes::PROGRAM, b"env").unwrap();
        tree.directory(&path("tmp"), Attributes::root(0o1777)).unwrap();
        tree.directory(&path("etc"), Attributes::root(0o700)).unwrap();
        tree.directory(&path("etc"), Attributes::DIRECTORY).unwrap();
        tree.finish().unwrap();
        let exceptions: Vec<_> =
            Meta::read(&out).unwrap().exceptions.into_iter().map(|(path, a)| (path, a.mode)).collect();
        assert_eq!(exceptions, [("tmp".into(), 0o1777), ("usr/bin/su".into(), 0o4755), ("usr/bin/su2".into(), 0o4755)]);
        let mode = |name: &str| fs::metadata(out.join(FILES).join(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("usr/bin/su"), mode("tmp"), mode("usr")), (0o755, 0o755, 0o755));
    }

    #[test]
    fn a_short_file_is_an_error() {
        let scratch = tempfile::tempdir().unwrap();
        let mut tree = TreeWriter::create(&scratch.path().join("out")).unwrap();
        let error = tree.file(&path("a"), Attributes::FILE, 5, &mut &b"abc"[..]).unwrap_err();
        assert!(matches!(error, Problem::Size { expected: 5, got: 3 }));
    }
}
