//! The project's secrets, as building and switching need them: their versions, and their values
//! sealed to one host.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use cairn_closure::Secret;
use cairn_protocol::SealedSecret;
use cairn_recipe::Project;
use cairn_recipe::project::Host;
use cairn_secrets::{Accepted, ForHost, Identities, LocalVault, Recipient, SecretBytes, SecretName, Vault};

use crate::host_keys;

/// The committed secrets of a project, if they belong to the same project as the last time.
pub fn open(project: &Project) -> Result<Vault> {
    let vault = Vault::open(&project.root)?;
    let mut accepted = Accepted::open(&host_keys::folder()?, &project.root)?;
    accepted.check_vault(vault.index(), &vault.index_file())?;
    if let Err(error) = accepted.accept_vault(vault.index()) {
        // Reading works without; what writes says it again, and fails.
        tracing::warn!(%error, "cannot record which project the secrets belong to");
    }
    Ok(vault)
}

/// The names of what a closure wants.
pub fn names(secrets: &[Secret]) -> Result<Vec<SecretName>> {
    Ok(secrets.iter().map(|secret| SecretName::parse(secret.name.as_str())).collect::<Result<_, _>>()?)
}

pub struct Secrets {
    vault: Option<Vault>,
    local: LocalVault,
}

impl Secrets {
    pub fn of(project: &Project) -> Result<Self> {
        let vault = Vault::exists(&project.root).then(|| open(project)).transpose()?;
        Ok(Self { vault, local: LocalVault::of(&project.root) })
    }

    /// The version of every secret that the host may read.
    pub fn versions(&self, host: &Host) -> Result<BTreeMap<String, u64>> {
        let Some(vault) = &self.vault else { return Ok(BTreeMap::new()) };
        let mut versions = BTreeMap::new();
        for (name, entry) in vault.index().secrets.iter().filter(|(_, entry)| entry.allows(&host.name)) {
            let version = match (self.local_to(host), entry.generate) {
                // Of a value that this clone makes for itself.
                (Some(local), Some(generator)) if vault.ciphertext(name)?.is_none() => local.value(name, generator)?.1,
                _ => entry.version,
            };
            versions.insert(name.to_string(), version);
        }
        Ok(versions)
    }

    /// A value that a notification may use: the committed one, else this computer's own. A repository
    /// says where notifications go and which secret signs them, and a signature over a known text lets the
    /// receiver try out guesses at the secret; so its entry must allow the use.
    pub fn for_notification(&self, name: &str) -> Result<SecretBytes> {
        let name = SecretName::parse(name)?;
        let vault =
            self.vault.as_ref().context("the project has no secrets\n  help: `deploy secrets init` makes some")?;
        if !vault.entry(&name)?.notifications {
            let file = vault.index_file();
            bail!(
                "{}: notifications may not use the secret `{name}`\n  help: if it was made for them, add `notifications = true` to [secrets.{name}] there; else name another one",
                file.display()
            );
        }
        // Made on this computer, so it cannot be guessed.
        let local = match vault.ciphertext(&name)? {
            None => self.local.existing(&name)?,
            Some(_) => None,
        };
        match local {
            Some(value) => Ok(value),
            None if vault.ciphertext(&name)?.is_some() && !vault.is_for_notifications(&name)? => bail!(
                "{}: the value of `{name}` was set before `notifications = true` stood in [secrets.{name}], so it may have been made for something else\n  help: make another value for notifications: `deploy secrets set {name}`{}",
                vault.file(&name).display(),
                if vault.index().vault.is_none() { ", after `deploy secrets rekey`" } else { "" }
            ),
            None => Ok(vault.reveal(&name, &Identities::find(&[])?)?),
        }
    }

    /// The values, readable by whoever has the host's private key.
    pub fn seal(&self, host: &Host, key: Option<&str>, secrets: &[Secret]) -> Result<Vec<SealedSecret>> {
        let vault =
            self.vault.as_ref().context("the project has no secrets\n  help: `deploy secrets init` makes some")?;
        let key = key.context(
            "the host has no ed25519 SSH key that secrets could be sealed to\n  help: make one there with `ssh-keygen -A`",
        )?;
        let key = Recipient::parse(key).map_err(anyhow::Error::msg)?;
        let names = names(secrets)?;
        let reader = ForHost { name: &host.name, key: &key, local: self.local_to(host) };
        let sealed = vault.for_host(&reader, &names, &Identities::find(&[])?)?;
        let sent = |sealed: cairn_secrets::Sealed| {
            let ciphertext = String::from_utf8(sealed.ciphertext).context("an age file in armour is text")?;
            Ok(SealedSecret { name: sealed.name.to_string(), version: sealed.version, ciphertext })
        };
        sealed.into_iter().map(sent).collect()
    }

    /// Which project the secrets belong to.
    pub fn vault_id(&self) -> Option<&str> {
        self.vault.as_ref()?.index().vault.as_deref()
    }

    /// Only machines of this computer get values that nobody committed.
    fn local_to(&self, host: &Host) -> Option<&LocalVault> {
        host.definition.machine.is_some().then_some(&self.local)
    }
}
