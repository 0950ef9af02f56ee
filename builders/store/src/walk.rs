//! Reading a tree in the order of a NAR, each file once, with a visitor beside the encoder.

use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use cairn_formats::nar::Encoder;

use crate::error::{At as _, Result, StoreError};

/// As deep as a NAR may be by `cairn_formats::nar::decode`.
pub(crate) const MAX_DEPTH: usize = 512;

/// Sees each node of a tree as it is encoded.
pub(crate) trait Visitor {
    /// Before the node is opened.
    fn enter(&mut self, _path: &Path, _meta: &Metadata) -> Result<()> {
        Ok(())
    }
    /// The content of a file as it is read.
    fn content(&mut self, _bytes: &[u8]) {}
    /// After a node, for a directory after what is in it.
    fn leave(&mut self, _path: &Path, _meta: &Metadata) -> Result<()> {
        Ok(())
    }
}

/// Sees nothing.
pub(crate) struct Plain;
impl Visitor for Plain {}

pub(crate) fn is_executable(meta: &Metadata) -> bool {
    meta.mode() & 0o100 != 0
}

/// A directory that is being read.
struct Level {
    path: PathBuf,
    meta: Metadata,
    /// Names in it that are left.
    names: std::vec::IntoIter<OsString>,
}

/// Encodes the tree at `path`. The levels lie in a list: on a thread's stack, as many as a hostile
/// tree may have could be too many.
pub(crate) fn encode<W: Write>(path: &Path, nar: &mut Encoder<W>, visitor: &mut impl Visitor) -> Result<()> {
    let mut levels: Vec<Level> = Vec::new();
    let mut next = Some(path.to_path_buf());
    loop {
        if let Some(path) = next.take() {
            if levels.len() > MAX_DEPTH {
                return Err(StoreError::TooDeep { path, limit: MAX_DEPTH });
            }
            let meta = path.symlink_metadata().at("read", &path)?;
            visitor.enter(&path, &meta)?;
            if meta.is_dir() {
                nar.directory().at("encode", &path)?;
                let names = sorted_names(&path)?.into_iter();
                levels.push(Level { path, meta, names });
            } else {
                leaf(&path, &meta, nar, visitor)?;
                visitor.leave(&path, &meta)?;
                close(&levels, nar)?;
            }
        }
        let Some(level) = levels.last_mut() else { return Ok(()) };
        if let Some(name) = level.names.next() {
            nar.entry(name.as_bytes()).at("encode", &level.path)?;
            next = Some(level.path.join(name));
        } else {
            nar.end().at("encode", &level.path)?;
            visitor.leave(&level.path, &level.meta)?;
            levels.pop();
            close(&levels, nar)?;
        }
    }
}

/// After a node: ends its entry in the directory that it is in.
fn close<W: Write>(levels: &[Level], nar: &mut Encoder<W>) -> Result<()> {
    levels.last().map_or(Ok(()), |level| nar.close_entry().at("encode", &level.path))
}

fn leaf<W: Write>(path: &Path, meta: &Metadata, nar: &mut Encoder<W>, visitor: &mut impl Visitor) -> Result<()> {
    if meta.is_file() {
        let file = open(path)?;
        // From the descriptor, so that size and bytes belong together.
        let len = file.metadata().at("read", path)?.len();
        let mut data = Tap { file, visitor };
        nar.regular(is_executable(meta), len, &mut data).at("read", path)
    } else if meta.is_symlink() {
        let target = std::fs::read_link(path).at("read the link", path)?;
        nar.symlink(target.as_os_str().as_bytes()).at("encode", path)
    } else {
        Err(unsupported(path, meta))
    }
}

/// Refuses to follow a link that took the file's place, and to wait on a FIFO.
pub(crate) fn open(path: &Path) -> Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path).at("open", path)
}

/// The names in a directory, in byte order.
pub(crate) fn sorted_names(dir: &Path) -> Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).at("list", dir)? {
        names.push(entry.at("list", dir)?.file_name().into_vec());
    }
    names.sort_unstable();
    Ok(names.into_iter().map(OsString::from_vec).collect())
}

pub(crate) fn unsupported(path: &Path, meta: &Metadata) -> StoreError {
    let kind = meta.file_type();
    let kind = match () {
        () if kind.is_socket() => "socket",
        () if kind.is_fifo() => "FIFO",
        () if kind.is_block_device() => "block device",
        () if kind.is_char_device() => "character device",
        () => "special file",
    };
    StoreError::UnsupportedFile { path: path.to_path_buf(), kind }
}

struct Tap<'v, V> {
    file: File,
    visitor: &'v mut V,
}

impl<V: Visitor> Read for Tap<'_, V> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buffer)?;
        self.visitor.content(&buffer[..n]);
        Ok(n)
    }
}
