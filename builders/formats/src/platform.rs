//! The platforms we build for, with the name that each neighbour gives them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::FormatError;

/// An operating system and processor, spelled as OCI does: `linux/amd64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Platform {
    LinuxAmd64,
    LinuxArm64,
}

impl Platform {
    pub const ALL: [Self; 2] = [Self::LinuxAmd64, Self::LinuxArm64];

    /// The platform this program was compiled for.
    pub const fn native() -> Self {
        if cfg!(target_arch = "aarch64") { Self::LinuxArm64 } else { Self::LinuxAmd64 }
    }

    /// OCI's `platform.architecture`, which is Debian's name as well.
    pub const fn debian(self) -> &'static str {
        match self {
            Self::LinuxAmd64 => "amd64",
            Self::LinuxArm64 => "arm64",
        }
    }

    /// What `uname -m` prints there.
    pub const fn machine(self) -> &'static str {
        match self {
            Self::LinuxAmd64 => "x86_64",
            Self::LinuxArm64 => "aarch64",
        }
    }

    /// Nix's `system`.
    pub const fn nix(self) -> &'static str {
        match self {
            Self::LinuxAmd64 => "x86_64-linux",
            Self::LinuxArm64 => "aarch64-linux",
        }
    }

    pub const fn oci(self) -> &'static str {
        match self {
            Self::LinuxAmd64 => "linux/amd64",
            Self::LinuxArm64 => "linux/arm64",
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.oci())
    }
}

impl std::str::FromStr for Platform {
    type Err = FormatError;
    fn from_str(text: &str) -> Result<Self, FormatError> {
        Self::ALL.into_iter().find(|p| p.oci() == text).ok_or_else(|| FormatError::Platform { value: text.to_owned() })
    }
}

impl TryFrom<String> for Platform {
    type Error = FormatError;
    fn try_from(text: String) -> Result<Self, FormatError> {
        text.parse()
    }
}

impl From<Platform> for String {
    fn from(platform: Platform) -> Self {
        platform.oci().to_owned()
    }
}
