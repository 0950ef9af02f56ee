//! Everything that is wrong with a vault, at once.
//!
//! A vault that nobody has begun with (no operator, no committed value) is as a clean clone has it:
//! a value that is to be made is missing then because nobody has run `deploy secrets init`, which is
//! said and is no fault. One that must be typed is missing all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::error::at;
use crate::header::Header;
use crate::identity::Identities;
use crate::index::Entry;
use crate::name::SecretName;
use crate::recipient::Recipient;
use crate::vault::{INDEX, Vault};
use crate::{MISPLACED, Result, SecretsError};

/// A host as the project defines it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectHost {
    pub name: String,
    /// A machine on this computer.
    pub is_machine: bool,
    /// The host key that the definition pins, as it stands there.
    pub pinned_key: Option<String>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub file: PathBuf,
    pub problem: String,
    pub help: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n  help: {}", self.file.display(), self.problem, self.help)
    }
}

/// What a check finds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    pub faults: Vec<Fault>,
    /// What is still to be done, and is not wrong.
    pub notes: Vec<String>,
}

/// How a secret's file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    UpToDate,
    /// Its readers have changed since it was written.
    NeedsRekey,
    NoValue,
    /// Only machines read it, and each computer makes its own value ([`LocalVault`](crate::LocalVault)).
    PerComputer,
}

const UNLABELLED: &str = "the files do not say which secret they hold, so one could be put in the place of another: `deploy secrets rekey` writes them anew, and values and versions stay";

/// Whether no other computer ever needs the value, so that each makes its own.
pub(crate) fn is_for_machines_only(entry: &Entry, hosts: &[ProjectHost]) -> bool {
    let mut readers = hosts.iter().filter(|host| entry.allows(&host.name)).peekable();
    entry.generate.is_some() && readers.peek().is_some() && readers.all(|host| host.is_machine)
}

impl Vault {
    /// Checks files against the index and the index against the project's hosts. With an identity,
    /// every file that it can open is decrypted.
    pub fn check(&self, hosts: &[ProjectHost], identities: &Identities) -> Result<Findings> {
        let mut faults = Vec::new();
        let begun = self.has_begun();
        for (name, entry) in &self.index().secrets {
            self.check_patterns(name, entry, hosts, &mut faults);
            if begun || entry.generate.is_none() {
                self.check_file(name, entry, hosts, identities, &mut faults)?;
            }
        }
        if begun && self.index().operators.is_empty() {
            faults.push(Fault {
                file: self.index_file(),
                problem: "there are no operators, so nobody can change a secret".into(),
                help: "run `deploy secrets init`".into(),
            });
        }
        self.check_keys(hosts, &mut faults);
        self.check_folder(&mut faults)?;
        let mut notes = if begun { Vec::new() } else { self.still_to_do(hosts) };
        if self.index().vault.is_none() && !self.has_no_files() {
            notes.push(UNLABELLED.to_owned());
        }
        Ok(Findings { faults, notes })
    }

    /// Whether there is an operator, or a value that once was somebody's.
    fn has_begun(&self) -> bool {
        let mut secrets = self.index().secrets.iter();
        !self.index().operators.is_empty()
            || secrets.any(|(name, entry)| entry.version > 0 || self.file(name).symlink_metadata().is_ok())
    }

