//! The two versions that decide which wheels fit: the interpreter's and the C library's.

use std::fmt;
use std::str::FromStr;

use super::PypiError;

/// `3.11`, or `3.11.2` when the patch level is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PythonVersion {
    pub minor: u32,
    pub patch: Option<u32>,
}

/// The minor version of glibc 2, as `manylinux_2_36` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Glibc {
    pub minor: u32,
}

/// Older ones name their ABI otherwise (`cp37m`).
const OLDEST_PYTHON: u32 = 8;

impl PythonVersion {
    /// From Debian's package and its version: `python3.11-minimal`, `3.11.2-6+deb12u6`.
    pub fn of_debian(package: &str, version: &str) -> Result<Self, PypiError> {
        let named: Self = package
            .strip_prefix("python")
            .and_then(|rest| rest.trim_end_matches("-minimal").parse().ok())
            .ok_or_else(|| PypiError::Version {
                what: "Debian's Python",
                value: package.to_owned(),
                help: "name a versioned interpreter package, such as python3.11",
            })?;
        let full: Self = upstream(version).parse()?;
        // The package's name is what the paths follow; the version only adds the patch level.
        Ok(if full.minor == named.minor { full } else { named })
    }

    /// `cp311`
    pub fn tag(self) -> String {
        format!("cp3{}", self.minor)
    }
}

impl Glibc {
    /// From the version of Debian's libc6: `2.36-9+deb12u10`.
    pub fn of_debian(version: &str) -> Result<Self, PypiError> {
        upstream(version).parse()
    }
}

/// The upstream part of a Debian version, without epoch and revision.
fn upstream(version: &str) -> &str {
    let version = version.split_once(':').map_or(version, |(_, rest)| rest);
    version.split_once(['-', '+', '~']).map_or(version, |(upstream, _)| upstream)
}

/// `1.2.3` to numbers; nothing else than digits and dots.
fn numbers(text: &str) -> Option<Vec<u32>> {
    text.split('.').map(|part| part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())?).collect()
}

impl FromStr for PythonVersion {
    type Err = PypiError;
    fn from_str(text: &str) -> Result<Self, PypiError> {
        match numbers(text).as_deref() {
            Some(&[3, minor]) if minor >= OLDEST_PYTHON => Ok(Self { minor, patch: None }),
            Some(&[3, minor, patch]) if minor >= OLDEST_PYTHON => Ok(Self { minor, patch: Some(patch) }),
            _ => Err(PypiError::Version {
                what: "Python",
                value: text.to_owned(),
                help: "3.8 or later, written as in 3.11",
            }),
        }
    }
}

impl FromStr for Glibc {
    type Err = PypiError;
    fn from_str(text: &str) -> Result<Self, PypiError> {
        match numbers(text).as_deref() {
            Some(&[2, minor] | &[2, minor, _]) => Ok(Self { minor }),
            _ => Err(PypiError::Version {
                what: "the GNU C library",
                value: text.to_owned(),
                help: "written as in 2.36",
            }),
        }
    }
}

impl fmt::Display for PythonVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "3.{}", self.minor)?;
        self.patch.map_or(Ok(()), |patch| write!(f, ".{patch}"))
    }
}

impl fmt::Display for Glibc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "2.{}", self.minor)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn pythons_are_read() {
        for (text, expected) in [
            ("3.11", Some("3.11")),
            ("3.11.2", Some("3.11.2")),
            ("3.8", Some("3.8")),
            ("3.7", None),
            ("2.7", None),
            ("3", None),
            ("3.", None),
            ("3.+11", None),
            ("3.11.2.1", None),
            ("3.99999999999", None),
            ("", None),
        ] {
            assert_eq!(text.parse::<PythonVersion>().ok().map(|v| v.to_string()).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn debian_versions_are_read() {
        for (package, version, expected) in [
            ("python3.11", "3.11.2-6+deb12u6", Some("3.11.2")),
            ("python3.11-minimal", "3.11.2-6+deb12u6", Some("3.11.2")),
            ("python3.13", "3.13.5~rc1-1", Some("3.13.5")),
            ("python3.13", "1:3.13.5-1", Some("3.13.5")),
            ("python3.11", "3.12.1-1", Some("3.11")),
            ("python3", "3.11.2-1", None),
            ("pypy3", "7.3", None),
        ] {
            let read = PythonVersion::of_debian(package, version).ok().map(|v| v.to_string());
            assert_eq!(read.as_deref(), expected, "{package} {version}");
        }
        for (version, expected) in
            [("2.36-9+deb12u10", Some(36)), ("2.41-12", Some(41)), ("2.31", Some(31)), ("3.0-1", None), ("x", None)]
        {
            assert_eq!(Glibc::of_debian(version).ok().map(|g| g.minor), expected, "{version}");
        }
    }
}
