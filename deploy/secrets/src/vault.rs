//! The folder `secrets/` of a project: its index and its files, read and changed together.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use cairn_beneath::Links;
use rand::RngCore as _;
use rand::rngs::OsRng;
use rustix::fs::OFlags;

use crate::accepted::{Approve, Sealing};
use crate::error::at;
use crate::files::{self, Prepared};
use crate::generate::Generator;
use crate::header::{Header, Label};
use crate::identity::Identities;
use crate::index::{Editor, Entry, Index, Reader, SealedTo};
use crate::name::{HostPattern, SecretName, is_plain};
use crate::open::MAX_FILE;
use crate::recipient::Recipient;
use crate::seal::seal;
use crate::value::{MAX_VALUE, SecretBytes};
use crate::{Result, SecretsError};

/// The folder below the project's.
pub const FOLDER: &str = "secrets";
/// The index in it.
pub const INDEX: &str = "secrets.toml";
/// An index of a thousand secrets has some 300 kB.
const LONGEST_INDEX: u64 = 16 << 20;

/// A project's committed secrets.
///
/// Every change takes the folder's lock, reads the index afresh, and replaces files whole. The
/// index is replaced before the value's file: a crash between the two leaves the old value with a
/// raised version, which the same command repairs.
#[derive(Debug)]
pub struct Vault {
    project: PathBuf,
    dir: PathBuf,
    index: Index,
}

/// Where a new value comes from.
#[derive(Debug)]
pub enum NewValue {
    Given(SecretBytes),
    /// Made; without a kind, of the kind that the index names.
    Generated(Option<Generator>),
}

/// What `rekey` did to one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rekeyed {
    pub name: SecretName,
    pub added: Vec<String>,
    /// They may have read the value, which did not change.
    pub removed: Vec<String>,
}

impl Vault {
    /// The secrets of the project at `project`.
    pub fn open(project: &Path) -> Result<Self> {
        let (_, index) = read_index(project)?;
        Ok(Self { project: project.to_owned(), dir: project.join(FOLDER), index })
    }

    /// Whether the project has any.
    pub fn exists(project: &Path) -> bool {
        project.join(FOLDER).join(INDEX).exists()
    }

    pub fn index(&self) -> &Index {
        &self.index
    }

    pub fn index_file(&self) -> PathBuf {
        self.dir.join(INDEX)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn file(&self, name: &SecretName) -> PathBuf {
        self.dir.join(name.file_name())
    }

    pub fn entry(&self, name: &SecretName) -> Result<&Entry> {
        self.index.entry(&self.index_file(), name)
    }

    pub fn readers(&self, name: &SecretName) -> Result<Vec<Reader<'_>>> {
        Ok(self.index.readers(self.entry(name)?))
    }

