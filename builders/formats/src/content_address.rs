//! Content addresses: how the bytes of an output become its store path.
//!
//! The path is a hash over a fingerprint `<type>:sha256:<hex>:/nix/store:<name>`, folded to 160
//! bits. A tree has the type `source` with its references behind it; a flat file has the type
//! `output:out` over a second fingerprint (the Nix manual, "Store path specification").

use std::collections::BTreeSet;
use std::fmt;

use crate::{FormatError, STORE_DIR, Sha256, StoreName, StorePath};

/// How a store path follows from its content, in the form of Nix's database column `ca`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ContentAddress {
    /// Over the NAR of a tree: `fixed:r:sha256:<nix32>`.
    Recursive(Sha256),
    /// Over the bytes of one plain file: `fixed:sha256:<nix32>`.
    Flat(Sha256),
}

impl ContentAddress {
    /// The path that content with this address has.
    pub fn store_path(&self, name: &StoreName, references: &BTreeSet<StorePath>) -> StorePath {
        match self {
            Self::Recursive(hash) => fixed_recursive(name, hash, references),
            Self::Flat(hash) => fixed_flat(name, hash),
        }
    }
}

/// The path of a tree with this NAR hash that refers to `references` (itself not among them).
pub fn fixed_recursive(name: &StoreName, nar: &Sha256, references: &BTreeSet<StorePath>) -> StorePath {
    let mut kind = String::from("source");
    for reference in references {
        kind.push(':');
        kind.push_str(&reference.absolute());
    }
    make(&kind, nar, name)
}

/// The path of a plain, non-executable file with this hash: what Nix gives a fixed-output
/// derivation with a flat hash.
pub fn fixed_flat(name: &StoreName, flat: &Sha256) -> StorePath {
    let inner = Sha256::of(format!("fixed:out:sha256:{}:", flat.hex()).as_bytes());
    make("output:out", &inner, name)
}

fn make(kind: &str, hash: &Sha256, name: &StoreName) -> StorePath {
    let fingerprint = format!("{kind}:sha256:{}:{STORE_DIR}:{name}", hash.hex());
    let digest = Sha256::of(fingerprint.as_bytes());
    let mut folded = [0u8; 20];
    for (n, byte) in digest.as_bytes().iter().enumerate() {
        folded[n % 20] ^= byte;
    }
    StorePath::from_parts(&folded, name)
}

impl fmt::Display for ContentAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recursive(hash) => write!(f, "fixed:r:sha256:{}", hash.nix32()),
            Self::Flat(hash) => write!(f, "fixed:sha256:{}", hash.nix32()),
        }
    }
}

impl std::str::FromStr for ContentAddress {
    type Err = FormatError;
    fn from_str(text: &str) -> Result<Self, FormatError> {
        let bad = || FormatError::ContentAddress { value: text.chars().take(120).collect() };
        if let Some(hash) = text.strip_prefix("fixed:r:sha256:") {
            return Sha256::from_nix32(hash).map(Self::Recursive).map_err(|_| bad());
        }
        let hash = text.strip_prefix("fixed:sha256:").ok_or_else(bad)?;
        Sha256::from_nix32(hash).map(Self::Flat).map_err(|_| bad())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    // nix-store --add-fixed sha256 hello.txt; nix-store --add-fixed --recursive sha256 hello.txt
    // (the file holds "hello\n"), Nix 2.8.0.
    #[test]
    fn paths_equal_those_of_nix() {
        let name = StoreName::parse("hello.txt").unwrap();
        let flat = Sha256::of(b"hello\n");
        assert_eq!(fixed_flat(&name, &flat).base(), "gy454w1cxaq731grqwylhzf4pp9r5izh-hello.txt");
        let nar = crate::nar::file_hash(false, 6, &mut &b"hello\n"[..]).unwrap();
        assert_eq!(fixed_recursive(&name, &nar, &BTreeSet::new()).base(), "i9pmrzmpshapij2kin22pff6fc2adavx-hello.txt");
    }

    #[test]
    fn the_database_form_reads_back() {
        for address in [ContentAddress::Flat(Sha256::of(b"a")), ContentAddress::Recursive(Sha256::of(b"b"))] {
            assert_eq!(address.to_string().parse::<ContentAddress>(), Ok(address));
        }
        for bad in ["", "fixed:", "fixed:r:md5:00", "text:sha256:00"] {
            assert!(bad.parse::<ContentAddress>().is_err(), "{bad}");
        }
    }
}
