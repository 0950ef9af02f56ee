//! The outer archive of a package: ar(5) in the common dialect, as far as deb(5) uses it.
//!
//! Our own reader, because it must stream, bound every member by its declared size and name the
//! member in each error; the whole format is a fixed header of 60 bytes.

use std::io::{self, Read};

use crate::error::{Error, Problem, Result};

const MAGIC: &[u8; 8] = b"!<arch>\n";

/// The members of an archive, one after the other.
pub struct Members<R> {
    below: R,
    archive: String,
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
    pub fn new(mut below: R, archive: &str) -> Result<Self> {
        let mut magic = [0; 8];
        below
            .read_exact(&mut magic)
            .map_err(|_| Error::archive(archive, "is too short to be a Debian package; was it cut off?"))?;
        if magic != *MAGIC {
            return Err(Error::archive(archive, "is not a Debian package: it does not begin as an ar archive"));
        }
        Ok(Self { below, archive: archive.to_owned(), rest: 0 })
    }

    /// The next member whose name the caller wants; the others are skipped.
    pub fn next(&mut self, wanted: impl Fn(&str) -> bool) -> Result<Option<Member<'_, R>>> {
        loop {
            self.skip_rest()?;
            let Some((name, size)) = self.header()? else { return Ok(None) };
            self.rest = size + size % 2;
            if wanted(&name) {
                return Ok(Some(Member { name, left: size, members: self }));
            }
        }
    }

    fn skip_rest(&mut self) -> Result<()> {
        let skipped = io::copy(&mut self.below.by_ref().take(self.rest), &mut io::sink());
        match skipped {
            // The padding of the last member may be missing.
            Ok(n) if n + 1 >= self.rest => self.rest = 0,
            Ok(_) => return Err(Error::archive(&self.archive, "ends in the middle of a member; was it cut off?")),
            Err(error) => return Err(Error::archive(&self.archive, format!("cannot be read: {error}"))),
        }
        Ok(())
    }

    fn header(&mut self) -> Result<Option<(String, u64)>> {
        let mut header = [0; 60];
        let mut got = 0;
        while got < header.len() {
            match self.below.read(&mut header[got..]) {
                Ok(0) if got == 0 => return Ok(None),
                Ok(0) => return Err(Error::archive(&self.archive, "ends in the middle of a header; was it cut off?")),
                Ok(n) => got += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::archive(&self.archive, format!("cannot be read: {error}"))),
            }
        }
        let text = |range: std::ops::Range<usize>| std::str::from_utf8(&header[range]).ok().map(str::trim_end);
        let name = text(0..16).map(|name| name.strip_suffix('/').unwrap_or(name)).filter(|name| !name.is_empty());
        let size = text(48..58).filter(|size| size.bytes().all(|b| b.is_ascii_digit())).and_then(|s| s.parse().ok());
        match (name, size, &header[58..]) {
            (Some(name), Some(size), b"`\n") => Ok(Some((name.to_owned(), size))),
            _ => Err(Error::archive(&self.archive, "has a damaged member header")),
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
                Problem::Other(format!("the archive ends {} bytes before its member", self.left)).to_string(),
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
        let mut members = Members::new(&*bytes, "x").unwrap();
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
            let read = || -> Result<()> {
                let mut members = Members::new(bytes, "x")?;
                while members.next(|_| true)?.is_some() {}
                Ok(())
            };
            let error = read().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
