//! zstd, always in its multi-threaded mode.
//!
//! One thread and many give the same bytes there, because the input is cut into jobs by the level
//! alone; the single-threaded mode gives others. zstd falls back to it for inputs that it knows to
//! be small, so it is never told the size.

use std::io::{self, Write};

use zstd::stream::raw::CParameter;

/// zstd's level; see the table in the parent module.
const LEVEL: i32 = 3;

pub struct ZstdWriter<W: Write>(zstd::Encoder<'static, W>);

impl<W: Write> ZstdWriter<W> {
    pub fn new(threads: usize, out: W) -> io::Result<Self> {
        let mut encoder = zstd::Encoder::new(out, LEVEL)?;
        // Not `multithread`: 0 would be the single-threaded mode.
        encoder.set_parameter(CParameter::NbWorkers(u32::try_from(threads).unwrap_or(1).max(1)))?;
        encoder.include_checksum(true)?;
        Ok(Self(encoder))
    }

    pub fn finish(self) -> io::Result<W> {
        self.0.finish()
    }
}

impl<W: Write> Write for ZstdWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
