//! Link hashes without reading files: a file of the store is hard-linked to `.links/HASH`, so the
//! inode numbers of one directory listing name the hash of every file.
//!
//! Measured with 5,391 files of 147 MB: the listing takes 7 ms, opening and hashing the files 190 ms
//! of processor time. For a few small files hashing is faster; see [`WORTH_LISTING`].

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirEntryExt as _, MetadataExt as _};
use std::path::Path;

use cairn_formats::Sha256;

/// From this many bytes on the listing is faster than hashing: 8 MiB take about 10 ms.
pub const WORTH_LISTING: u64 = 8 << 20;

pub struct LinkMap {
    device: u64,
    by_inode: HashMap<u64, Sha256>,
}

impl LinkMap {
    /// Lists `.links`. Where listings give other inode numbers than files have (some overlay file
    /// systems), the map is empty and files are hashed.
    pub fn list(dir: &Path) -> io::Result<Self> {
        let device = fs::metadata(dir)?.dev();
        let mut by_inode = HashMap::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let Some(hash) = hash_of(&entry.file_name()) else { continue };
            if by_inode.is_empty() && entry.metadata().is_ok_and(|meta| meta.ino() != entry.ino()) {
                break;
            }
            by_inode.insert(entry.ino(), hash);
        }
        Ok(Self { device, by_inode })
    }

    pub fn hash(&self, meta: &fs::Metadata) -> Option<Sha256> {
        if meta.dev() != self.device || meta.nlink() < 2 {
            return None;
        }
        self.by_inode.get(&meta.ino()).copied()
    }
}

fn hash_of(name: &OsStr) -> Option<Sha256> {
    Sha256::from_nix32(std::str::from_utf8(name.as_bytes()).ok()?).ok()
}
