//! Manifests: the trees of the paths that a host lacks, without the contents of their files.
//!
//! A binary stream (compressed on the wire), because a manifest is mostly hashes: 32 bytes that do
//! not compress for each new file, and nothing else should add to them. A tree says of each regular
//! file its size, whether it is executable and its *link hash*: the NAR hash of that one file,
//! which is its name in the store's `.links`. Three ways keep the common case small:
//!
//! * a subtree that equals the one at the same place in the path's *base* (a valid path of the
//!   host, usually the same thing of the generation before) is [`Item::Same`], two bytes and its
//!   name;
//! * a file whose contents the stream named before is not numbered again (`fresh: false`), and its
//!   repeated hash compresses to a few bytes;
//! * contents are numbered by their order alone, so that the host's answer is one bit for each
//!   ([`crate::wanted`]).
//!
//! ```text
//! stream    = *path 0x00
//! path      = 0x01 header node
//! header    = base-name nar-hash nar-size n(references) *base-name ca [base of Same]
//! node      = 0x02 *(name node) empty-name    directory, names strictly ascending
//!           | 0x03 flags size link-hash       file; flags: 1 executable, 2 fresh
//!           | 0x04 target                     symbolic link
//!           | 0x05                            same as in the base
//! ```
//! Numbers are LEB128, strings have their length in front, hashes are 32 bytes.

mod read;
mod write;

use std::collections::BTreeSet;

use cairn_formats::{ContentAddress, Sha256, StorePath};

pub use read::{ReadError, Reader};
pub use write::Writer;

/// Longest name of a directory entry (Linux' `NAME_MAX`) and longest target of a link.
const MAX_NAME: u64 = 255;
const MAX_TARGET: u64 = 4095;
/// Deepest directory; `PATH_MAX` allows no more.
const MAX_DEPTH: usize = 2048;
/// References of one path.
const MAX_REFERENCES: u64 = 65_536;

/// What is announced of one store path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub path: StorePath,
    pub nar_hash: Sha256,
    /// Bytes.
    pub nar_size: u64,
    pub references: BTreeSet<StorePath>,
    pub ca: Option<ContentAddress>,
    /// The path of the host that [`Item::Same`] refers to.
    pub base: Option<StorePath>,
}

/// One regular file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct File {
    pub executable: bool,
    /// Bytes.
    pub size: u64,
    /// NAR hash of this file alone.
    pub link: Sha256,
    /// Whether these contents are named for the first time in this stream, and so numbered.
    pub fresh: bool,
}

/// A step of walking the trees. The name is empty for the root of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    Path(Box<Header>),
    Directory {
        name: Vec<u8>,
    },
    /// The end of the innermost directory.
    Leave,
    File {
        name: Vec<u8>,
        file: File,
    },
    Symlink {
        name: Vec<u8>,
        target: Vec<u8>,
    },
    Same {
        name: Vec<u8>,
    },
}

mod tag {
    pub const END: u8 = 0;
    pub const PATH: u8 = 1;
    pub const DIRECTORY: u8 = 2;
    pub const FILE: u8 = 3;
    pub const SYMLINK: u8 = 4;
    pub const SAME: u8 = 5;
    pub const EXECUTABLE: u8 = 1;
    pub const FRESH: u8 = 2;
}

#[cfg(test)]
mod tests;
