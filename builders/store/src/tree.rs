//! Trees on disk to and from NARs.

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use cairn_formats::nar::{self, Encoder, NarError};
use cairn_formats::{HashWriter, RelPath, Sha256};

use crate::canonical;
use crate::error::{At as _, Result, StoreError};
use crate::walk::{self, Plain};

const BUFFER: usize = 128 << 10;

/// Writes the NAR of the tree at `path`.
pub fn dump(path: &Path, to: impl Write) -> Result<()> {
    let mut nar = Encoder::new(BufWriter::with_capacity(BUFFER, to)).at("encode", path)?;
    walk::encode(path, &mut nar, &mut Plain)?;
    nar.finish().flush().at("write the archive of", path)
}

/// The hash of the NAR of the tree at `path`, and the NAR's size in bytes.
pub fn hash(path: &Path) -> Result<(Sha256, u64)> {
    let mut writer = HashWriter::new(io::sink());
    dump(path, &mut writer)?;
    let (_, hash, size) = writer.finish();
    Ok((hash, size))
}

/// Unpacks a NAR to `dest`, which must not exist, with ordinary modes (0644, 0755). What was
/// written stays when the archive turns out to be bad.
pub fn restore(from: impl Read, dest: &Path) -> Result<()> {
    let mut writer = Restore { dest, failed: None };
    nar::decode(BufReader::with_capacity(BUFFER, from), &mut writer).map_err(|source| match (writer.failed, source) {
        (Some(error), _) => error,
        (None, NarError::Io(source)) if source.kind() != io::ErrorKind::UnexpectedEof => {
            StoreError::io("restore the archive to", dest, source)
        }
        (None, source) => StoreError::Nar { path: dest.to_path_buf(), source },
    })
}

/// Brings the tree at `path` into the form of the store: modes 0444 and 0555, the fixed time, no
/// extended attributes, owned by this user.
pub fn canonicalise(path: &Path) -> Result<()> {
    canonical::canonicalise_tree(path)
}

/// Every name has been checked to be a single part, and parents are directories that were made
/// here, so no name and no link can lead out of `dest`.
struct Restore<'d> {
    dest: &'d Path,
    /// The fault with its path, which an `io::Error` cannot carry.
    failed: Option<StoreError>,
}

impl Restore<'_> {
    fn keep<T>(&mut self, result: Result<T>) -> io::Result<T> {
        result.map_err(|error| {
            self.failed = Some(error);
            io::Error::other("the file could not be written")
        })
    }

    fn place(&self, path: &RelPath) -> std::path::PathBuf {
        if path.is_root() { self.dest.to_path_buf() } else { self.dest.join(path.as_path()) }
    }
}

impl nar::Sink for Restore<'_> {
    fn directory(&mut self, path: &RelPath) -> io::Result<()> {
        let place = self.place(path);
        self.keep(std::fs::create_dir(&place).at("create the directory", &place))
    }

    fn regular(&mut self, path: &RelPath, executable: bool, len: u64, data: &mut dyn Read) -> io::Result<()> {
        let place = self.place(path);
        let mode = if executable { 0o755 } else { 0o644 };
        let file = std::fs::File::options().write(true).create_new(true).mode(mode).open(&place);
        let mut file = self.keep(file.at("create the file", &place))?;
        // Reading may fail because the archive is bad, writing because the disk is: tell them apart.
        let mut buffer = vec![0; BUFFER.min(usize::try_from(len).unwrap_or(BUFFER)).max(1)];
        loop {
            let n = data.read(&mut buffer)?;
            if n == 0 {
                return Ok(());
            }
            let written = file.write_all(&buffer[..n]).at("write", &place).map_err(|e| e.needing(len));
            self.keep(written)?;
        }
    }

    fn symlink(&mut self, path: &RelPath, target: &[u8]) -> io::Result<()> {
        let place = self.place(path);
        let target = std::ffi::OsStr::from_bytes(target);
        self.keep(std::os::unix::fs::symlink(target, &place).at("create the link", &place))
    }
}
