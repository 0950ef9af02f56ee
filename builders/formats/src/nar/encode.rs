//! Writing NARs, and the hash of a single file's NAR.

use std::io::{self, Read, Write};

use super::{MAGIC, padding};
use crate::{HashWriter, Sha256};

/// Writes one NAR, node by node. The caller gives directory entries in byte order.
pub struct Encoder<W: Write> {
    out: W,
}

impl<W: Write> Encoder<W> {
    pub fn new(out: W) -> io::Result<Self> {
        let mut encoder = Self { out };
        encoder.string(MAGIC)?;
        Ok(encoder)
    }

    /// Opens a directory node; close it with [`Encoder::end`].
    pub fn directory(&mut self) -> io::Result<()> {
        self.strings(&[b"(", b"type", b"directory"])
    }

    /// Opens an entry of the open directory; its node follows, then [`Encoder::close_entry`].
    pub fn entry(&mut self, name: &[u8]) -> io::Result<()> {
        self.strings(&[b"entry", b"(", b"name", name, b"node"])
    }

    pub fn close_entry(&mut self) -> io::Result<()> {
        self.string(b")")
    }

    /// Closes a directory node.
    pub fn end(&mut self) -> io::Result<()> {
        self.string(b")")
    }

    /// A regular file of exactly `len` bytes; a shorter or longer source is an error.
    pub fn regular(&mut self, executable: bool, len: u64, data: &mut impl Read) -> io::Result<()> {
        self.strings(&[b"(", b"type", b"regular"])?;
        if executable {
            self.strings(&[b"executable", b""])?;
        }
        self.string(b"contents")?;
        self.out.write_all(&len.to_le_bytes())?;
        let copied = io::copy(&mut data.take(len), &mut self.out)?;
        if copied != len || data.read(&mut [0])? != 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the file changed while it was read: expected {len} bytes"),
            ));
        }
        self.out.write_all(&[0; 8][..padding(len)])?;
        self.string(b")")
    }

    pub fn symlink(&mut self, target: &[u8]) -> io::Result<()> {
        self.strings(&[b"(", b"type", b"symlink", b"target", target, b")"])
    }

    /// Gives the writer back. A NAR has no trailer.
    pub fn finish(self) -> W {
        self.out
    }

    fn strings(&mut self, strings: &[&[u8]]) -> io::Result<()> {
        strings.iter().try_for_each(|s| self.string(s))
    }

    fn string(&mut self, bytes: &[u8]) -> io::Result<()> {
        let len = bytes.len() as u64;
        self.out.write_all(&len.to_le_bytes())?;
        self.out.write_all(bytes)?;
        self.out.write_all(&[0; 8][..padding(len)])
    }
}

/// The hash of the NAR of a single regular file: the file's name in a store's `.links`.
pub fn file_hash(executable: bool, len: u64, data: &mut impl Read) -> io::Result<Sha256> {
    let mut encoder = Encoder::new(HashWriter::new(io::sink()))?;
    encoder.regular(executable, len, data)?;
    Ok(encoder.finish().finish().1)
}

/// Bytes in the NAR of a single regular file.
pub const fn file_nar_size(executable: bool, len: u64) -> u64 {
    // Each short string takes a length word and one or two words of text.
    let fixed = 24 + 16 + 16 + 16 + 16 + 16;
    let flag = if executable { 24 + 8 } else { 0 };
    fixed + flag + 8 + len + padding(len) as u64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    // printf 'hello\n' > f; nix-hash --type sha256 --base32 f; chmod +x f; nix-hash …
    #[test]
    fn hashes_of_files_equal_those_of_nix() {
        let hash = |executable| file_hash(executable, 6, &mut &b"hello\n"[..]).unwrap().nix32();
        assert_eq!(hash(false), "04zwf782yjwnh3q6hz5izfd6jyip8kgw6g6yj43fiqhbyhdd0dqw");
        assert_eq!(hash(true), "1yhh619m3cy1mird7f0l7zsmiv9rayqn075zinda2g7rscwn0hv5");
    }

    #[test]
    fn sizes_are_foretold() {
        for len in [0u64, 1, 7, 8, 9, 4096] {
            for executable in [false, true] {
                let mut nar = Encoder::new(Vec::new()).unwrap();
                nar.regular(executable, len, &mut io::repeat(1).take(len)).unwrap();
                assert_eq!(nar.finish().len() as u64, file_nar_size(executable, len), "{len} {executable}");
            }
        }
    }

    #[test]
    fn a_file_that_changes_size_is_an_error() {
        for content in [&b"12345"[..], b"1234567"] {
            let mut nar = Encoder::new(Vec::new()).unwrap();
            assert!(nar.regular(false, 6, &mut &content[..]).is_err());
        }
    }
}
