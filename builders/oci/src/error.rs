//! What can go wrong, with the facts to act on.

use std::io;
use std::path::{Path, PathBuf};

use crate::Digest;

pub type Result<T, E = OciError> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum OciError {
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },

    #[error("{} is not what cairn writes there: {reason}", path.display())]
    Json { path: PathBuf, reason: String },

    #[error("{} names {key:?}, which is not a path inside the tree; nothing was written for it", meta.display())]
    MetaEscape { meta: PathBuf, key: String },

    #[error("{} gives a mode or owner to {key:?}, which is not in the tree", meta.display())]
    MetaUnknownPath { meta: PathBuf, key: String },

    #[error(
        "{} gives {key:?} the mode {mode:#o}; a mode is at most 0o7777, and that of a symbolic link is 0o777",
        meta.display()
    )]
    MetaMode { meta: PathBuf, key: String, mode: u32 },

    #[error(
        "{} is {kind}, which a layer cannot hold; only directories, regular files and symbolic links can",
        path.display()
    )]
    SpecialFile { path: PathBuf, kind: &'static str },

    #[error("two trees give /{path} and differ in {difference}: {} and {}", first.display(), second.display())]
    Conflict { path: String, difference: &'static str, first: PathBuf, second: PathBuf },

    #[error("{} changed while it was read: {expected} bytes were there at first", path.display())]
    Changed { path: PathBuf, expected: u64 },

    #[error("the image {} has no platform; it needs at least one", path.display())]
    NoPlatform { path: PathBuf },

    #[error("the platform {platform} is given twice")]
    DuplicatePlatform { platform: String },

    #[error("the {what} {value:?} is not usable in an image configuration: {remedy}")]
    Config { what: &'static str, value: String, remedy: &'static str },

    #[error("{} has the media type {found:?}; expected {expected}", path.display())]
    MediaType { path: PathBuf, found: String, expected: &'static str },

    #[error("the blob {} is missing from the image; build the image again", path.display())]
    MissingBlob { path: PathBuf },

    #[error("the blob {} has {found} bytes; its descriptor says {expected}. Build the image again", path.display())]
    BlobSize { path: PathBuf, expected: u64, found: u64 },

    #[error("the blob {} has the digest {found}; its descriptor says {expected}. Build the image again", path.display())]
    BlobDigest { path: PathBuf, expected: Digest, found: Digest },

    #[error("{} lists {layers} layers, but its configuration has {diff_ids} diff ids", path.display())]
    LayerCount { path: PathBuf, layers: usize, diff_ids: usize },
}

/// Names the file and what was tried with it.
pub(crate) fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OciError {
    move |source| OciError::Io { action, path: path.to_owned(), source }
}
