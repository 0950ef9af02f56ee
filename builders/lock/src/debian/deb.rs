//! The maintainer scripts of a `.deb`: an `ar` archive whose `control.tar` holds them.
//!
//! The archive's hash was checked, but the archive itself is still read as if written by an enemy:
//! sizes are bounded, links and special files are passed over.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Bytes of an unpacked `control.tar`; the largest in bookworm have about 3 MB (lists of checksums).
const CONTROL_LIMIT: u64 = 64 << 20;
/// Bytes of one script; the largest in bookworm has about 100 KB.
const SCRIPT_LIMIT: u64 = 2 << 20;

/// Scripts by name. Only those that run when a package is installed: in an image nothing is ever
/// removed or configured interactively, so `prerm`, `postrm` and `config` are not looked at.
pub type Scripts = BTreeMap<String, Vec<u8>>;

const RELEVANT: [&str; 2] = ["preinst", "postinst"];

#[derive(Debug, thiserror::Error)]
pub enum DebFault {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it holds no control.tar")]
    NoControl,
    #[error("its control.tar is compressed as `{0}`, which is not known")]
    Compression(String),
    #[error("its script {0} is longer than {SCRIPT_LIMIT} bytes")]
    Long(String),
}

/// Reads the scripts of the package in a file.
pub fn scripts(path: &Path) -> Result<Scripts, DebFault> {
    let mut archive = ar::Archive::new(io::BufReader::new(File::open(path)?));
    // debian-binary, control.tar, data.tar: anything else is not a package.
    for _ in 0..3 {
        let Some(entry) = archive.next_entry() else { break };
        let entry = entry?;
        let name = String::from_utf8_lossy(entry.header().identifier()).into_owned();
        let Some(compression) = name.strip_prefix("control.tar") else { continue };
        return match compression.trim_end_matches('/') {
            "" => from_tar(entry),
            ".gz" => from_tar(flate2::read::GzDecoder::new(entry)),
            ".xz" => from_tar(liblzma::read::XzDecoder::new(entry)),
            ".zst" => from_tar(zstd::stream::read::Decoder::new(entry)?),
            other => Err(DebFault::Compression(other.chars().take(20).collect())),
        };
    }
    Err(DebFault::NoControl)
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
        let mut archive = ar::Builder::new(Vec::new());
        let mut add = |name: &str, content: &[u8]| {
            archive.append(&ar::Header::new(name.into(), content.len() as u64), content).unwrap();
        };
        add("debian-binary", b"2.0\n");
        add(&format!("control.tar{compression}"), &control);
        add("data.tar", b"");
        archive.into_inner().unwrap()
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
}
