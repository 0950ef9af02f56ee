//! NAR, the archive format whose hash is the identity of a tree.
//!
//! Strings are a 64-bit little-endian length, the bytes, and zeros up to a multiple of eight. A
//! node is a regular file (executable or not), a symbolic link, or a directory with its entries in
//! byte order. Nothing else exists: no times, owners or other modes, so that equal content has
//! equal bytes (E. Dolstra, "The purely functional software deployment model", figure 5.2).
//!
//! ```
//! use cairn_formats::nar::Encoder;
//!
//! let mut nar = Encoder::new(Vec::new())?;
//! nar.directory()?;
//! nar.entry(b"greeting")?;
//! nar.regular(false, 6, &mut &b"hello\n"[..])?;
//! nar.close_entry()?;
//! nar.end()?;
//! assert_eq!(nar.finish().len() % 8, 0);
//! # Ok::<(), std::io::Error>(())
//! ```

mod decode;
mod encode;

pub use decode::{NarError, Sink, decode};
pub use encode::{Encoder, file_hash, file_nar_size};

const MAGIC: &[u8] = b"nix-archive-1";

const fn padding(len: u64) -> usize {
    ((8 - len % 8) % 8) as usize
}
