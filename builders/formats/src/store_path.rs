//! Store paths: `/nix/store/<hash part>-<name>`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{FormatError, nix32};

/// The logical store, whatever the physical root: what is built names its inputs by it.
pub const STORE_DIR: &str = "/nix/store";

/// Characters of the hash part: 160 bits in Nix's base 32.
pub(crate) const HASH_PART: usize = nix32::encoded_len(20);

/// The name part of a store path, checked by Nix's rules.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreName(String);

impl StoreName {
    pub fn parse(name: &str) -> Result<Self, FormatError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"+-._?=".contains(&b);
        if (1..=211).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(allowed) {
            Ok(Self(name.to_owned()))
        } else {
            Err(FormatError::Name { value: name.chars().take(220).collect() })
        }
    }

    /// A valid name that resembles `name`: other characters become `-`. For file names of
    /// archives, such as `libstdc++6_12.2.0-14_amd64.deb` or one with an epoch's `%3a`.
    pub fn resembling(name: &str) -> Self {
        let mut text: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || "+-._?=".contains(c) { c } else { '-' })
            .take(211)
            .collect();
        if text.is_empty() || text.starts_with('.') {
            text.insert(0, '-');
            text.truncate(211);
        }
        Self(text)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StoreName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A path in the logical store. Serialises and displays as its base name, `<hash part>-<name>`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StorePath(String);

impl StorePath {
    pub(crate) fn from_parts(digest: &[u8; 20], name: &StoreName) -> Self {
        Self(format!("{}-{}", nix32::encode(digest), name.as_str()))
    }

    /// Reads a base name.
    pub fn parse(base: &str) -> Result<Self, FormatError> {
        let bad = || FormatError::StorePath { value: base.chars().take(260).collect() };
        let (hash, rest) = base.split_at_checked(HASH_PART).ok_or_else(bad)?;
        nix32::decode::<20>(hash).ok_or_else(bad)?;
        StoreName::parse(rest.strip_prefix('-').ok_or_else(bad)?)?;
        Ok(Self(base.to_owned()))
    }

    /// Reads `/nix/store/<base name>`, nothing below it.
    pub fn from_absolute(path: &str) -> Result<Self, FormatError> {
        path.strip_prefix(STORE_DIR)
            .and_then(|rest| rest.strip_prefix('/'))
            .ok_or_else(|| FormatError::StorePath { value: path.chars().take(260).collect() })
            .and_then(Self::parse)
    }

    pub fn base(&self) -> &str {
        &self.0
    }

    pub fn absolute(&self) -> String {
        format!("{STORE_DIR}/{}", self.0)
    }

    pub fn hash_part(&self) -> &str {
        &self.0[..HASH_PART]
    }

    pub fn name(&self) -> &str {
        &self.0[HASH_PART + 1..]
    }
}

impl fmt::Display for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StorePath({})", self.0)
    }
}

impl TryFrom<String> for StorePath {
    type Error = FormatError;
    fn try_from(text: String) -> Result<Self, FormatError> {
        Self::parse(&text)
    }
}

impl From<StorePath> for String {
    fn from(path: StorePath) -> Self {
        path.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_follow_the_rules_of_nix() {
        for good in ["a", "libstdc++6_12.2.0-14", "a?b=c", &"x".repeat(211)] {
            assert!(StoreName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", ".a", "a b", "a/b", "ä", &"x".repeat(212)] {
            assert!(StoreName::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(StoreName::resembling("a_1%3a2~b.deb").as_str(), "a_1-3a2-b.deb");
        assert!(StoreName::parse(StoreName::resembling(&".".repeat(300)).as_str()).is_ok());
    }

    #[test]
    fn only_whole_store_paths_are_read() {
        let base = "0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-hello";
        assert_eq!(StorePath::parse(base).unwrap().name(), "hello");
        assert_eq!(StorePath::from_absolute(&format!("/nix/store/{base}")).unwrap().base(), base);
        for bad in [
            "",
            "short-x",
            "0mdqa9w1p6cmli6976v4wi0sw9r4p5pr",
            "0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-",
            "0mdqa9w1p6cmli6976v4wi0sw9r4p5prxhello",
            "emdqa9w1p6cmli6976v4wi0sw9r4p5pr-hello",
            "0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-a/b",
            "é",
        ] {
            assert!(StorePath::parse(bad).is_err(), "{bad}");
        }
    }
}
