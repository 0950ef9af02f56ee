//! Names the readers of secrets before they are written, and asks when one is new.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::Result;
use cairn_recipe::Project;
use cairn_secrets::{Accepted, Identities, Index, NewReader, Sealing, SecretsError};

use crate::display::Display;
use crate::host_keys;

/// Of one command. The readers that it names once are not named again.
pub struct Readers {
    display: Display,
    accepted: Accepted,
    /// Where the operator's own private keys are; `secrets init` may only be about to make one.
    identity: Vec<PathBuf>,
    /// Do not ask.
    yes: bool,
    named: BTreeSet<String>,
}

impl Readers {
    pub fn new(display: Display, project: &Project, identity: &[PathBuf], yes: bool) -> Result<Self> {
        let accepted = Accepted::open(&host_keys::folder()?, &project.root)?;
        Ok(Self { display, accepted, identity: identity.to_vec(), yes, named: BTreeSet::new() })
    }

    pub fn accepted(&mut self) -> &mut Accepted {
        &mut self.accepted
    }

    /// For [`cairn_secrets::Approve`].
    pub fn approve(&mut self, index: &Index, sealings: &[Sealing<'_>]) -> Result<(), SecretsError> {
        let own = match Identities::find(&self.identity) {
            Ok(identities) => identities.public().cloned().collect(),
            // Who encrypts needs no private key; a command that needs one says what is wrong with it.
            Err(_) => Vec::new(),
        };
        self.accepted.check_vault(index, "secrets/secrets.toml".as_ref())?;
        let first = self.accepted.is_first_use();
        self.name(sealings);
        let new = self.accepted.new_readers(sealings, &own);
        self.ask(&new)?;
        if first {
            let all = index.operators.iter().map(|(name, key)| format!("\n  {name} (operator) {}", key.shown()));
            let hosts = index.hosts.iter().map(|(name, key)| format!("\n  {name} (host) {}", key.shown()));
            self.display.note(&format!(
                "first use of these secrets on this computer; from now on a key that is not among these is asked about ({}):{}",
                self.accepted.file().display(),
                all.chain(hosts).collect::<String>()
            ));
        }
        self.accepted.accept(index, sealings)
    }

    /// Secrets with the same readers are named together.
    fn name(&mut self, sealings: &[Sealing<'_>]) {
        let mut together: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for sealing in sealings {
            let lines = sealing.readers.iter().map(|reader| {
                let kind = if reader.is_host { "host" } else { "operator" };
                format!("\n  {} ({kind}) {}", reader.name, reader.key.shown())
            });
            together.entry(lines.collect()).or_default().push(sealing.name.as_str());
        }
        for (readers, secrets) in together {
            let text = format!("can read {}:{readers}", secrets.join(", "));
            if self.named.insert(text.clone()) {
                self.display.note(&text);
            }
        }
    }

    fn ask(&self, new: &[NewReader]) -> Result<(), SecretsError> {
        if new.is_empty() {
            return Ok(());
        }
        let lines: String = new.iter().map(|reader| format!("\n  {reader}")).collect();
        let since = format!("new since the last time on this computer:{lines}");
        if self.yes {
            self.display.warn(&since);
            return Ok(());
        }
        match self.display.ask(&format!("{since}\nCompare each key with its owner. Encrypt to them?")) {
            Some(true) => Ok(()),
            Some(false) => Err(SecretsError::Declined { file: "secrets/secrets.toml".into() }),
            None => Err(SecretsError::NewReaders { new: new.to_vec(), record: self.accepted.file().to_owned() }),
        }
    }
}
