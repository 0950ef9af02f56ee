//! The file at which a copy was interrupted. What arrived of it is kept, so that a large file goes
//! on where it stopped; small ones are as quickly sent anew.
//!
//! Only the last one is kept, until it is whole, another one takes its place, or a collection comes.
//! Its bytes are flushed before it has its name here, and hashed again when it goes on.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use cairn_formats::Sha256;
use cairn_protocol::manifest;

use crate::paths::Paths;

/// Fewer bytes are not kept.
const WORTH: u64 = 64 << 10;

/// The first bytes of a file.
#[derive(Debug)]
pub struct Begun {
    pub link: Sha256,
    pub file: File,
    pub bytes: u64,
}

impl Begun {
    pub fn find(paths: &Paths) -> Option<Self> {
        let entry = fs::read_dir(paths.begun()).ok()?.flatten().next()?;
        let link = Sha256::from_nix32(entry.file_name().to_str()?).ok()?;
        let file = File::open(entry.path()).ok()?;
        let bytes = file.metadata().ok().filter(fs::Metadata::is_file)?.len();
        Some(Self { link, file, bytes })
    }

    /// Whether these are the first bytes of that file.
    pub fn starts(&self, file: &manifest::File) -> bool {
        self.link == file.link && self.bytes < file.size
    }
}

/// Keeps what `arriving` holds of the file with this hash, unless more of it is kept already.
pub fn keep(paths: &Paths, arriving: &Path, link: &Sha256) -> io::Result<()> {
    let file = File::open(arriving)?;
    let (bytes, place) = (file.metadata()?.len(), place(paths, link));
    if bytes < WORTH || fs::metadata(&place).is_ok_and(|kept| kept.len() >= bytes) {
        return Ok(());
    }
    file.sync_data()?;
    forget(paths)?;
    fs::create_dir_all(paths.begun())?;
    fs::rename(arriving, place)
}

/// The file has become whole, or cannot become so.
pub fn done(paths: &Paths, link: &Sha256) -> io::Result<()> {
    absent_is_fine(fs::remove_file(place(paths, link)))
}

/// Gives the space back.
pub fn forget(paths: &Paths) -> io::Result<()> {
    absent_is_fine(fs::remove_dir_all(paths.begun()))
}

fn place(paths: &Paths, link: &Sha256) -> PathBuf {
    paths.begun().join(link.nix32())
}

fn absent_is_fine(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