    /// The content of a secret's file; `None` when there is none.
    pub fn ciphertext(&self, name: &SecretName) -> Result<Option<Vec<u8>>> {
        match read_file(&self.project, &name.file_name(), 2 * MAX_FILE as u64) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some).map_err(at("read", &self.file(name))),
        }
    }

    pub(crate) fn has_no_files(&self) -> bool {
        self.index.secrets.keys().all(|name| self.file(name).symlink_metadata().is_err())
    }

    /// What the file of a secret must say of itself. Nothing, in a vault of an earlier version.
    pub(crate) fn label(&self, name: &SecretName, notifications: bool) -> Option<Label> {
        self.index.vault.clone().map(|vault| Label { name: name.to_string(), vault, notifications })
    }

    /// Refuses a file that holds another secret, be it of this project or of another.
    pub(crate) fn check_place(&self, name: &SecretName, ciphertext: &[u8]) -> Result<()> {
        let label = Header::read(ciphertext).and_then(|header| header.label);
        let problem = match (&self.index.vault, label) {
            (_, Some(label)) if label.name != name.as_str() => format!("it holds the secret `{}`", label.name),
            (Some(vault), Some(label)) if label.vault != *vault => "it belongs to another project".to_owned(),
            (None, Some(label)) => {
                format!("{} has lost its line `vault = \"{}\"`", self.index_file().display(), label.vault)
            }
            (Some(_), None) => "it does not say which secret it holds".to_owned(),
            (Some(_), Some(_)) | (None, None) => return Ok(()),
        };
        Err(SecretsError::Misplaced { name: name.clone(), file: self.file(name), problem })
    }

    /// Whether the value was made for notifications: the index allows it, and did so already when the
    /// value was set. A line that is added to the index later does not put the value into use.
    pub fn is_for_notifications(&self, name: &SecretName) -> Result<bool> {
        let allowed = self.entry(name)?.notifications;
        let label = self.ciphertext(name)?.and_then(|file| Header::read(&file)?.label);
        Ok(allowed && label.is_some_and(|label| label.notifications))
    }

    /// Decrypts a secret.
    pub fn reveal(&self, name: &SecretName, identities: &Identities) -> Result<SecretBytes> {
        let entry = self.entry(name)?;
        let file = self.file(name);
        let Some(ciphertext) = self.ciphertext(name)? else {
            return Err(SecretsError::NoValue { name: name.clone(), file, generated: entry.generate.is_some() });
        };
        self.check_place(name, &ciphertext)?;
        if identities.is_empty() {
            return Err(SecretsError::NoIdentity { name: name.clone(), looked: identities.looked() });
        }
        identities.decrypt(&ciphertext)?.map_err(|source| SecretsError::Open {
            name: name.clone(),
            file,
            tried: identities.looked(),
            source,
        })
    }

    /// Gives a secret a new value; its new version. A secret that the index does not know is added
    /// to it when `hosts` says who may read it.
    pub fn set(
        &mut self,
        name: &SecretName,
        value: NewValue,
        hosts: &[HostPattern],
        approve: Approve<'_>,
    ) -> Result<u64> {
        self.change(|vault, editor| {
            let mut entry = vault.entry_for(name, hosts)?;
            if !vault.index.secrets.contains_key(name) {
                editor.declare(name, hosts);
            }
            let bad = |why| SecretsError::BadValue { name: name.clone(), why };
            let value = match (value, entry.generate) {
                (NewValue::Given(_), Some(kind)) => return Err(vault.made_not_typed(name, kind)),
                (NewValue::Given(value), None) => value,
                (NewValue::Generated(kind), declared) => {
                    let kind = kind.or(declared).ok_or_else(|| bad(NO_KIND))?;
                    if Some(kind) != declared {
                        editor.set_generator(name, kind);
                    }
                    kind.generate()
                }
            };
            match value.len() {
                0 => return Err(bad("an empty value is none\n  help: pipe the value in, or use `--from-file FILE`")),
                1..=MAX_VALUE => {}
                _ => return Err(bad(TOO_LONG)),
            }
            entry.version += 1;
            // From the first value on, files say what they hold.
            let id = vault.index.vault.clone().or_else(|| vault.has_no_files().then(new_id));
            vault.approve(id.as_ref(), &[(name, &entry)], approve)?;
            if let Some(id) = id.as_ref().filter(|_| vault.index.vault.is_none()) {
                editor.set_vault(id);
            }
            let notifications = entry.notifications;
            let label = id.map(|vault| Label { name: name.to_string(), vault, notifications });
            let prepared = vault.seal(name, &mut entry, &value, label.as_ref())?;
            editor.set_sealed(name, &entry);
            Ok((entry.version, vec![prepared]))
        })
    }

    /// Asks for the readers of [`Self::set`] before there is a value: nobody should type one in vain.
    pub fn approve_readers(&self, name: &SecretName, hosts: &[HostPattern], approve: Approve<'_>) -> Result<()> {
        self.approve(self.index.vault.as_ref(), &[(name, &self.entry_for(name, hosts)?)], approve)
    }

    /// The entry as the index has it, or as one for `hosts` would be.
    fn entry_for(&self, name: &SecretName, hosts: &[HostPattern]) -> Result<Entry> {
        match self.index.secrets.get(name) {
            Some(_) if !hosts.is_empty() => Err(SecretsError::Declared { file: self.index_file(), name: name.clone() }),
            None if !hosts.is_empty() => Ok(Entry { hosts: hosts.to_vec(), ..Entry::default() }),
            _ => Ok(self.entry(name)?.clone()),
        }
    }

    /// `id` is the one that the index is about to have.
    fn approve(&self, id: Option<&String>, entries: &[(&SecretName, &Entry)], approve: Approve<'_>) -> Result<()> {
        // Without operators nothing is encrypted: sealing says so.
        if entries.is_empty() || self.index.operators.is_empty() {
            return Ok(());
        }
        let sealings = entries.iter().map(|(name, entry)| Sealing { name, readers: self.index.readers(entry) });
        let index = Index { vault: id.cloned(), ..self.index.clone() };
        approve(&index, &sealings.collect::<Vec<_>>())
    }

    /// Encrypts files anew whose readers have changed: the values and versions stay. All of them,
    /// or those named. When one cannot be decrypted, none is changed.
    pub fn rekey(
        &mut self,
        names: &[SecretName],
        identities: &Identities,
        approve: Approve<'_>,
    ) -> Result<Vec<Rekeyed>> {
        self.change(|vault, editor| {
            let all = || vault.index.secrets.keys().filter(|name| vault.file(name).exists()).cloned().collect();
            // Files of an earlier version say from now on what they hold; all of them, or none.
            let id = match (&vault.index.vault, names.is_empty()) {
                (None, true) => Some(new_id()),
                (known, _) => known.clone(),
            };
            let becomes_labelled = id != vault.index.vault;
            let names: Vec<SecretName> = if names.is_empty() { all() } else { names.to_vec() };
            let mut stale = Vec::new();
            for name in names {
                if becomes_labelled || !vault.is_up_to_date(&name)? {
                    let entry = vault.entry(&name)?.clone();
                    stale.push((name, entry));
                }
            }
            if let Some(id) = id.as_ref().filter(|_| becomes_labelled && !stale.is_empty()) {
                editor.set_vault(id);
            }
            let id_after = id.as_ref().filter(|_| !stale.is_empty());
            vault.approve(id_after, &stale.iter().map(|(name, entry)| (name, entry)).collect::<Vec<_>>(), approve)?;
            let (mut done, mut files) = (Vec::new(), Vec::new());
            for (name, mut entry) in stale {
                let value = vault.reveal(&name, identities)?;
                let before = std::mem::take(&mut entry.sealed_to);
                // What the value was made for does not change.
                let notifications = vault.is_for_notifications(&name)?;
                let label = id.clone().map(|vault| Label { name: name.to_string(), vault, notifications });
                files.push(vault.seal(&name, &mut entry, &value, label.as_ref())?);
                editor.set_sealed(&name, &entry);
                done.push(Rekeyed {
                    added: missing_from(&entry.sealed_to, &before),
                    removed: missing_from(&before, &entry.sealed_to),
                    name,
                });
            }
            Ok((done, files))
        })
    }

    /// Puts a host's key into the index, or replaces it there. Whether that changed anything;
    /// what the host may read is encrypted to it by the next [`Self::rekey`].
    pub fn set_host_key(&mut self, host: &str, key: &Recipient) -> Result<bool> {
        self.set_key("hosts", host, key)
    }

    pub(crate) fn set_key(&mut self, section: &str, name: &str, key: &Recipient) -> Result<bool> {
        if !is_plain(name) {
            return Err(SecretsError::HostName { host: name.to_owned() });
        }
        self.change(|vault, editor| {
            let known = if section == "hosts" { &vault.index.hosts } else { &vault.index.operators };
            let changes = known.get(name) != Some(key);
            if changes {
                editor.set_key(section, name, key);
            }
            Ok((changes, Vec::new()))
        })
    }

    /// Whether a secret's file is encrypted to exactly those who may read it, as far as the index
    /// and the file's header tell.
    pub fn is_up_to_date(&self, name: &SecretName) -> Result<bool> {
        let entry = self.entry(name)?;
        let Some(header) = self.ciphertext(name)?.and_then(|file| Header::read(&file)) else { return Ok(false) };
        let made_for = header.label.as_ref().is_some_and(|label| label.notifications);
        let wanted = Header::of(&self.index.readers(entry), self.label(name, made_for));
        Ok(self.index.is_up_to_date(entry) && header == wanted)
    }

    /// Refuses a secret whose value is made, before anybody types one.
    pub fn may_be_typed(&self, name: &SecretName) -> Result<()> {
        self.entry(name)?.generate.map_or(Ok(()), |kind| Err(self.made_not_typed(name, kind)))
    }

    fn made_not_typed(&self, name: &SecretName, kind: Generator) -> SecretsError {
        SecretsError::Generated { name: name.clone(), file: self.index_file(), generate: kind.to_string() }
    }

    fn seal(
        &self,
        name: &SecretName,
        entry: &mut Entry,
        value: &SecretBytes,
        label: Option<&Label>,
    ) -> Result<Prepared> {
        if self.index.operators.is_empty() {
            return Err(SecretsError::NoOperators { name: name.clone(), file: self.index_file() });
        }
        let readers = self.index.readers(entry);
        let sealed = seal(value, readers.iter().map(|reader| reader.key), label);
        let sealed = sealed.map_err(|reason| SecretsError::Seal { name: name.clone(), reason })?;
        let sealed_to = readers.iter().map(SealedTo::from).collect();
        entry.sealed_to = sealed_to;
        Prepared::new(&self.file(name), &sealed, 0o644)
    }

    /// Runs a change under the lock, on the index as it is now, and writes what it prepared.
    fn change<T>(&mut self, work: impl FnOnce(&Self, &mut Editor) -> Result<(T, Vec<Prepared>)>) -> Result<T> {
        let _lock = files::lock(&self.dir)?;
        let (before, index) = read_index(&self.project)?;
        self.index = index;
        let file = self.index_file();
        let mut editor = Editor::new(&file, &before)?;
        let (result, prepared) = work(self, &mut editor)?;
        let (text, index) = editor.finish(&file)?;
        if text != before {
            files::replace(&file, text.as_bytes(), 0o644)?;
        }
        self.index = index;
        prepared.into_iter().try_for_each(Prepared::commit)?;
        Ok(result)
    }
}

