//! Private keys of operators: where they lie, and how they are read.
//!
//! In this order, and only the first place that has any: files named on the command line, the files
//! in `DEPLOY_IDENTITY` (separated by `:`), `~/.config/cairn/identity.txt`, `~/.ssh/id_ed25519`.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use crate::error::at;
use crate::files::{create, must_be_private, private_dir};
use crate::header::Header;
use crate::open::{OpenError, decrypt};
use crate::prompt::ask_hidden;
use crate::recipient::Recipient;
use crate::value::SecretBytes;
use crate::{Result, SecretsError};

/// The variable that names identity files.
pub const IDENTITY_VARIABLE: &str = "DEPLOY_IDENTITY";

/// The private keys at hand; there may be none.
pub struct Identities {
    keys: Vec<Key>,
    looked: Vec<String>,
}

struct Key {
    public: Recipient,
    /// Absent while it is under a passphrase that nobody was asked for yet.
    open: RefCell<Option<Box<dyn age::Identity>>>,
    locked: Option<(PathBuf, age::ssh::EncryptedKey)>,
}

impl Identities {
    /// Those named, which must exist, or else those at the usual places.
    pub fn find(named: &[PathBuf]) -> Result<Self> {
        if !named.is_empty() {
            return Self::read(named);
        }
        match std::env::var_os(IDENTITY_VARIABLE).filter(|files| !files.is_empty()) {
            Some(files) => Self::read(&std::env::split_paths(&files).collect::<Vec<_>>()),
            None => {
                let usual = usual_files();
                let mut identities = Self::none();
                if let Some(file) = usual.iter().find(|file| file.is_file()) {
                    identities = Self::read(std::slice::from_ref(file))?;
                }
                identities.looked = usual.iter().map(|f| f.display().to_string()).collect();
                Ok(identities)
            }
        }
    }

    /// Reads files, all of which must be identities.
    pub fn read(files: &[PathBuf]) -> Result<Self> {
        let mut keys = Vec::new();
        for file in files {
            keys.extend(read(file)?);
        }
        Ok(Self { keys, looked: files.iter().map(|f| f.display().to_string()).collect() })
    }

    pub fn none() -> Self {
        Self { keys: Vec::new(), looked: Vec::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The public keys, in the order of the files.
    pub fn public(&self) -> impl Iterator<Item = &Recipient> {
        self.keys.iter().map(|key| &key.public)
    }

    /// Where they were looked for, for messages.
    pub fn looked(&self) -> Vec<String> {
        if self.looked.is_empty() { vec!["nothing".to_owned()] } else { self.looked.clone() }
    }

    /// Asks for a passphrase only when the file is encrypted to the key that it protects, and no
    /// other key opens the file.
    pub(crate) fn decrypt(&self, ciphertext: &[u8]) -> Result<Result<SecretBytes, OpenError>> {
        let attempt = || {
            let open: Vec<_> = self.keys.iter().map(|key| key.open.borrow()).collect();
            decrypt(ciphertext, open.iter().filter_map(|key| key.as_deref()))
        };
        let first = attempt();
        if !matches!(first, Err(OpenError::NotARecipient)) {
            return Ok(first);
        }
        let header = Header::read(ciphertext).unwrap_or_default();
        for key in &self.keys {
            if key.public.tag().is_some_and(|tag| header.ssh.contains(&tag)) && key.unlock()? {
                return Ok(attempt());
            }
        }
        Ok(first)
    }
}

/// No key in it: `Debug` of an error or a test must not show one.
impl std::fmt::Debug for Identities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identities").field("public", &self.public().collect::<Vec<_>>()).finish_non_exhaustive()
    }
}

impl Key {
    /// Asks for the passphrase of a locked key. Whether it is newly open.
    fn unlock(&self) -> Result<bool> {
        let Some((file, key)) = self.locked.as_ref().filter(|_| self.open.borrow().is_none()) else {
            return Ok(false);
        };
        let what = format!("passphrase of {}", file.display());
        let answer = ask_hidden(&what, "name an identity without a passphrase with `--identity FILE`")?;
        let failed = |reason: &str| SecretsError::Identity { file: file.clone(), reason: reason.to_owned() };
        let passphrase = std::str::from_utf8(answer.expose()).map_err(|_| failed("a passphrase is text"))?;
        let open = key.decrypt(SecretString::from(passphrase)).map_err(|_| failed("this is not its passphrase"))?;
        *self.open.borrow_mut() = Some(Box::new(age::ssh::Identity::from(open)));
        Ok(true)
    }
}

/// Where `deploy secrets init` makes an identity.
pub fn default_file() -> Result<PathBuf> {
    usual_files().into_iter().next().ok_or(SecretsError::NoHome)
}

/// Makes an identity that must not be there yet; gives its public key.
pub fn make_identity(file: &Path) -> Result<Recipient> {
    let identity = age::x25519::Identity::generate();
    let public = identity.to_public().to_string();
    let private = identity.to_string();
    let text = Zeroizing::new(format!("# public key: {public}\n{}\n", private.expose_secret()));
    if let Some(dir) = file.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        private_dir(dir)?;
    }
    create(file, text.as_bytes(), 0o600).map_err(at("make", file))?;
    Recipient::parse(&public).map_err(|reason| SecretsError::Identity { file: file.to_owned(), reason })
}

fn usual_files() -> Vec<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let home = variable("HOME");
    let config = variable("XDG_CONFIG_HOME").or_else(|| home.as_ref().map(|home| home.join(".config")));
    let own = config.map(|dir| dir.join("cairn/identity.txt"));
    own.into_iter().chain(home.map(|home| home.join(".ssh/id_ed25519"))).collect()
}

fn read(file: &Path) -> Result<Vec<Key>> {
    let failed = |reason: &str| SecretsError::Identity { file: file.to_owned(), reason: reason.to_owned() };
    let bytes = Zeroizing::new(fs::read(file).map_err(at("read the identity", file))?);
    must_be_private(file)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| failed("this is no identity: it is not text"))?;
    if text.contains("PRIVATE KEY-----") {
        return read_ssh(file, text).map(|key| vec![key]);
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let keys: Vec<Key> = lines
        .map(|line| {
            let identity = age::x25519::Identity::from_str(line)
                .map_err(|_| failed("this is no identity: a line is neither `AGE-SECRET-KEY-1…` nor a comment"))?;
            let public = Recipient::parse(&identity.to_public().to_string()).map_err(|reason| failed(&reason))?;
            Ok(Key { public, open: RefCell::new(Some(Box::new(identity))), locked: None })
        })
        .collect::<Result<_>>()?;
    if keys.is_empty() { Err(failed("there is no identity in it")) } else { Ok(keys) }
}

fn read_ssh(file: &Path, text: &str) -> Result<Key> {
    let failed = |reason: String| SecretsError::Identity { file: file.to_owned(), reason };
    let key = age::ssh::Identity::from_buffer(text.as_bytes(), None)
        .map_err(|_| failed("this is no private key in OpenSSH's format".into()))?;
    let public = age::ssh::Recipient::try_from(key.clone())
        .map_err(|_| failed("this kind of SSH key cannot be used; make one with `ssh-keygen -t ed25519`".into()))?;
    let public = Recipient::parse(&public.to_string()).map_err(failed)?;
    Ok(match key {
        age::ssh::Identity::Encrypted(locked) => {
            Key { public, open: RefCell::new(None), locked: Some((file.to_owned(), locked)) }
        }
        open => Key { public, open: RefCell::new(Some(Box::new(open))), locked: None },
    })
}
