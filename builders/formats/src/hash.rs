//! SHA-256, the one hash of the project, in every spelling that our neighbours use.

use std::fmt;
use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

use crate::{FormatError, nix32};

/// A SHA-256 digest. Serialises and displays as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256([u8; 32]);

impl Sha256 {
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }

    pub fn from_hex(text: &str) -> Result<Self, FormatError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| bad(text))?;
        Ok(Self(bytes))
    }

    /// The spelling of store paths and of Nix's database: 52 characters of Nix's base 32.
    pub fn nix32(&self) -> String {
        nix32::encode(&self.0)
    }

    pub fn from_nix32(text: &str) -> Result<Self, FormatError> {
        nix32::decode(text).map(Self).ok_or_else(|| bad(text))
    }

    /// The spelling of subresource integrity: `sha256-<base64>`.
    pub fn sri(&self) -> String {
        format!("sha256-{}", BASE64.encode(self.0))
    }

    /// Reads `sha256:<nix32>`, `sha256:<hex>`, `sha256-<base64>` and bare hexadecimal digits.
    pub fn parse_any(text: &str) -> Result<Self, FormatError> {
        if let Some(rest) = text.strip_prefix("sha256:") {
            return match rest.len() {
                64 => Self::from_hex(rest),
                _ => Self::from_nix32(rest),
            };
        }
        if let Some(rest) = text.strip_prefix("sha256-") {
            let bytes = BASE64.decode(rest).map_err(|_| bad(text))?;
            return bytes.try_into().map(Self).map_err(|_| bad(text));
        }
        Self::from_hex(text)
    }
}

fn bad(value: &str) -> FormatError {
    FormatError::Hash { value: value.chars().take(100).collect() }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha256({})", self.hex())
    }
}

impl std::str::FromStr for Sha256 {
    type Err = FormatError;
    fn from_str(text: &str) -> Result<Self, FormatError> {
        Self::parse_any(text)
    }
}

impl Serialize for Sha256 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.hex())
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_hex(&text).map_err(serde::de::Error::custom)
    }
}

/// Hashes and counts what passes through to the writer below; `io::sink()` below only hashes.
pub struct HashWriter<W> {
    below: W,
    hasher: sha2::Sha256,
    written: u64,
}

impl<W: Write> HashWriter<W> {
    pub fn new(below: W) -> Self {
        Self { below, hasher: sha2::Sha256::new(), written: 0 }
    }

    /// Bytes that have passed so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    pub fn finish(self) -> (W, Sha256, u64) {
        (self.below, Sha256(self.hasher.finalize().into()), self.written)
    }
}

impl<W: Write> Write for HashWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.below.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        self.written += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.below.flush()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_spelling_reads_back() {
        let hash = Sha256::of(b"cairn");
        for text in [hash.hex(), format!("sha256:{}", hash.hex()), format!("sha256:{}", hash.nix32()), hash.sri()] {
            assert_eq!(Sha256::parse_any(&text), Ok(hash), "{text}");
        }
    }

    #[test]
    fn wrong_spellings_are_refused() {
        for text in ["", "sha256:", "sha256-AAAA", "zz", "md5:00", &"0".repeat(63), &"g".repeat(64)] {
            assert!(Sha256::parse_any(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_writer_hashes_what_passes() {
        let mut writer = HashWriter::new(Vec::new());
        writer.write_all(b"ca").unwrap();
        writer.write_all(b"irn").unwrap();
        assert_eq!(writer.finish(), (b"cairn".to_vec(), Sha256::of(b"cairn"), 5));
    }
}
