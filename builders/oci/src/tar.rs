//! A tar writer that leaves nothing to chance: POSIX ustar, pax records only where ustar has no room.
//!
//! Format: POSIX.1-2017, `pax`, "ustar Interchange Format" and "pax Header Block". Time is
//! [`MTIME`], owners are numbers, user and group names are empty. A name or link target of more
//! than 100 bytes, an id above 2,097,151 or a size from 8 GiB on goes into a pax record.
//!
//! The `tar` crate is not used for writing: it fills headers from the file system by default, and
//! its choice of extension (GNU long names) would be part of our digests.

use std::io::{self, Read, Write};

/// Seconds since the epoch that every entry carries.
pub const MTIME: u64 = 0;

const BLOCK: usize = 512;
const ZEROES: [u8; BLOCK] = [0; BLOCK];

/// What an entry is; a symbolic link brings its target.
#[derive(Debug, Clone, Copy)]
pub enum Type<'a> {
    Directory,
    Regular { size: u64 },
    Symlink { target: &'a [u8] },
}

/// An entry's header without what is constant.
#[derive(Debug, Clone, Copy)]
pub struct Header<'a> {
    /// Relative, without trailing slash.
    pub path: &'a [u8],
    pub kind: Type<'a>,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// Writes entries in the order in which they come.
pub struct TarWriter<W> {
    out: W,
    buffer: Vec<u8>,
}

impl<W: Write> TarWriter<W> {
    pub fn new(out: W) -> Self {
        Self { out, buffer: vec![0; 1 << 17] }
    }

    /// A directory or a symbolic link: an entry that is only a header.
    pub fn header_only(&mut self, header: &Header<'_>) -> io::Result<()> {
        self.header(header)
    }

    /// A regular file. Reads exactly `size` bytes; fails with `UnexpectedEof` if there are fewer and
    /// with `InvalidData` if there are more.
    pub fn file(&mut self, header: &Header<'_>, size: u64, data: &mut impl Read) -> io::Result<()> {
        self.header(header)?;
        let mut left = size;
        loop {
            // One byte more than is left, so that a file that grows is noticed.
            let want = usize::try_from(left.saturating_add(1)).unwrap_or(usize::MAX).min(self.buffer.len());
            match data.read(&mut self.buffer[..want]) {
                Ok(0) if left == 0 => break,
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) if n as u64 > left => return Err(io::ErrorKind::InvalidData.into()),
                Ok(n) => {
                    self.out.write_all(&self.buffer[..n])?;
                    left -= n as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.pad(size)
    }

    /// Two empty blocks end an archive.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&ZEROES)?;
        self.out.write_all(&ZEROES)?;
        Ok(self.out)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        match (size % BLOCK as u64) as usize {
            0 => Ok(()),
            over => self.out.write_all(&ZEROES[over..]),
        }
    }

    fn header(&mut self, header: &Header<'_>) -> io::Result<()> {
        let name = stored_name(header);
        let (size, target, flag) = match header.kind {
            Type::Directory => (0, &b""[..], b'5'),
            Type::Regular { size } => (size, &b""[..], b'0'),
            Type::Symlink { target } => (0, target, b'2'),
        };
        let mut records = Vec::new();
        // In the order of their keys: the format has no order of its own.
        number_record(&mut records, b"gid", u64::from(header.gid), 0o777_7777);
        if target.len() > 100 {
            record(&mut records, b"linkpath", target);
        }
        if name.len() > 100 {
            record(&mut records, b"path", &name);
        }
        number_record(&mut records, b"size", size, 0o777_7777_7777);
        number_record(&mut records, b"uid", u64::from(header.uid), 0o777_7777);
        if !records.is_empty() {
            let len = records.len() as u64;
            self.out.write_all(&block(b"././@PaxHeader", b"", b'x', [0o644, 0, 0, len]))?;
            self.out.write_all(&records)?;
            self.pad(len)?;
        }
        let numbers = [u64::from(header.mode), u64::from(header.uid), u64::from(header.gid), size];
        self.out.write_all(&block(&name, target, flag, numbers))
    }
}

fn stored_name(header: &Header<'_>) -> Vec<u8> {
    let mut name = header.path.to_vec();
    if matches!(header.kind, Type::Directory) {
        name.push(b'/');
    }
    name
}

/// Only if the number has no room in the header, whose field holds `limit` at most.
fn number_record(records: &mut Vec<u8>, key: &[u8], value: u64, limit: u64) {
    if value > limit {
        record(records, key, value.to_string().as_bytes());
    }
}

/// `LENGTH KEY=VALUE\n`, where LENGTH counts the whole record with its own digits.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut len = rest;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    records.extend_from_slice(len.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// The 512 bytes of a header. What does not fit is cut; a pax record before it then holds the whole.
fn block(name: &[u8], target: &[u8], flag: u8, [mode, uid, gid, size]: [u64; 4]) -> [u8; BLOCK] {
    let mut block = ZEROES;
    let name = &name[..name.len().min(100)];
    let target = &target[..target.len().min(100)];
    block[..name.len()].copy_from_slice(name);
    octal(&mut block[100..108], mode);
    octal(&mut block[108..116], uid);
    octal(&mut block[116..124], gid);
    octal(&mut block[124..136], size);
    octal(&mut block[136..148], MTIME);
    block[148..156].fill(b' ');
    block[156] = flag;
    block[157..157 + target.len()].copy_from_slice(target);
    block[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u64 = block.iter().map(|b| u64::from(*b)).sum();
    octal(&mut block[148..155], sum);
    block
}

/// Zero-padded octal digits and a NUL byte; a number that does not fit becomes 0.
fn octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    let value = if value >> (3 * digits) == 0 { value } else { 0 };
    for (i, place) in field[..digits].iter_mut().rev().enumerate() {
        *place = b'0' + ((value >> (3 * i)) & 7) as u8;
    }
    field[digits] = 0;
}

#[cfg(test)]
#[path = "tar_tests.rs"]
mod tests;
