//! `image.toml`: what an image is made of and how it runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cairn_closure::ReloadSignal;
use cairn_formats::{Platform, Sha256};
use serde::{Deserialize, Serialize};

use crate::error::{DefinitionError, nearest};
use crate::{duration, parse};

/// The content of `images/NAME/image.toml`. The image is named after its folder.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageDefinition {
    #[serde(default)]
    pub description: String,
    #[serde(default = "all_platforms")]
    pub platforms: Vec<Platform>,
    pub debian: Option<DebianSection>,
    pub python: Option<PythonSection>,
    #[serde(default)]
    pub files: Vec<FilesEntry>,
    #[serde(default)]
    pub links: Vec<LinkEntry>,
    #[serde(default)]
    pub users: BTreeMap<String, UserEntry>,
    #[serde(default)]
    pub image: RunSection,
}

/// Debian packages and where they come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DebianSection {
    /// Suites to choose from; `*-security` suites come from the archive `debian-security`.
    pub suites: Vec<String>,
    /// `name`, `name (>= 1.2)` or `name (= 1.2)`.
    pub packages: Vec<String>,
    /// Packages whose dependency edges are not followed, each with the reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub exclude: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acknowledge: Vec<Acknowledged>,
    /// Keys to verify the archive with, relative to the image's folder; else the machine's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyring: Option<PathBuf>,
}

/// A maintainer script that somebody has read and found not to matter in the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acknowledged {
    pub package: String,
    pub script: String,
    pub sha256: Sha256,
    pub reason: String,
}

/// Python packages from an index.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PythonSection {
    /// The Debian package of the interpreter, such as `python3.11`; its program is `/usr/bin/NAME`.
    pub interpreter: String,
    /// PEP 508 requirements.
    pub requirements: Vec<String>,
}

impl PythonSection {
    /// `3.11` of `python3.11`.
    pub fn version(&self) -> &str {
        self.interpreter.trim_start_matches("python").trim_end_matches("-minimal")
    }

    pub fn program(&self) -> String {
        format!("/usr/bin/python{}", self.version())
    }

    /// Where Debian's interpreter looks for packages that are not Debian's.
    pub fn site(&self) -> String {
        format!("/usr/local/lib/python{}/dist-packages", self.version())
    }
}

/// A file or folder of the project.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesEntry {
    /// Relative to the image's folder.
    pub source: PathBuf,
    /// Absolute path in the image.
    pub target: String,
    /// Compile Python files to bytecode.
    #[serde(default)]
    pub compile: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkEntry {
    pub path: String,
    pub target: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserEntry {
    pub uid: u32,
    /// Default: the same number as `uid`.
    pub gid: Option<u32>,
    #[serde(default = "nowhere")]
    pub home: String,
}

impl UserEntry {
    pub fn gid(&self) -> u32 {
        self.gid.unwrap_or(self.uid)
    }
}

/// `[image]`: what an OCI runtime should do.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSection {
    pub user: Option<String>,
    pub workdir: Option<String>,
    #[serde(default)]
    pub entrypoint: Vec<String>,
    #[serde(default)]
    pub command: Vec<String>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    #[serde(default)]
    pub ports: Vec<u16>,
    /// Folders whose content outlives the container or the generation, owned by `user`.
    #[serde(default)]
    pub volumes: Vec<String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    pub stop_signal: Option<String>,
    pub health: Option<HealthSection>,
    pub reload: Option<ReloadSection>,
    /// A file beside the service's sockets: while it is there, the program says that it is in
    /// maintenance.
    pub maintenance: Option<String>,
    /// Tests the configuration that hosts render for the image.
    pub verify: Option<VerifySection>,
    /// `gzip` (every engine reads it) or `zstd`.
    #[serde(default)]
    pub compression: CompressionKind,
}

