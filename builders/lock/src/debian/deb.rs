//! The maintainer scripts of a `.deb`: an `ar` archive whose `control.tar` holds them.
//!
//! The archive's hash was checked, but the archive itself is still read as if written by an enemy:
//! sizes are bounded, links and special files are passed over.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use cairn_formats::ar;
use liblzma::stream::{CONCATENATED, Stream};

/// Bytes of an unpacked `control.tar`; the largest in bookworm have about 3 MB (lists of checksums).
const CONTROL_LIMIT: u64 = 64 << 20;
/// Bytes of one script; the largest in bookworm has about 100 KB.
const SCRIPT_LIMIT: u64 = 2 << 20;
/// `xz -9` needs 65 MiB to unpack; a package that needs more than this is refused.
const XZ_MEMORY: u64 = 256 << 20;

/// Scripts by name. Only those that run when a package is installed: in an image nothing is ever
/// removed or configured interactively, so `prerm`, `postrm` and `config` are not looked at.
pub type Scripts = BTreeMap<String, Vec<u8>>;

const RELEVANT: [&str; 2] = ["preinst", "postinst"];

#[derive(Debug, thiserror::Error)]
pub enum DebFault {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it {0}")]
    Archive(#[from] ar::ArError),
    #[error("`{expected}` is not where deb(5) wants it, at the beginning")]
    NoMember { expected: &'static str },
    #[error("its control.tar is compressed as `{0}`, which is not known")]
    Compression(String),
    #[error("its script {0} is longer than {SCRIPT_LIMIT} bytes")]
    Long(String),
}

/// Reads the scripts of the package in a file. The order of members is the one that the builder
/// demands: a package that the two could read in different ways is refused.
pub fn scripts(path: &Path) -> Result<Scripts, DebFault> {
    let mut members = ar::Members::new(io::BufReader::new(File::open(path)?))?;
    // deb(5) reserves names with an underscore for later versions of the format.
    let known = |name: &str| !name.starts_with('_');
    match members.next(known)? {
        Some(member) if member.name == "debian-binary" => {}
        _ => return Err(DebFault::NoMember { expected: "debian-binary" }),
    }
    let missing = DebFault::NoMember { expected: "control.tar" };
    let Some(member) = members.next(known)? else { return Err(missing) };
    let Some(compression) = member.name.strip_prefix("control.tar").map(str::to_owned) else { return Err(missing) };
    match compression.as_str() {
        "" => from_tar(member),
        ".gz" => from_tar(flate2::read::MultiGzDecoder::new(member)),
        ".xz" => {
            let stream = Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED).map_err(io::Error::from)?;
            from_tar(liblzma::read::XzDecoder::new_stream(member, stream))
        }
        ".zst" => from_tar(zstd::stream::read::Decoder::new(member)?),
        other => Err(DebFault::Compression(other.chars().take(20).collect())),
    }
}

fn from_tar(reader: impl Read) -> Result<Scripts, DebFault> {
    let mut scripts = Scripts::new();
    for entry in tar::Archive::new(reader.take(CONTROL_LIMIT)).entries()? {
        let mut entry = entry?;
        let path = entry.path_bytes().into_owned();
        let path = path.strip_prefix(b"./").unwrap_or(&path);
        let Some(name) = RELEVANT.into_iter().find(|name| name.as_bytes() == path) else { continue };
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let mut content = Vec::new();
        entry.by_ref().take(SCRIPT_LIMIT + 1).read_to_end(&mut content)?;
        if content.len() as u64 > SCRIPT_LIMIT {
            return Err(DebFault::Long(name.to_owned()));
        }
        scripts.insert(name.to_owned(), content);
    }
    Ok(scripts)
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write as _;

    /// A package with these scripts, its control archive compressed as the suffix says.
    pub fn deb(scripts: &[(&str, &str)], compression: &str) -> Vec<u8> {
        let mut control = tar::Builder::new(Vec::new());
        for (name, content) in scripts {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o755);
            control.append_data(&mut header, format!("./{name}"), content.as_bytes()).unwrap();
        }
        let control = control.into_inner().unwrap();
        let control = match compression {
            ".gz" => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(&control).unwrap();
                encoder.finish().unwrap()
            }
            ".xz" => {
                let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
                encoder.write_all(&control).unwrap();
                encoder.finish().unwrap()
            }
            ".zst" => zstd::encode_all(control.as_slice(), 1).unwrap(),
            _ => control,
        };
        let members = [("debian-binary", b"2.0\n".as_slice()), (&format!("control.tar{compression}"), &control)];
        archive(&[members.as_slice(), &[("data.tar", b"")]].concat())
    }

    fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = b"!<arch>\n".to_vec();
        for (name, content) in members {
            let size = content.len();
            bytes.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, 100_644).bytes());
            bytes.extend(*content);
            bytes.extend(std::iter::repeat_n(b'\n', size % 2));
        }
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Scripts, DebFault> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        scripts(file.path())
    }

    #[test]
    fn scripts_are_found_in_every_compression() {
        for compression in ["", ".gz", ".xz", ".zst"] {
            let bytes = deb(&[("control", "Package: a"), ("postinst", "#!/bin/sh"), ("prerm", "x")], compression);
            let expected = Scripts::from([("postinst".to_owned(), b"#!/bin/sh".to_vec())]);
            assert_eq!(read(&bytes).unwrap(), expected, "{compression}");
        }
    }

    #[test]
    fn what_is_no_package_is_refused() {
        let good = deb(&[("postinst", "x")], ".gz");
        assert!(matches!(read(&deb(&[], ".br")), Err(DebFault::Compression(c)) if c == ".br"));
        for bytes in [b"".as_slice(), b"!<arch>\n", b"nonsense", &good[..100], &good[..160]] {
            assert!(read(bytes).is_err());
        }
        let mut damaged = good;
        damaged[150..170].fill(0);
        assert!(read(&damaged).is_err());
    }

    /// The table of long names of GNU ar: the crate `ar` allocated what its header claims.
    #[test]
    fn a_name_table_that_claims_gigabytes_is_refused() {
        let table = format!("!<arch>\n{:<48}{:<10}`\n", "//", 9_999_999_998_u64);
        assert!(matches!(read(table.as_bytes()), Err(DebFault::NoMember { .. } | DebFault::Archive(_))));
    }

    /// Whichever of two control archives the builder takes, its scripts were judged.
    #[test]
    fn members_in_another_order_are_refused() {
        let version = ("debian-binary", b"2.0\n".as_slice());
        for members in [&[("control.tar", b"".as_slice()), version][..], &[version, ("data.tar", b"")], &[version]] {
            assert!(matches!(read(&archive(members)), Err(DebFault::NoMember { .. })));
        }
    }
}
