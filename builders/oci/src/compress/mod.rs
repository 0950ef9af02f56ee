//! The compressors, pinned: program, version, level and block size are part of a layer's identity.
//!
//! **gzip is the default**, because everything reads it: umoci 0.4.7 refuses zstd layers ("blob is
//! not correct mediatype: application/vnd.oci.image.layer.v1.tar+zstd"), while skopeo 1.9 and
//! podman 4.3 take both. zstd is for definitions that ask for it.
//!
//! Measured on 113 MB of Python, OpenSSL and time zones as one tar, MB/s per core of a 2-core
//! virtual EPYC, musl, size in percent of the tar:
//!
//! | compressor | level | MB/s | size |
//! |---|---|---|---|
//! | zlib-rs 0.6.8, 1 MiB blocks with dictionary | 1 | 176 | 40.6 |
//! | | 3 | 85 | 32.1 |
//! | | 6 | 59 | 30.8 |
//! | libdeflate 1.26, 1 MiB members | 1 | 191 | 32.9 |
//! | | 2 | 155 | 31.5 |
//! | | 5 | 110 | 30.1 |
//! | | 6 | 88 | 29.9 |
//! | zstd 1.5.7, multi-threaded mode | 1 | 239 | 32.6 |
//! | | **3** | **140** | **28.5** |
//! | | 6 | 73 | 26.2 |
//!
//! libdeflate is smaller than zlib-rs at half the time, so gzip is libdeflate. Its level is 1: the
//! 196 MB of the layers of `images/api` take 0.88 s of one processor and are 75.1 MB, with level 3
//! 1.29 s and 72.0 MB (`libdeflate-gzip` 1.14 on another such EPYC). A build waits for it, and a
//! switch sends files, not layers. Both compressors give the same bytes
//! on every processor, as their sources show: their vector code compares, slides and clears tables,
//! all with exact results, and their hash functions are plain multiplications. (zlib-ng, which zlib-rs follows, has hashed with CRC instructions where
//! there are any; zlib-rs 0.6.8 does not.) An update of a library may change bytes, so `Cargo.lock`
//! pins them, tests hold digests, and [`Compression::id`] belongs into a recipe.

mod gzip;
mod zstd;

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    #[default]
    Gzip,
    Zstd,
}

impl Compression {
    pub const ALL: [Self; 2] = [Self::Gzip, Self::Zstd];

    /// The layer media types of the OCI image specification 1.1.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }

    /// Everything that decides the compressed bytes. Change it with any of that: recipes carry it,
    /// and layers are built anew.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Gzip => "gzip:libdeflate-1.26:level-1:members-of-1MiB",
            Self::Zstd => "zstd:libzstd-1.5.7:level-3:multi-threaded",
        }
    }
}

/// A compressor over a writer. Bytes do not depend on `threads` nor on how the input is cut.
pub(crate) enum Compressor<W: Write> {
    Gzip(gzip::GzipWriter<W>),
    Zstd(zstd::ZstdWriter<W>),
}

impl<W: Write> Compressor<W> {
    pub(crate) fn new(compression: Compression, threads: usize, out: W) -> io::Result<Self> {
        match compression {
            Compression::Gzip => Ok(Self::Gzip(gzip::GzipWriter::new(threads, out)?)),
            Compression::Zstd => zstd::ZstdWriter::new(threads, out).map(Self::Zstd),
        }
    }

    pub(crate) fn finish(self) -> io::Result<W> {
        match self {
            Self::Gzip(writer) => writer.finish(),
            Self::Zstd(writer) => writer.finish(),
        }
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(writer) => writer.write(bytes),
            Self::Zstd(writer) => writer.write(bytes),
        }
    }

    /// Does nothing: where a stream is cut would show in its bytes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
