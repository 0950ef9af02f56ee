//! The bundle of certificate authorities, as `update-ca-certificates` of Debian writes it.
//!
//! First those of packages below `usr/share/ca-certificates`, then those of the project below
//! `usr/local/share/ca-certificates`, each in the order of the bytes of their paths, each ended by
//! a newline. OpenSSL of Debian looks for `/usr/lib/ssl/cert.pem`, everybody else for the bundle.

use std::fs;

use cairn_formats::RelPath;

use crate::error::{Error, Result};
use crate::tree::{Kind, Union};

/// Where programs look for the bundle.
pub const BUNDLE: &str = "etc/ssl/certs/ca-certificates.crt";
/// `OPENSSLDIR` of Debian, and the file that OpenSSL reads there.
pub const OPENSSL_FILE: &str = "usr/lib/ssl/cert.pem";

const SOURCES: [&[u8]; 2] = [b"usr/share/ca-certificates", b"usr/local/share/ca-certificates"];

/// The bundle; `None` if no tree brings certificates.
pub fn bundle(union: &Union) -> Result<Option<Vec<u8>>> {
    let mut bundle = Vec::new();
    for source in SOURCES {
        let Ok(source) = RelPath::parse(source) else { continue };
        for (path, found) in union.below(&source) {
            if !matches!(found.kind, Kind::File { .. }) || !path.file_name().ends_with(b".crt") {
                continue;
            }
            let physical = union.physical(path, found);
            bundle.extend(fs::read(&physical).map_err(Error::io("read", &physical))?);
            if bundle.last().is_some_and(|last| *last != b'\n') {
                bundle.push(b'\n');
            }
        }
    }
    Ok((!bundle.is_empty()).then_some(bundle))
}
