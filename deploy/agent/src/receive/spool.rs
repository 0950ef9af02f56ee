//! The manifests of a copy, kept in a file and read once for each pass.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use cairn_formats::StorePath;
use cairn_protocol::manifest::{self, Item};

use super::{ReceiveError, decompressed};

/// Longest manifests: those of some ten million files.
const LIMIT: u64 = 1 << 30;

pub struct Spool {
    /// Has no name any more: it is gone when closed.
    file: File,
}

impl Spool {
    /// Decompresses `from` into a new file at `path`.
    pub fn fill(path: &Path, from: impl Read) -> Result<Self, ReceiveError> {
        let file = File::options().read(true).write(true).create_new(true).open(path);
        let file = file.map_err(ReceiveError::file("create", path))?;
        std::fs::remove_file(path).map_err(ReceiveError::file("unlink", path))?;
        let mut stream = decompressed(from).map_err(ReceiveError::Connection)?;
        let mut to = BufWriter::new(file);
        let mut buffer = vec![0; 64 << 10];
        let mut length = 0;
        loop {
            let n = match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(ReceiveError::Connection(e)),
            };
            length += n as u64;
            if length > LIMIT {
                return Err(ReceiveError::ManifestTooLong { limit: LIMIT });
            }
            to.write_all(&buffer[..n]).map_err(ReceiveError::file("write", path))?;
        }
        let file = to.into_inner().map_err(|e| ReceiveError::file("write", path)(e.into_error()))?;
        Ok(Self { file })
    }

    /// Reads from the beginning; passes may go on beside each other.
    pub fn walk(&self) -> Walk<'_> {
        let from = Pass { file: &self.file, at: 0 };
        Walk { reader: manifest::Reader::new(BufReader::with_capacity(64 << 10, from)), next_content: 0 }
    }
}

/// Reads a file from a place of its own.
struct Pass<'a> {
    file: &'a File,
    at: u64,
}

impl Read for Pass<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(into, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// A pass over the manifests that numbers the contents.
pub struct Walk<'a> {
    reader: manifest::Reader<BufReader<Pass<'a>>>,
    next_content: u64,
}

/// An item, with the number of its contents if it is a file that names new ones.
pub struct Step {
    pub item: Item,
    pub content: Option<u64>,
}

impl Walk<'_> {
    pub fn next_step(&mut self) -> Result<Option<Step>, ReceiveError> {
        let Some(item) = self.reader.next_item()? else { return Ok(None) };
        let fresh = matches!(&item, Item::File { file, .. } if file.fresh);
        let content = fresh.then_some(self.next_content);
        self.next_content += u64::from(fresh);
        Ok(Some(Step { item, content }))
    }
}

/// For items before the first path, which the reader does not let through.
pub fn no_path() -> ReceiveError {
    let reason = "an entry before the first path".to_owned();
    ReceiveError::Manifest(manifest::ReadError::Malformed { path: "(none)".to_owned(), reason })
}

/// The path that a pass is in.
pub fn current(path: Option<&StorePath>) -> Result<&StorePath, ReceiveError> {
    path.ok_or_else(no_path)
}
