//! The entries of a tar archive, with their long names.
//!
//! The library reads an extended header into memory whatever its length, so that an archive of a
//! few kilobytes, unpacked, takes all memory there is. It is therefore asked for the raw entries,
//! and the extended headers of GNU and POSIX are read here, up to a limit.

use std::io::{self, Read};

use tar::{EntryType, PaxExtensions};

/// Bytes of an extended header. A name in it is at most 4096 bytes long on Linux.
const MAX_EXTENDED: u64 = 64 << 10;

/// The entries of an archive, one after the other.
pub struct Entries<'a, R: Read>(tar::Entries<'a, R>);

/// One entry; its data are read from `raw`.
pub struct Entry<'a, R: Read> {
    pub path: Vec<u8>,
    /// Of a link, what it leads to.
    pub target: Option<Vec<u8>>,
    pub raw: tar::Entry<'a, R>,
}

/// What the extended headers before an entry say of it.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
}

impl<'a, R: Read> Entries<'a, R> {
    pub fn of(archive: &'a mut tar::Archive<R>) -> io::Result<Self> {
        Ok(Self(archive.entries()?.raw(true)))
    }

    pub fn next(&mut self) -> io::Result<Option<Entry<'a, R>>> {
        let mut extended = Extended::default();
        for entry in self.0.by_ref() {
            let mut raw = entry?;
            match raw.header().entry_type() {
                EntryType::GNULongName => set(&mut extended.path, gnu_name(&mut raw)?)?,
                EntryType::GNULongLink => set(&mut extended.target, gnu_name(&mut raw)?)?,
                EntryType::XHeader => extended.read_pax(&mut raw)?,
                // Holds for the whole archive, and says nothing that is used here.
                EntryType::XGlobalHeader => {}
                _ => {
                    let path = extended.path.unwrap_or_else(|| raw.header().path_bytes().into_owned());
                    let plain = || raw.header().link_name_bytes().map(std::borrow::Cow::into_owned);
                    let target = extended.target.or_else(plain);
                    return Ok(Some(Entry { path, target, raw }));
                }
            }
        }
        match (extended.path, extended.target) {
            (None, None) => Ok(None),
            _ => Err(invalid("the archive ends after an extended header")),
        }
    }
}

impl Extended {
    fn read_pax(&mut self, entry: &mut impl Read) -> io::Result<()> {
        let bytes = limited(entry)?;
        for record in PaxExtensions::new(&bytes) {
            let record = record?;
            match record.key_bytes() {
                b"path" => set(&mut self.path, record.value_bytes().to_vec())?,
                b"linkpath" => set(&mut self.target, record.value_bytes().to_vec())?,
                // These override the plain header: for files beyond 8 GiB and ids beyond two million.
                b"size" | b"uid" | b"gid" => {
                    return Err(invalid("an extended header says its size or owner, which no package needs"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn set(slot: &mut Option<Vec<u8>>, value: Vec<u8>) -> io::Result<()> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(invalid("two extended headers name the same entry")),
    }
}

/// A name of GNU's extension may end with NUL.
fn gnu_name(entry: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut name = limited(entry)?;
    if name.last() == Some(&0) {
        name.pop();
    }
    Ok(name)
}

fn limited(entry: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    entry.take(MAX_EXTENDED + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_EXTENDED {
        return Err(invalid("an extended header is longer than any name"));
    }
    Ok(bytes)
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
