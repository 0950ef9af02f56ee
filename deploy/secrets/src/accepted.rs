//! What this user has accepted of a project on this computer: keys that secrets were encrypted to, and
//! folders outside that definitions may read.
//!
//! Who may read a secret stands in the repository, so a pull request can add a reader, and the next
//! `deploy secrets set` would encrypt to it. What was accepted before is therefore kept outside of the
//! repository, as `known_hosts` is: one file for each project, in a folder that the caller names
//! (`~/.local/state/cairn/accepted`). The first use of a project takes the readers of its index as they
//! are. Later, these are new:
//!
//! * an operator's key that was never accepted,
//! * a host's key that is not the one last used for that host,
//! * a host that did not read that secret before,
//! * a secret that a host was not sent before.
//!
//! The record also keeps which project the files belong to (`vault` of the index): another id would let
//! files of another project stand in place of this one's.
//!
//! A project is known by the folder it lies in. All worktrees of a git repository are one project:
//! looking at a pull request in a fresh worktree must not be a first use.

mod identity;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use self::identity::identity;
use crate::error::at;
use crate::files;
use crate::index::{Index, Reader};
use crate::name::SecretName;
use crate::recipient::Recipient;
use crate::{Result, SecretsError};

const VERSION: u32 = 1;

/// A secret that is about to be encrypted.
#[derive(Debug, Clone)]
pub struct Sealing<'a> {
    pub name: &'a SecretName,
    pub readers: Vec<Reader<'a>>,
}

/// Called before anything is encrypted, with the index that says the readers. An error keeps the vault
/// as it is.
pub type Approve<'a> = &'a mut dyn FnMut(&Index, &[Sealing<'_>]) -> Result<()>;

/// By which way a host gets its secrets. A host may have one key for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Sealed to the SSH host key that it answers with.
    Switch,
    /// Sealed to `pull.recipient` of its definition.
    Pull,
}

/// A reader that nothing was encrypted to before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewReader {
    pub name: String,
    pub is_host: bool,
    pub key: Recipient,
    pub why: Novelty,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Novelty {
    /// No key of that name was accepted.
    Unknown,
    /// The host had this key.
    OtherKey(Recipient),
    /// The host is known, and did not read this secret.
    OtherSecret(SecretName),
}

impl fmt::Display for NewReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_host { "host" } else { "operator" };
        write!(f, "{} ({kind}) {}", self.name, self.key.shown())?;
        match &self.why {
            Novelty::Unknown => Ok(()),
            Novelty::OtherKey(before) => write!(f, "; before it was {}", before.shown()),
            Novelty::OtherSecret(secret) => write!(f, "; it did not read {secret} before"),
        }
    }
}

/// The record of one project.
#[derive(Debug)]
pub struct Accepted {
    folder: PathBuf,
    file: PathBuf,
    record: Record,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    version: u32,
    /// For people.
    project: String,
    /// Key → name. Absent until secrets were encrypted from here.
    operators: Option<BTreeMap<String, String>>,
    /// Name → SSH host key.
    #[serde(default)]
    hosts: BTreeMap<String, String>,
    /// Name → key of a host that pulls.
    #[serde(default)]
    recipients: BTreeMap<String, String>,
    /// Secret → the hosts that read it.
    #[serde(default)]
    secrets: BTreeMap<String, BTreeSet<String>>,
    /// Host → the secrets that it was sent.
    #[serde(default)]
    sent: BTreeMap<String, BTreeSet<String>>,
    /// Folders outside of the project that definitions may read.
    #[serde(default)]
    outside: BTreeSet<String>,
    /// The id of the index.
    #[serde(default)]
    vault: Option<String>,
}