    /// What a clean clone is told.
    fn still_to_do(&self, hosts: &[ProjectHost]) -> Vec<String> {
        let mut waiting: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, entry) in self.index().secrets.iter().filter(|(_, entry)| entry.generate.is_some()) {
            for host in hosts.iter().filter(|host| !host.is_machine && entry.allows(&host.name)) {
                waiting.entry(&host.name).or_default().push(name.as_str());
            }
        }
        let each = "there are no operators and no committed values: each computer makes those for its own machines";
        let mut notes = vec![each.to_owned()];
        notes.extend(waiting.iter().map(|(host, names)| {
            format!("{host} needs {}: `deploy secrets init` makes them, before its first switch", names.join(", "))
        }));
        notes
    }

    pub fn state(&self, name: &SecretName, hosts: &[ProjectHost]) -> Result<State> {
        Ok(match self.file(name).exists() {
            true if self.is_up_to_date(name)? => State::UpToDate,
            true => State::NeedsRekey,
            false if is_for_machines_only(self.entry(name)?, hosts) => State::PerComputer,
            false => State::NoValue,
        })
    }

    fn check_patterns(&self, name: &SecretName, entry: &Entry, hosts: &[ProjectHost], faults: &mut Vec<Fault>) {
        for pattern in &entry.hosts {
            if !hosts.iter().any(|host| pattern.matches(&host.name)) {
                faults.push(Fault {
                    file: self.index_file(),
                    problem: format!("secrets.{name}.hosts: `{pattern}` matches no host of this project"),
                    help: "write the name of a file in hosts/, without `.toml`, or take it out".into(),
                });
            }
        }
    }

    fn check_file(
        &self,
        name: &SecretName,
        entry: &Entry,
        hosts: &[ProjectHost],
        identities: &Identities,
        faults: &mut Vec<Fault>,
    ) -> Result<()> {
        let file = self.file(name);
        if file.symlink_metadata().is_ok_and(|meta| !meta.is_file()) {
            // A look at the folder tells that.
            return Ok(());
        }
        let mut add = |problem: String, help: String| faults.push(Fault { file: file.clone(), problem, help });
        let Some(ciphertext) = self.ciphertext(name)? else {
            if !is_for_machines_only(entry, hosts) {
                let flag = if entry.generate.is_some() { " --generate" } else { "" };
                let first = if self.index().operators.is_empty() { "`deploy secrets init`, then " } else { "" };
                add(format!("secret `{name}` has no value"), format!("run {first}`deploy secrets set {name}{flag}`"));
            }
            return Ok(());
        };
        let rekey = format!("run `deploy secrets rekey {name}`");
        if Header::read(&ciphertext).is_none() {
            let help = format!("take it from version control again, or run `deploy secrets set {name}`");
            add("this is no age file, or it is cut off".into(), help);
            return Ok(());
        }
        if let Err(SecretsError::Misplaced { problem, .. }) = self.check_place(name, &ciphertext) {
            // Whatever else is wrong with it: it is another file.
            add(problem, MISPLACED.into());
            return Ok(());
        }
        if entry.notifications && self.index().vault.is_some() && !self.is_for_notifications(name)? {
            let help = format!("make another value for them: `deploy secrets set {name}`");
            add("notifications may not use it: the value is older than `notifications = true`".into(), help);
        }
        if !self.is_up_to_date(name)? {
            add("it is not encrypted to exactly those who may read it now".into(), rekey.clone());
        }
        if entry.version == 0 {
            let help = format!("run `deploy secrets set {name}`, which records it");
            add("the index has no version for it, so hosts would not see a change".into(), help);
        }
        if identities.is_empty() {
            return Ok(());
        }
        match self.reveal(name, identities) {
            Err(SecretsError::Open { source: crate::OpenError::NotARecipient, tried, .. }) => add(
                format!("it cannot be decrypted with {}", tried.join(", ")),
                format!("ask an operator to add your key to [operators] and to {rekey}"),
            ),
            Err(SecretsError::Open { source, .. }) => {
                let help = format!("take it from version control again, or run `deploy secrets set {name}`");
                add(source.to_string(), help);
            }
            other => drop(other?),
        }
        Ok(())
    }

    fn check_keys(&self, hosts: &[ProjectHost], faults: &mut Vec<Fault>) {
        let mut add = |problem: String, help: &str| {
            faults.push(Fault { file: self.index_file(), problem, help: help.to_owned() });
        };
        for (name, key) in &self.index().hosts {
            let Some(host) = hosts.iter().find(|host| host.name == *name) else {
                let help = "take it out and run `deploy secrets rekey`";
                add(format!("hosts.{name}: this project has no such host, and it can read secrets"), help);
                continue;
            };
            let pinned = host.pinned_key.as_deref().and_then(|pinned| Recipient::parse(pinned).ok());
            if pinned.is_some_and(|pinned| pinned != *key) {
                let help = "find out which one is the host's, and run `deploy secrets rekey`";
                add(format!("hosts.{name}: hosts/{name}.toml pins another host key"), help);
            }
        }
    }

    /// Files that do not belong there, or that others may change.
    fn check_folder(&self, faults: &mut Vec<Fault>) -> Result<()> {
        let known: BTreeSet<String> = self.index().secrets.keys().map(SecretName::file_name).collect();
        let mut names = Vec::new();
        for entry in fs::read_dir(self.dir()).map_err(at("read", self.dir()))? {
            names.push(entry.map_err(at("read", self.dir()))?.file_name());
        }
        names.sort();
        for name in names {
            let file = self.dir().join(&name);
            let name = name.to_string_lossy();
            let mut add = |problem: &str, help: String| {
                faults.push(Fault { file: file.clone(), problem: problem.to_owned(), help });
            };
            if !known.contains(&*name) && name != INDEX && name != "README.md" {
                add("no secret of the index has this file", format!("declare it in {INDEX}, or remove it"));
                continue;
            }
            check_kind(&file, &mut add)?;
        }
        Ok(())
    }
}

fn check_kind(file: &Path, add: &mut dyn FnMut(&str, String)) -> Result<()> {
    let meta = fs::symlink_metadata(file).map_err(at("read", file))?;
    if !meta.is_file() {
        add("this is no plain file", "put the file itself here".into());
    } else if meta.mode() & 0o022 != 0 {
        add("others may change it", format!("run `chmod go-w {}`", file.display()));
    }
    Ok(())
}