/// `[image.reload]`: rendered files that the program reads again on a signal, so that a host that
/// changes nothing else does not restart it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReloadSection {
    pub files: Vec<String>,
    #[serde(default)]
    pub signal: ReloadSignal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CompressionKind {
    #[default]
    Gzip,
    Zstd,
}

impl CompressionKind {
    /// Everything that decides the compressed bytes, so that a recipe stands for one result. The
    /// builder refuses what it does not compress by.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Gzip => "gzip:libdeflate-1.26:level-1:members-of-1MiB",
            Self::Zstd => "zstd:libzstd-1.5.7:level-3:multi-threaded",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthSection {
    pub command: Vec<String>,
    #[serde(with = "duration", default = "half_minute")]
    pub interval: Duration,
    #[serde(with = "duration", default = "three_seconds")]
    pub timeout: Duration,
    #[serde(default = "three")]
    pub retries: u32,
    #[serde(with = "duration", default)]
    pub start_period: Duration,
}

/// A command that a host's build runs in the image, as a service would run: 0 if it can start with
/// the files in `/run/cairn/config`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifySection {
    pub command: Vec<String>,
    #[serde(with = "duration", default = "a_minute")]
    pub timeout: Duration,
}

/// Whoever builds waits for it.
const LONGEST_VERIFY: Duration = Duration::from_secs(600);

fn all_platforms() -> Vec<Platform> {
    Platform::ALL.to_vec()
}
fn nowhere() -> String {
    "/nonexistent".to_owned()
}
const fn half_minute() -> Duration {
    Duration::from_secs(30)
}
const fn three_seconds() -> Duration {
    Duration::from_secs(3)
}
const fn a_minute() -> Duration {
    Duration::from_secs(60)
}
const fn three() -> u32 {
    3
}

impl ImageDefinition {
    pub fn parse(file: &Path, text: &str) -> Result<Self, DefinitionError> {
        let definition: Self = parse::toml(file, text)?;
        definition.check(file)?;
        Ok(definition)
    }

    /// Hash of what the lock depends on, in a form that does not depend on the order of lists.
    pub fn lock_hash(&self) -> Sha256 {
        let mut relevant = (self.platforms.clone(), self.debian.clone(), self.python.clone());
        relevant.0.sort();
        if let Some(debian) = &mut relevant.1 {
            debian.suites.sort();
            debian.packages.sort();
            debian.acknowledge.sort_by(|a, b| (&a.package, &a.script).cmp(&(&b.package, &b.script)));
        }
        if let Some(python) = &mut relevant.2 {
            python.requirements.sort();
        }
        let json = serde_json::to_vec(&relevant).expect("strings, lists and maps with string keys");
        Sha256::of(&json)
    }

    /// The numeric user of a name: a declared one, root, or nobody.
    pub fn user(&self, name: &str) -> Option<(u32, u32)> {
        match name {
            "root" => Some((0, 0)),
            "nobody" => Some((65534, 65534)),
            _ => self.users.get(name).map(|u| (u.uid, u.gid())),
        }
    }

