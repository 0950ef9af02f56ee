//! What one host needs, encrypted to that host alone, when it is deployed to.

use crate::header::Header;
use crate::identity::Identities;
use crate::local::LocalVault;
use crate::name::{SecretName, is_plain};
use crate::recipient::Recipient;
use crate::seal::seal;
use crate::vault::Vault;
use crate::{Result, SecretsError};

/// The host that secrets are wanted for.
#[derive(Debug, Clone, Copy)]
pub struct ForHost<'a> {
    pub name: &'a str,
    /// The key that the host answers with, as pinned or as its machine was made with.
    pub key: &'a Recipient,
    /// Only for a machine on this computer.
    pub local: Option<&'a LocalVault>,
}

/// A secret that only the host can open, with [`open`](crate::open()).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    pub name: SecretName,
    /// Another number means another value.
    pub version: u64,
    /// An age file, ASCII armour.
    pub ciphertext: Vec<u8>,
}

impl Vault {
    /// The secrets `names`, readable by the host.
    ///
    /// An operator who can decrypt a value has it encrypted anew, in memory, to the host's key. Who
    /// cannot (a CI job, a clean clone) hands out the committed file as it is, if that is encrypted
    /// to the very key. A machine on this computer gets values that are generated and not committed
    /// from the local vault.
    pub fn for_host(&self, host: &ForHost<'_>, names: &[SecretName], identities: &Identities) -> Result<Vec<Sealed>> {
        if !is_plain(host.name) {
            return Err(SecretsError::HostName { host: host.name.to_owned() });
        }
        // A machine on this computer is made anew at will, each clone has its own; any other host
        // whose key has changed may be somebody else.
        match self.index().hosts.get(host.name) {
            Some(known) if known != host.key && host.local.is_none() => {
                return Err(SecretsError::OtherHostKey {
                    host: host.name.to_owned(),
                    file: self.index_file(),
                    known: known.to_string(),
                    answers: host.key.to_string(),
                });
            }
            _ => {}
        }
        names.iter().map(|name| self.one_for_host(host, name, identities)).collect()
    }

    fn one_for_host(&self, host: &ForHost<'_>, name: &SecretName, identities: &Identities) -> Result<Sealed> {
        let entry = self.entry(name)?;
        if !entry.allows(host.name) {
            return Err(SecretsError::NotForHost {
                host: host.name.to_owned(),
                name: name.clone(),
                file: self.index_file(),
            });
        }
        let label = self.label(name, false);
        let for_host = |value: &_| {
            let sealed = seal(value, [host.key], label.as_ref());
            sealed.map_err(|reason| SecretsError::Seal { name: name.clone(), reason })
        };
        let Some(committed) = self.ciphertext(name)? else {
            let (Some(local), Some(generator)) = (host.local, entry.generate) else {
                let generated = entry.generate.is_some();
                return Err(SecretsError::NoValue { name: name.clone(), file: self.file(name), generated });
            };
            let (value, version) = local.value(name, generator)?;
            return Ok(Sealed { name: name.clone(), version, ciphertext: for_host(&value)? });
        };
        let version = entry.version;
        // A header that was changed does not open on the host.
        self.check_place(name, &committed)?;
        if self.is_for_key(&committed, host) {
            return Ok(Sealed { name: name.clone(), version, ciphertext: committed });
        }
        match self.reveal(name, identities) {
            Ok(value) => Ok(Sealed { name: name.clone(), version, ciphertext: for_host(&value)? }),
            Err(
                SecretsError::NoIdentity { .. } | SecretsError::Open { source: crate::OpenError::NotARecipient, .. },
            ) => Err(SecretsError::Unreadable {
                name: name.clone(),
                host: host.name.to_owned(),
                looked: identities.looked(),
                file: self.index_file(),
                key: host.key.to_string(),
            }),
            Err(other) => Err(other),
        }
    }

    /// Whether a committed file is encrypted to the host's own key.
    fn is_for_key(&self, file: &[u8], host: &ForHost<'_>) -> bool {
        self.index().hosts.get(host.name) == Some(host.key)
            && host.key.tag().zip(Header::read(file)).is_some_and(|(tag, header)| header.ssh.contains(&tag))
    }
}
