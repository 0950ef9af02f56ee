//! A path below some root, as bytes: what archives and manifests may name.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::FormatError;

/// A relative path of zero or more parts, none of them empty, `.`, `..` or holding a NUL byte.
/// The empty path is the root itself. Ordered by its bytes.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelPath(Vec<u8>);

impl RelPath {
    /// The root itself.
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        if bytes.is_empty() || bytes.split(|b| *b == b'/').all(is_part) {
            Ok(Self(bytes.to_vec()))
        } else {
            Err(FormatError::RelPath { value: String::from_utf8_lossy(bytes).into_owned() })
        }
    }

    /// The path one part deeper; refuses what is not a single part.
    pub fn join(&self, part: &[u8]) -> Result<Self, FormatError> {
        if !is_part(part) || part.contains(&b'/') {
            return Err(FormatError::RelPath { value: String::from_utf8_lossy(part).into_owned() });
        }
        let mut bytes = self.0.clone();
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(part);
        Ok(Self(bytes))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// For joining onto a directory that we made ourselves. Symbolic links on the way are the
    /// caller's concern.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|b| *b == b'/').filter(|part| !part.is_empty())
    }

    /// The directory that holds this path; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|b| *b == b'/').unwrap_or(0);
        Some(Self(self.0[..end].to_vec()))
    }

    /// The last part; empty for the root.
    pub fn file_name(&self) -> &[u8] {
        let start = self.0.iter().rposition(|b| *b == b'/').map_or(0, |slash| slash + 1);
        &self.0[start..]
    }
}

fn is_part(part: &[u8]) -> bool {
    !part.is_empty() && part != b"." && part != b".." && !part.contains(&0)
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn escapes_are_refused() {
        for bad in ["..", "a/..", "/a", "a//b", "a/", "./a", "a/./b", "a\0b"] {
            assert!(RelPath::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        for good in ["", "a", "a/b", "...", "a/..b"] {
            assert!(RelPath::parse(good.as_bytes()).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn parents_and_names() {
        let path = RelPath::parse(b"usr/bin/env").unwrap();
        assert_eq!(path.file_name(), b"env");
        assert_eq!(path.parent(), Some(RelPath::parse(b"usr/bin").unwrap()));
        assert_eq!(RelPath::parse(b"usr").unwrap().parent(), Some(RelPath::root()));
        assert_eq!(RelPath::root().parent(), None);
        assert!(path.join(b"a/b").is_err());
    }
}
