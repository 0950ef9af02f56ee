//! Unpacking a binary package of Debian (deb(5)) without running anything of it.
//!
//! ```text
//! ar archive: debian-binary | control.tar[.gz|.xz|.zst] | data.tar[.gz|.xz|.zst]
//! ```
//! The whole way is one stream, from the file through the decompressor into the tree.

pub(crate) mod control;
pub(crate) mod data;
mod entries;

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use cairn_formats::ar;
pub use control::package;
use liblzma::read::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};

use crate::error::{Error, Problem, Result, label};
use crate::glob::Excludes;
use crate::tree::TreeWriter;

/// Beyond this an archive is taken for a bomb. The largest package of bookworm unpacks to a fifth.
const MAX_UNPACKED: u64 = 16 << 30;
/// `xz -9` needs 65 MiB to unpack; more than this is no honest package.
const XZ_MEMORY: u64 = 256 << 20;

/// Unpacks the package at `path` into `tree` and returns its control stanza.
pub fn unpack(path: &Path, excludes: &Excludes, tree: &mut TreeWriter) -> Result<Vec<u8>> {
    let archive = label(path);
    let file = File::open(path).map_err(Error::io("open", path))?;
    let members = ar::Members::new(BufReader::with_capacity(128 * 1024, file));
    let mut members = members.map_err(|error| Error::archive(&archive, error.to_string()))?;

    let mut version = Vec::new();
    let mut first = expect(&mut members, &archive, "debian-binary")?;
    first.by_ref().take(16).read_to_end(&mut version).map_err(|e| Error::member(&archive, "debian-binary", e))?;
    if !version.starts_with(b"2.") {
        return Err(Error::member(&archive, "debian-binary", Problem::Other("is not of format 2".into())));
    }
    drop(first);

    let member = expect(&mut members, &archive, "control.tar")?;
    let stanza = control::read(decompress(member, &archive)?, &archive)?;

    let member = expect(&mut members, &archive, "data.tar")?;
    data::unpack(decompress(member, &archive)?, &archive, excludes, tree)?;
    Ok(stanza)
}

/// The next member that is not reserved for later versions, which must have this name, with or
/// without a suffix for its compression.
fn expect<'m, R: Read>(
    members: &'m mut ar::Members<R>,
    archive: &str,
    name: &'static str,
) -> Result<ar::Member<'m, R>> {
    let found = members.next(|candidate| !candidate.starts_with('_'));
    let found = found.map_err(|error| Error::archive(archive, error.to_string()))?;
    match found {
        Some(member) if member.name.split_once(".tar").map_or(&*member.name, |(stem, _)| stem) == stem(name) => {
            Ok(member)
        }
        Some(member) => {
            Err(Error::member(archive, member.name, Problem::Other(format!("stands where `{name}` must stand"))))
        }
        None => Err(Error::archive(archive, format!("ends before `{name}`; it is not a whole Debian package"))),
    }
}

fn stem(name: &str) -> &str {
    name.strip_suffix(".tar").unwrap_or(name)
}

fn decompress<'a>(mut member: ar::Member<'a, impl Read + 'a>, archive: &str) -> Result<Box<dyn Read + 'a>> {
    let name = std::mem::take(&mut member.name);
    let fault = |error: std::io::Error| Error::member(archive, name.clone(), error);
    let suffix = name.split_once(".tar").map_or("", |(_, suffix)| suffix);
    let plain: Box<dyn Read + 'a> = match suffix {
        "" => Box::new(member),
        ".gz" => Box::new(flate2::read::MultiGzDecoder::new(member)),
        ".xz" => {
            let stream = Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED).map_err(|e| fault(e.into()))?;
            Box::new(XzDecoder::new_stream(member, stream))
        }
        ".zst" => Box::new(zstd::stream::read::Decoder::new(member).map_err(fault)?),
        other => {
            let problem = format!("is compressed in a way that is not known here (`{other}`; known: gz, xz, zst)");
            return Err(Error::member(archive, name, Problem::Other(problem)));
        }
    };
    Ok(Box::new(Bounded { below: plain, left: MAX_UNPACKED }))
}

/// Turns a bomb into an error.
struct Bounded<R> {
    below: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.below.read(buffer)?;
        self.left = self.left.checked_sub(n as u64).ok_or_else(|| {
            std::io::Error::other(format!("it unpacks to more than {MAX_UNPACKED} bytes, which no package does"))
        })?;
        Ok(n)
    }
}
