//! The outer archive of a Debian package: ar(5) in the common dialect, as far as deb(5) uses it.
//!
//! Our own reader, because it must stream, bound every member by its declared size and allocate
//! nothing that the archive asks for: tables of long names (`//`, `#1/N`) are ordinary members here.
//! The whole format is a fixed header of 60 bytes.
//!
//! ```
//! use std::io::Read as _;
//!
//! let archive = b"!<arch>\ngreeting/       0           0     0     100644  3         `\nhi\n\n";
//! let mut members = cairn_formats::ar::Members::new(&archive[..])?;
//! let mut member = members.next(|_| true)?.ok_or("no member")?;
//! let mut text = String::new();
//! member.read_to_string(&mut text)?;
//! assert_eq!((member.name.as_str(), text.as_str()), ("greeting", "hi\n"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::io::{self, Read};

const MAGIC: &[u8; 8] = b"!<arch>\n";

/// Why bytes are not an archive. Each text continues a sentence that begins with the archive's name.
#[derive(Debug, thiserror::Error)]
pub enum ArError {
    #[error("is too short to be a Debian package; was it cut off?")]
    Short,
    #[error("is not a Debian package: it does not begin as an ar archive")]
    Magic,
    #[error("ends in the middle of a member; was it cut off?")]
    CutMember,
    #[error("ends in the middle of a header; was it cut off?")]
    CutHeader,
    #[error("has a damaged member header")]
    Header,
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// The members of an archive, one after the other.
pub struct Members<R> {
    below: R,
    /// Bytes of the current member, with its padding, that were not read yet.
    rest: u64,
}

/// One member; reads as its content.
pub struct Member<'m, R> {
    pub name: String,
    left: u64,
    members: &'m mut Members<R>,
}

impl<R: Read> Members<R> {
    pub fn new(mut below: R) -> Result<Self, ArError> {
        let mut magic = [0; 8];
        below.read_exact(&mut magic).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ArError::Short,
            _ => ArError::Io(error),
        })?;
        if magic != *MAGIC {
            return Err(ArError::Magic);
        }
        Ok(Self { below, rest: 0 })
    }

    /// The next member whose name the caller wants; the others are skipped.
    pub fn next(&mut self, wanted: impl Fn(&str) -> bool) -> Result<Option<Member<'_, R>>, ArError> {
        loop {
            self.skip_rest()?;
            let Some((name, size)) = self.header()? else { return Ok(None) };
            self.rest = size + size % 2;
            if wanted(&name) {
                return Ok(Some(Member { name, left: size, members: self }));
            }
        }
    }

    fn skip_rest(&mut self) -> Result<(), ArError> {
        let skipped = io::copy(&mut self.below.by_ref().take(self.rest), &mut io::sink())?;
        // The padding of the last member may be missing.
        if skipped + 1 < self.rest {
            return Err(ArError::CutMember);
        }
        self.rest = 0;
        Ok(())
    }

    fn header(&mut self) -> Result<Option<(String, u64)>, ArError> {
        let mut header = [0; 60];
        let mut got = 0;
        while got < header.len() {
            match self.below.read(&mut header[got..]) {
                Ok(0) if got == 0 => return Ok(None),
                Ok(0) => return Err(ArError::CutHeader),
                Ok(n) => got += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        let text = |range: std::ops::Range<usize>| std::str::from_utf8(&header[range]).ok().map(str::trim_end);
        let name = text(0..16).map(|name| name.strip_suffix('/').unwrap_or(name)).filter(|name| !name.is_empty());
        let size = text(48..58).filter(|size| size.bytes().all(|b| b.is_ascii_digit())).and_then(|s| s.parse().ok());
        match (name, size, &header[58..]) {
            (Some(name), Some(size), b"`\n") => Ok(Some((name.to_owned(), size))),
            _ => Err(ArError::Header),
        }
    }
}

impl<R: Read> Read for Member<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        if room == 0 {
            return Ok(0);
        }
        let n = self.members.below.read(&mut buffer[..room])?;
        if n == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the archive ends {} bytes before its member", self.left),
            ));
        }
        self.left -= n as u64;
        self.members.rest -= n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for (name, data) in members {
            bytes.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, data.len()).bytes());
            bytes.extend(*data);
            bytes.extend(std::iter::repeat_n(b'\n', data.len() % 2));
        }
        bytes
    }

    #[test]
    fn members_read_back_whether_read_or_skipped() {
        let bytes = archive(&[("a", b"odd"), ("_later", b"skipped"), ("b/", b"even"), ("c", b"")]);
        let mut members = Members::new(&*bytes).unwrap();
        let mut seen = Vec::new();
        while let Some(mut member) = members.next(|name| !name.starts_with('_')).unwrap() {
            let mut data = String::new();
            if member.name != "b" {
                member.read_to_string(&mut data).unwrap();
            }
            seen.push((member.name.clone(), data));
        }
        assert_eq!(seen, [("a".into(), "odd".into()), ("b".into(), String::new()), ("c".into(), String::new())]);
    }

    #[test]
    fn damage_is_named() {
        let whole = archive(&[("a", b"odd"), ("b", b"even")]);
        for (bytes, expected) in [
            (&b"PK\x03\x04aaaaaaaa"[..], "does not begin as an ar archive"),
            (b"!<ar", "too short"),
            (&whole[..40], "middle of a header"),
            (&whole[..70], "middle of a member"),
            (&[&whole[..8], &[b'x'; 60]].concat(), "damaged member header"),
        ] {
            let read = || -> Result<(), ArError> {
                let mut members = Members::new(bytes)?;
                while members.next(|_| true)?.is_some() {}
                Ok(())
            };
            let error = read().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    /// A name table that claims 10 GB is skipped like any member, and found to be cut off.
    #[test]
    fn nothing_is_allocated_for_what_a_header_claims() {
        for name in ["//", "/", "#1/9999999999", "__.SYMDEF"] {
            let bytes = [MAGIC.as_slice(), format!("{name:<48}{:<10}`\n", 9_999_999_999_u64).as_bytes()].concat();
            let mut members = Members::new(&*bytes).unwrap();
            let found = members.next(|name| name == "control.tar");
            assert!(matches!(found, Err(ArError::CutMember | ArError::Header)), "{name}");
        }
    }
}
