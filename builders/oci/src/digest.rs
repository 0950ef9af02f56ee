//! How OCI writes a hash: `sha256:<hex>`.

use std::fmt;

use cairn_formats::Sha256;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The SHA-256 of a blob. Displays and serialises as `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(Sha256);

impl Digest {
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::of(bytes))
    }

    pub const fn sha256(&self) -> &Sha256 {
        &self.0
    }

    /// Where the blob lies below the root of an image layout.
    pub fn blob_path(&self) -> String {
        format!("blobs/sha256/{}", self.0.hex())
    }
}

impl From<Sha256> for Digest {
    fn from(hash: Sha256) -> Self {
        Self(hash)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.strip_prefix("sha256:")
            .filter(|hex| !hex.bytes().any(|b| b.is_ascii_uppercase()))
            .and_then(|hex| Sha256::from_hex(hex).ok())
            .map(Self)
            .ok_or_else(|| {
                serde::de::Error::custom(format!("{text:?} is no digest; expected sha256: and 64 hexadecimal digits"))
            })
    }
}