    fn check(&self, file: &Path) -> Result<(), DefinitionError> {
        let fail = |at: &str, message: String, help: Option<String>| {
            Err(DefinitionError::Value { file: file.to_owned(), at: at.to_owned(), message, help })
        };
        if self.platforms.is_empty() {
            return fail("platforms", "the list is empty".into(), Some("name at least \"linux/amd64\"".into()));
        }
        if let Some(python) = &self.python {
            let Some(debian) = &self.debian else {
                return fail(
                    "python",
                    "an interpreter comes from a Debian package".into(),
                    Some("add a [debian] section".into()),
                );
            };
            let version = python.version();
            let plain = version.split('.').count() == 2 && version.chars().all(|c| c.is_ascii_digit() || c == '.');
            if !plain {
                let message = format!("`{}` is not a versioned interpreter package", python.interpreter);
                return fail("python.interpreter", message, Some("write it as in \"python3.11\"".into()));
            }
            if !debian.packages.iter().any(|p| p.split_whitespace().next() == Some(python.interpreter.as_str())) {
                let message = format!("`{}` is not among debian.packages", python.interpreter);
                return fail("python.interpreter", message, Some(format!("add \"{}\" there", python.interpreter)));
            }
        }
        for (n, files) in self.files.iter().enumerate() {
            check_absolute(file, &format!("files[{n}].target"), &files.target)?;
            check_inside(file, &format!("files[{n}].source"), &files.source)?;
            if files.compile && self.python.is_none() {
                return fail(
                    &format!("files[{n}].compile"),
                    "there is no interpreter to compile with".into(),
                    Some("add a [python] section".into()),
                );
            }
        }
        for (n, link) in self.links.iter().enumerate() {
            check_absolute(file, &format!("links[{n}].path"), &link.path)?;
        }
        for (n, volume) in self.image.volumes.iter().enumerate() {
            check_absolute(file, &format!("image.volumes[{n}]"), volume)?;
        }
        if let Some(verify) = &self.image.verify {
            let program = verify.command.first().map_or("", String::as_str);
            check_absolute(file, "image.verify.command", program)?;
            if verify.timeout.is_zero() || verify.timeout > LONGEST_VERIFY {
                let help = Some("write at most 10m".to_owned());
                return fail("image.verify.timeout", format!("{:?} is not a time limit", verify.timeout), help);
            }
        }
        if let Some(name) = &self.image.maintenance {
            let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
            if name.is_empty() || name.len() > 63 || !plain {
                let help = Some("write lower-case letters, digits and `-`, as in \"maintenance\"".to_owned());
                return fail("image.maintenance", format!("`{name}` is no name of a file beside the sockets"), help);
            }
        }
        let mut uids = BTreeMap::from([(0, "root"), (65534, "nobody")]);
        for (name, user) in &self.users {
            let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
                && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c))
                && name.len() <= 31;
            if !plain || name == "root" || name == "nobody" {
                return fail(
                    "users",
                    format!("`{name}` cannot be declared as a user"),
                    Some("use lower-case letters, digits, `_` and `-`; root and nobody exist already".into()),
                );
            }
            if let Some(other) = uids.insert(user.uid, name) {
                return fail(
                    &format!("users.{name}.uid"),
                    format!("{} is the id of user `{other}` already", user.uid),
                    None,
                );
            }
            check_absolute(file, &format!("users.{name}.home"), &user.home)?;
        }
        if let Some(user) = &self.image.user
            && self.user(user).is_none()
        {
            let near = nearest(user, self.users.keys().map(String::as_str));
            let help = near.map_or(format!("declare it: [users.{user}] uid = …"), |n| format!("did you mean `{n}`?"));
            return fail("image.user", format!("there is no user `{user}`"), Some(help));
        }
        Ok(())
    }
}

fn check_inside(file: &Path, at: &str, path: &Path) -> Result<(), DefinitionError> {
    if !path.is_absolute() && path.components().all(|c| c.as_os_str() != "..") {
        return Ok(());
    }
    Err(DefinitionError::Value {
        file: file.to_owned(),
        at: at.to_owned(),
        message: format!("`{}` leads out of the image's folder", path.display()),
        help: Some("name a path below the folder of image.toml".to_owned()),
    })
}

fn check_absolute(file: &Path, at: &str, value: &str) -> Result<(), DefinitionError> {
    let plain = value == "/"
        || value.strip_prefix('/').is_some_and(|rest| {
            rest.split('/')
                .all(|part| !part.is_empty() && part != "." && part != ".." && !part.contains(char::is_control))
        });
    if plain {
        return Ok(());
    }
    Err(DefinitionError::Value {
        file: file.to_owned(),
        at: at.to_owned(),
        message: format!("`{value}` is not an absolute path without `..`"),
        help: Some("write it as in \"/app\"".to_owned()),
    })
}

#[cfg(test)]
#[path = "image_tests.rs"]
mod tests;
