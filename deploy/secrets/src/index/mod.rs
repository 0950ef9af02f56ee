//! `secrets/secrets.toml`: who may read what. It holds no secret.
//!
//! ```toml
//! vault = "0f3c…"                    # written by deploy: which project the files belong to
//!
//! [operators]                        # people (and CI) who may read and change every secret
//! alice = "age1…"
//!
//! [hosts]                            # a host's SSH host key
//! web-1 = "ssh-ed25519 AAAA…"
//!
//! [secrets.database-password]
//! hosts = ["web-*"]                  # names or globs; these hosts may read it
//! generate = "password:32"           # optional: made, never typed
//! help = "the API's own role"        # optional
//! notifications = true               # optional: [[notify]] of deploy.toml may use it
//! version = 3                        # written by deploy: raised when the value changes
//! sealed-to = ["alice 0f3c…"]        # written by deploy: whom the file is encrypted to
//! ```

mod edit;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

pub(crate) use edit::Editor;

use crate::generate::Generator;
use crate::name::{HostPattern, SecretName, is_plain};
use crate::recipient::Recipient;
use crate::{Result, SecretsError, nearest};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    /// Which project the files belong to: 32 hexadecimal digits. Absent until the first `rekey` of an
    /// index that an earlier version made.
    pub vault: Option<String>,
    pub operators: BTreeMap<String, Recipient>,
    pub hosts: BTreeMap<String, Recipient>,
    pub secrets: BTreeMap<SecretName, Entry>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    pub hosts: Vec<HostPattern>,
    pub generate: Option<Generator>,
    pub help: String,
    /// Whether `[[notify]]` of deploy.toml may use the value, as an address or to sign with.
    pub notifications: bool,
    /// 0: never set.
    pub version: u64,
    /// Whom the file is encrypted to, as it was written last.
    pub sealed_to: Vec<SealedTo>,
}

/// A reader of a file, by name and by fingerprint of the key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SealedTo {
    pub name: String,
    pub fingerprint: String,
}

/// Somebody who may read a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reader<'a> {
    pub name: &'a str,
    pub key: &'a Recipient,
    pub is_host: bool,
}

impl Entry {
    pub fn allows(&self, host: &str) -> bool {
        self.hosts.iter().any(|pattern| pattern.matches(host))
    }
}

impl Index {
    /// Reads an index. `file` is for messages. What is wrong with its values is told all at once.
    pub fn parse(file: &Path, text: &str) -> Result<Self> {
        let raw: RawIndex = read(file, text)?;
        let mut faults = Faults { file, text, list: Vec::new() };
        let index = Self {
            vault: raw.vault.and_then(|vault| faults.vault(vault)),
            operators: faults.keys("operators", raw.operators),
            hosts: faults.keys("hosts", raw.hosts),
            secrets: faults.secrets(raw.secrets),
        };
        match faults.list.is_empty() {
            true => Ok(index),
            false => Err(SecretsError::Index { faults: faults.list }),
        }
    }

    pub fn entry(&self, file: &Path, name: &SecretName) -> Result<&Entry> {
        self.secrets.get(name).ok_or_else(|| SecretsError::Unknown {
            file: file.to_owned(),
            name: name.clone(),
            near: nearest(name.as_str(), self.secrets.keys().map(SecretName::as_str)).map(str::to_owned),
        })
    }

    /// Everybody who may read a secret: the operators, then the hosts whose key is known.
    pub fn readers<'a>(&'a self, entry: &'a Entry) -> Vec<Reader<'a>> {
        let operators = self.operators.iter().map(|(name, key)| Reader { name, key, is_host: false });
        let hosts = self.hosts.iter().filter(|(name, _)| entry.allows(name));
        operators.chain(hosts.map(|(name, key)| Reader { name, key, is_host: true })).collect()
    }