impl Accepted {
    /// The record for the project at `project`, among those in `folder`. Nothing is written yet.
    pub fn open(folder: &Path, project: &Path) -> Result<Self> {
        let identity = identity(project)?;
        let name = hex::encode(&Sha256::digest(identity.as_os_str().as_bytes())[..16]);
        let file = folder.join(format!("{name}.toml"));
        let mut record = read(&file)?;
        record.version = VERSION;
        record.project = identity.display().to_string();
        Ok(Self { folder: folder.to_owned(), file, record })
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Whether secrets were never encrypted from here.
    pub fn is_first_use(&self) -> bool {
        self.record.operators.is_none()
    }

    /// The readers that are new, each once. A key in `own` never is: its private half is in the hands of
    /// the operator who runs this.
    pub fn new_readers(&self, sealings: &[Sealing<'_>], own: &[Recipient]) -> Vec<NewReader> {
        let mut new: Vec<NewReader> = Vec::new();
        for sealing in sealings {
            for reader in sealing.readers.iter().filter(|reader| !own.contains(reader.key)) {
                let Some(why) = self.novelty(sealing.name, reader) else { continue };
                if !new.iter().any(|known| known.key == *reader.key && known.is_host == reader.is_host) {
                    let (name, key) = (reader.name.to_owned(), reader.key.clone());
                    new.push(NewReader { name, is_host: reader.is_host, key, why });
                }
            }
        }
        new
    }

    fn novelty(&self, secret: &SecretName, reader: &Reader<'_>) -> Option<Novelty> {
        let key = reader.key.as_str();
        if !reader.is_host {
            let known = self.record.operators.as_ref().is_none_or(|known| known.contains_key(key));
            return (!known).then_some(Novelty::Unknown);
        }
        let known = self.keys_of(reader.name);
        match known.first() {
            None => (!self.is_first_use()).then_some(Novelty::Unknown),
            Some(last) if !known.contains(&key) => {
                Some(Recipient::parse(last).map_or(Novelty::Unknown, Novelty::OtherKey))
            }
            Some(_) => {
                let readers = self.record.secrets.get(secret.as_str());
                let known = readers.is_none_or(|hosts| hosts.contains(reader.name));
                (!known).then(|| Novelty::OtherSecret(secret.clone()))
            }
        }
    }

    fn keys_of(&self, host: &str) -> Vec<&str> {
        let (switch, pull) = (self.record.hosts.get(host), self.record.recipients.get(host));
        switch.into_iter().chain(pull).map(String::as_str).collect()
    }

    /// Takes the readers of these as known; at the first use also those of the rest of the index.
    pub fn accept(&mut self, index: &Index, sealings: &[Sealing<'_>]) -> Result<()> {
        self.change(|record| {
            record.vault.clone_from(&index.vault);
            if record.operators.is_none() {
                // A host that was sealed for already keeps its key: another one is for a person to accept.
                let unknown = |name: &String| !record.hosts.contains_key(name) && !record.recipients.contains_key(name);
                let hosts: Vec<_> = index.hosts.iter().filter(|(name, _)| unknown(name)).collect();
                hosts.into_iter().for_each(|(name, key)| record.accept_host(name, Way::Switch, key));
                for (name, entry) in &index.secrets {
                    record.accept_hosts_of(name, &index.readers(entry));
                }
            }
            let operators = record.operators.get_or_insert_default();
            operators.extend(index.operators.iter().map(|(name, key)| (key.to_string(), name.clone())));
            for sealing in sealings {
                for reader in sealing.readers.iter().filter(|reader| reader.is_host) {
                    record.accept_host(reader.name, Way::Switch, reader.key);
                }
                record.accept_hosts_of(sealing.name, &sealing.readers);
            }
        })
    }

    /// Takes an operator's own key as known, where a record has begun: they have put it into the index.
    pub fn accept_own(&mut self, name: &str, key: &Recipient) -> Result<()> {
        match self.is_first_use() {
            true => Ok(()),
            false => self.change(|record| {
                record.operators.get_or_insert_default().insert(key.to_string(), name.to_owned());
            }),
        }
    }

    /// The key that was used last for a host, if this is another one. `None` also at the first use.
    pub fn other_key(&self, host: &str, key: &Recipient) -> Option<&str> {
        let known = self.keys_of(host);
        let differs = !known.contains(&key.as_str());
        known.into_iter().next().filter(|_| differs)
    }

    pub fn knows_host(&self, host: &str) -> bool {
        !self.keys_of(host).is_empty()
    }

    /// Refuses an index that belongs to another project than the last time.
    pub fn check_vault(&self, index: &Index, file: &Path) -> Result<()> {
        match &self.record.vault {
            Some(before) if index.vault.as_ref() != Some(before) => Err(SecretsError::OtherVault {
                index: file.to_owned(),
                now: index.vault.clone(),
                before: before.clone(),
                record: self.file.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Records which project the index belongs to, if no record says so yet.
    pub fn accept_vault(&mut self, index: &Index) -> Result<()> {
        match (&self.record.vault, &index.vault) {
            (None, Some(id)) => {
                let id = id.clone();
                self.change(|record| record.vault = Some(id))
            }
            _ => Ok(()),
        }
    }

    /// Those of the secrets that a host, which was sent others, did not get before.
    pub fn unsent<'n>(&self, host: &str, secrets: &'n [SecretName]) -> Vec<&'n SecretName> {
        if !self.knows_host(host) {
            return Vec::new();
        }
        let was_sent = |name: &str| self.record.sent.get(host).is_some_and(|sent| sent.contains(name));
        let reads = |name: &str| self.record.secrets.get(name).is_some_and(|hosts| hosts.contains(host));
        secrets.iter().filter(|name| !was_sent(name.as_str()) && !reads(name.as_str())).collect()
    }

    /// Folders outside of the project that definitions may read, free of links.
    pub fn outside(&self) -> Vec<PathBuf> {
        self.record.outside.iter().map(PathBuf::from).collect()
    }

    pub fn accept_outside(&mut self, folder: &Path) -> Result<()> {
        let Some(text) = folder.to_str().filter(|text| !self.record.outside.contains(*text)) else { return Ok(()) };
        let text = text.to_owned();
        self.change(|record| record.outside.extend([text]))
    }

    /// Records that a host gets these secrets.
    pub fn accept_sent(&mut self, host: &str, secrets: &[SecretName]) -> Result<()> {
        self.change(|record| record.accept_sent(host, secrets))
    }

    /// Records the key that secrets of a host are sealed to, and which ones.
    pub fn accept_host(
        &mut self,
        host: &str,
        way: Way,
        key: &Recipient,
        secrets: &[SecretName],
        vault: Option<&str>,
    ) -> Result<()> {
        let change = |record: &mut Record| {
            record.accept_host(host, way, key);
            record.accept_sent(host, secrets);
            record.vault = vault.map(str::to_owned).or(record.vault.take());
        };
        let mut after = self.record.clone();
        change(&mut after);
        if after == self.record { Ok(()) } else { self.change(change) }
    }

    /// Changes the record as it is on disk now.
    fn change(&mut self, work: impl FnOnce(&mut Record)) -> Result<()> {
        files::private_dir(&self.folder)?;
        let _lock = files::lock(&self.folder)?;
        let mut record = read(&self.file)?;
        record.version = VERSION;
        record.project.clone_from(&self.record.project);
        work(&mut record);
        let text = toml::to_string(&record).map_err(|error| self.damaged(error.to_string()))?;
        files::replace(&self.file, text.as_bytes(), 0o600)?;
        self.record = record;
        Ok(())
    }

    fn damaged(&self, reason: String) -> SecretsError {
        SecretsError::Accepted { file: self.file.clone(), reason }
    }
}

impl Record {
    fn accept_hosts_of(&mut self, secret: &SecretName, readers: &[Reader<'_>]) {
        let hosts = readers.iter().filter(|reader| reader.is_host).map(|reader| reader.name.to_owned());
        self.secrets.insert(secret.to_string(), hosts.collect());
    }

    fn accept_sent(&mut self, host: &str, secrets: &[SecretName]) {
        self.sent.entry(host.to_owned()).or_default().extend(secrets.iter().map(ToString::to_string));
    }

    fn accept_host(&mut self, host: &str, way: Way, key: &Recipient) {
        let (these, others) = match way {
            Way::Switch => (&mut self.hosts, &self.recipients),
            Way::Pull => (&mut self.recipients, &self.hosts),
        };
        // A key that is known by the other way is no second one.
        if others.get(host).map(String::as_str) != Some(key.as_str()) {
            these.insert(host.to_owned(), key.to_string());
        }
    }
}

fn read(file: &Path) -> Result<Record> {
    let text = match fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Record::default()),
        other => other.map_err(at("read", file))?,
    };
    let damaged = |reason: String| SecretsError::Accepted { file: file.to_owned(), reason };
    let record: Record = toml::from_str(&text).map_err(|error| damaged(error.message().to_owned()))?;
    match record.version {
        VERSION => Ok(record),
        other => Err(damaged(format!("it has version {other}, and this program knows version {VERSION}"))),
    }
}

#[cfg(test)]
mod tests;