const TOO_LONG: &str = "it is longer than 1 MiB, and systemd takes no longer credential\n  help: encrypt a key here, and what it opens elsewhere";
const NO_KIND: &str =
    "there is no kind of value to make\n  help: name one: `--generate password:32`, `hex:32` or `base64:32`";

/// The bytes of a file of the folder. A link in its place, or in the folder's, is an error: it could lead
/// to a secret of another project.
fn read_file(project: &Path, name: &str, most: u64) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = cairn_beneath::open_at(project, &Path::new(FOLDER).join(name), Links::Refused, flags);
    let file = File::from(opened.map_err(|error| match cairn_beneath::leads_out(&error) {
        true => io::Error::other("it is a link, or its folder is one: put the file itself there"),
        false => error,
    })?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > most {
        true => Err(io::Error::other(format!("it is larger than {most} bytes"))),
        false => Ok(bytes),
    }
}

/// The id of a new vault.
pub(crate) fn new_id() -> String {
    let mut id = [0_u8; 16];
    OsRng.fill_bytes(&mut id);
    hex::encode(id)
}

fn read_index(project: &Path) -> Result<(String, Index)> {
    let file = project.join(FOLDER).join(INDEX);
    let text = match read_file(project, INDEX, LONGEST_INDEX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(SecretsError::NoIndex { file }),
        other => other.map_err(at("read", &file))?,
    };
    let text = String::from_utf8(text).map_err(|_| at("read", &file)(io::ErrorKind::InvalidData.into()))?;
    let index = Index::parse(&file, &text)?;
    Ok((text, index))
}

/// Names in `these` whose key is not in `those`.
fn missing_from(these: &[SealedTo], those: &[SealedTo]) -> Vec<String> {
    let missing = these.iter().filter(|this| those.iter().all(|that| that.fingerprint != this.fingerprint));
    missing.map(|this| this.name.clone()).collect()
}
