//! Tree outputs to one compressed layer.
//!
//! A layer output is a folder with `blob` and `layer.json`. Entries are sorted by path, so parents
//! come first; each directory stands there once, and the root itself does not. Files that are hard
//! links of one another become files of their own: in a store, equal files are linked by chance.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use cairn_formats::{HashWriter, RelPath};
use serde::{Deserialize, Serialize};

use crate::compress::{Compression, Compressor};
use crate::error::at;
use crate::tar::{Header, TarWriter, Type};
use crate::tree::{self, Entry, Kind};
use crate::{Digest, OciError, Result, json};

/// What `layer.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerInfo {
    /// Of the tar: the layer's identity in a configuration.
    pub diff_id: Digest,
    /// Of `blob`.
    pub digest: Digest,
    /// Bytes of `blob`.
    pub size: u64,
    /// Bytes of the tar.
    pub uncompressed: u64,
    pub media_type: String,
}

impl LayerInfo {
    /// Reads `layer.json` of a layer output.
    pub fn read(output: &Path) -> Result<Self> {
        json::read(&output.join("layer.json"))
    }
}

/// Writes the layer output `out`, which must not exist, with as many threads as there are processors.
pub fn write_layer(trees: &[PathBuf], compression: Compression, out: &Path) -> Result<LayerInfo> {
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    write_layer_with(trees, compression, threads, out)
}

/// As [`write_layer`]; the number of threads makes no difference but to the time it takes.
pub fn write_layer_with(
    trees: &[PathBuf],
    compression: Compression,
    threads: NonZeroUsize,
    out: &Path,
) -> Result<LayerInfo> {
    let entries = tree::merge(trees)?;
    fs::create_dir(out).map_err(at("create", out))?;
    let path = out.join("blob");
    let blob = File::create_new(&path).map_err(at("create", &path))?;
    let writing = || at("write", &path);

    let blob = HashWriter::new(BufWriter::with_capacity(1 << 18, blob));
    let compressor = Compressor::new(compression, threads.get(), blob).map_err(writing())?;
    // Headers are small and hashing likes large pieces.
    let tar = BufWriter::with_capacity(1 << 16, HashWriter::new(compressor));
    let mut tar = TarWriter::new(tar);
    for (name, entry) in &entries {
        write_entry(&mut tar, name, entry, &path)?;
    }
    let tar = tar.finish().map_err(writing())?.into_inner().map_err(|e| writing()(e.into_error()))?;
    let (compressor, diff_id, uncompressed) = tar.finish();
    let (mut blob, digest, size) = compressor.finish().map_err(writing())?.finish();
    blob.flush().map_err(writing())?;

    let info = LayerInfo {
        diff_id: diff_id.into(),
        digest: digest.into(),
        size,
        uncompressed,
        media_type: compression.media_type().to_owned(),
    };
    json::write(&info, &out.join("layer.json"))?;
    Ok(info)
}

fn write_entry<W: Write>(tar: &mut TarWriter<W>, name: &RelPath, entry: &Entry, blob: &Path) -> Result<()> {
    let kind = match &entry.kind {
        Kind::Directory => Type::Directory,
        Kind::Regular { size } => Type::Regular { size: *size },
        Kind::Symlink { target } => Type::Symlink { target },
    };
    let owner = entry.owner;
    let header = Header { path: name.as_bytes(), kind, mode: owner.mode, uid: owner.uid, gid: owner.gid };
    let Kind::Regular { size } = entry.kind else {
        return tar.header_only(&header).map_err(at("write", blob));
    };
    let mut file = File::open(&entry.source).map_err(at("open", &entry.source))?;
    tar.file(&header, size, &mut file).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => {
            OciError::Changed { path: entry.source.clone(), expected: size }
        }
        _ => OciError::Io { action: "put into the layer", path: entry.source.clone(), source: error },
    })
}