    /// Whether a file sealed as `entry` records is sealed to exactly those who may read it now.
    pub fn is_up_to_date(&self, entry: &Entry) -> bool {
        let now: BTreeSet<String> = self.readers(entry).iter().map(|r| r.key.fingerprint()).collect();
        let then: BTreeSet<String> = entry.sealed_to.iter().map(|s| s.fingerprint.clone()).collect();
        now == then
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIndex {
    vault: Option<Spanned<String>>,
    #[serde(default)]
    operators: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    hosts: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    secrets: BTreeMap<String, RawEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawEntry {
    hosts: Spanned<Vec<Spanned<String>>>,
    generate: Option<Spanned<String>>,
    #[serde(default)]
    help: String,
    #[serde(default)]
    notifications: bool,
    #[serde(default)]
    version: u64,
    #[serde(default)]
    sealed_to: Vec<Spanned<String>>,
}

fn read(file: &Path, text: &str) -> Result<RawIndex> {
    let document = toml::Deserializer::parse(text).map_err(|e| syntax(file, text, "", &e))?;
    serde_path_to_error::deserialize(document).map_err(|e| {
        let path = e.path().to_string();
        syntax(file, text, if path == "." { "" } else { &path }, &e.into_inner())
    })
}

fn syntax(file: &Path, text: &str, path: &str, error: &toml::de::Error) -> SecretsError {
    let line = line_of(text, error.span().map_or(0, |span| span.start));
    let at = if path.is_empty() { String::new() } else { format!("{path}: ") };
    SecretsError::Index { faults: vec![format!("{}:{line}: {at}{}", file.display(), error.message().trim_end())] }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// Collects what is wrong while values become types.
struct Faults<'a> {
    file: &'a Path,
    text: &'a str,
    list: Vec<String>,
}

impl Faults<'_> {
    fn add(&mut self, span: &Range<usize>, what: impl std::fmt::Display) {
        self.list.push(format!("{}:{}: {what}", self.file.display(), line_of(self.text, span.start)));
    }

    fn vault(&mut self, vault: Spanned<String>) -> Option<String> {
        let text = vault.get_ref();
        let valid = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !valid {
            let said = format!("vault: {text:?} was not written by deploy; take it from version control again");
            self.add(&vault.span(), said);
        }
        valid.then(|| vault.into_inner())
    }

    fn keys(&mut self, section: &str, raw: BTreeMap<String, Spanned<String>>) -> BTreeMap<String, Recipient> {
        let mut keys: BTreeMap<String, Recipient> = BTreeMap::new();
        for (name, value) in raw {
            let span = value.span();
            if !is_plain(&name) {
                self.add(
                    &span,
                    format!("{section}: {name:?} cannot be a name: use letters, digits, `.`, `_`, `@` and `-`"),
                );
            }
            match Recipient::parse(value.get_ref()) {
                Ok(key) => match keys.iter().find(|(_, other)| **other == key) {
                    Some((twin, _)) => {
                        let twin = twin.clone();
                        self.add(
                            &span,
                            format!("{section}.{name}: the same key as {section}.{twin}; keep one of them"),
                        );
                    }
                    None => drop(keys.insert(name, key)),
                },
                Err(reason) => self.add(&span, format!("{section}.{name}: {reason}")),
            }
        }
        keys
    }

    fn secrets(&mut self, raw: BTreeMap<String, RawEntry>) -> BTreeMap<SecretName, Entry> {
        let mut secrets = BTreeMap::new();
        for (text, entry) in raw {
            let at = entry.hosts.span();
            let name = SecretName::parse(&text).map_err(|error| self.add(&at, format!("secrets: {error}"))).ok();
            let hosts = entry.hosts.into_inner().into_iter().filter_map(|host| {
                let pattern = HostPattern::parse(host.get_ref());
                if pattern.is_none() {
                    let host_text = host.get_ref();
                    self.add(
                        &host.span(),
                        format!("secrets.{text}.hosts: {host_text:?} is no host's name or glob (`*`, `?`)"),
                    );
                }
                pattern
            });
            let hosts = hosts.collect();
            let generate = entry.generate.and_then(|kind| {
                let parsed = Generator::parse(kind.get_ref());
                parsed.map_err(|reason| self.add(&kind.span(), format!("secrets.{text}.generate: {reason}"))).ok()
            });
            let sealed_to = entry.sealed_to.iter().filter_map(|line| {
                let parsed = SealedTo::parse(line.get_ref());
                if parsed.is_none() {
                    self.add(&line.span(), format!("secrets.{text}.sealed-to: {:?} was not written by deploy; take the list out and run `deploy secrets rekey {text}`", line.get_ref()));
                }
                parsed
            });
            let sealed_to = sealed_to.collect();
            if let Some(name) = name {
                let RawEntry { help, notifications, version, .. } = entry;
                secrets.insert(name, Entry { hosts, generate, help, notifications, version, sealed_to });
            }
        }
        secrets
    }
}

impl SealedTo {
    fn parse(text: &str) -> Option<Self> {
        let (name, fingerprint) = text.split_once(' ')?;
        let is_print = fingerprint.len() == 16 && fingerprint.bytes().all(|b| b.is_ascii_hexdigit());
        (is_plain(name) && is_print).then(|| Self { name: name.to_owned(), fingerprint: fingerprint.to_owned() })
    }
}

impl From<&Reader<'_>> for SealedTo {
    fn from(reader: &Reader<'_>) -> Self {
        Self { name: reader.name.to_owned(), fingerprint: reader.key.fingerprint() }
    }
}

impl std::fmt::Display for SealedTo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.fingerprint)
    }
}

#[cfg(test)]
mod tests;
