//! The unfinished file of a download: `NAME.part`, locked while somebody writes it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use cairn_formats::{HashWriter, Sha256};

use crate::FetchError;

const BUFFER: usize = 128 * 1024;

pub(crate) struct Part {
    path: PathBuf,
    file: File,
    /// Hash and count of everything in the file, kept while writing so that nothing is read twice.
    hash: HashWriter<io::Sink>,
    resumed: bool,
}

impl Part {
    /// Waits for another process that downloads the same file, then takes over what is there.
    pub fn open(path: &Path) -> Result<Self, FetchError> {
        let disk = |source| FetchError::Disk { path: path.to_owned(), source };
        loop {
            let file =
                OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(disk)?;
            file.lock().map_err(disk)?;
            // The process that held the lock may have renamed the file away meanwhile.
            let same = fs::metadata(path).is_ok_and(|now| file.metadata().is_ok_and(|mine| mine.ino() == now.ino()));
            if same {
                let mut part = Self { path: path.to_owned(), file, hash: HashWriter::new(io::sink()), resumed: false };
                part.read_back()?;
                return Ok(part);
            }
        }
    }

    fn read_back(&mut self) -> Result<(), FetchError> {
        let mut buffer = vec![0; BUFFER];
        loop {
            let n = self.file.read(&mut buffer).map_err(|e| self.disk(e))?;
            if n == 0 {
                break;
            }
            self.hash.write_all(&buffer[..n]).map_err(|e| self.disk(e))?;
        }
        self.resumed = self.len() > 0;
        Ok(())
    }

    pub fn len(&self) -> u64 {
        self.hash.written()
    }

    /// Holds bytes that an earlier run, or an earlier try, left.
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    pub fn mark_resumed(&mut self) {
        self.resumed = self.len() > 0;
    }

    pub fn clear(&mut self) -> Result<(), FetchError> {
        self.file.set_len(0).map_err(|e| self.disk(e))?;
        self.file.seek(SeekFrom::Start(0)).map_err(|e| self.disk(e))?;
        self.hash = HashWriter::new(io::sink());
        self.resumed = false;
        Ok(())
    }

    pub fn append(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        self.file.write_all(bytes).map_err(|e| self.disk(e))?;
        self.hash.write_all(bytes).map_err(|e| self.disk(e))
    }

    /// Hash of everything in the file. The file takes no more after this but [`Part::clear`].
    pub fn take_hash(&mut self) -> Sha256 {
        std::mem::replace(&mut self.hash, HashWriter::new(io::sink())).finish().1
    }

    pub fn keep_as(self, destination: &Path) -> Result<(), FetchError> {
        fs::rename(&self.path, destination).map_err(|source| FetchError::Disk { path: destination.to_owned(), source })
    }

    fn disk(&self, source: io::Error) -> FetchError {
        FetchError::Disk { path: self.path.clone(), source }
    }
}

/// Whether the file is there with this content.
pub(crate) fn is_complete(path: &Path, sha256: Sha256, size: Option<u64>) -> bool {
    let Ok(mut file) = File::open(path) else { return false };
    if size.is_some_and(|size| file.metadata().map_or(true, |m| m.len() != size)) {
        return false;
    }
    let mut hash = HashWriter::new(io::sink());
    io::copy(&mut file, &mut hash).is_ok() && hash.finish().1 == sha256
}
