//! What `deploy secrets` prints. There is no value in any of it but [`Show`].

use cairn_secrets::{Findings, Initialised, ProjectHost, Rekeyed, SecretName, State, Vault};
use serde::Serialize;

use crate::display::table;

#[derive(Serialize)]
pub struct Init {
    index: Option<String>,
    identity: Option<String>,
    operator: Option<String>,
    generated: Vec<String>,
    left_to_machines: Vec<String>,
    unreadable: Vec<String>,
}

impl Init {
    pub fn of(done: &Initialised) -> Self {
        let path = |path: &Option<std::path::PathBuf>| path.as_ref().map(|p| p.display().to_string());
        Self {
            index: path(&done.index),
            identity: path(&done.identity),
            operator: done.operator.clone(),
            generated: names(&done.generated),
            left_to_machines: names(&done.left_to_machines),
            unreadable: names(&done.unreadable),
        }
    }

    pub fn text(&self) -> String {
        let mut lines = Vec::new();
        if let Some(file) = &self.identity {
            lines.push(format!("made your identity {file}: keep a copy of it where you keep passwords"));
        }
        if let Some(file) = &self.index {
            lines.push(format!("made {file}: declare secrets there"));
        }
        if let Some(name) = &self.operator {
            lines.push(format!("added the operator `{name}`: commit this"));
        }
        lines.extend(self.generated.iter().map(|name| format!("made a value for {name}: commit its file")));
        let left = self.left_to_machines.iter();
        lines.extend(left.map(|name| format!("{name} is made by each computer for its own machines")));
        if !self.unreadable.is_empty() {
            let all = self.unreadable.join(", ");
            lines.push(format!(
                "you cannot read these yet: {all}; ask another operator to take in your commit and to run `deploy secrets rekey`"
            ));
        }
        if lines.is_empty() { "nothing was missing".to_owned() } else { lines.join("\n") }
    }
}

#[derive(Serialize)]
pub struct Set<'a> {
    pub name: &'a str,
    pub version: u64,
}

impl Set<'_> {
    pub fn text(&self) -> String {
        format!("{} has version {}: commit secrets/", self.name, self.version)
    }
}

#[derive(Serialize)]
pub struct Show<'a> {
    pub name: &'a str,
    pub value: &'a str,
}

#[derive(Serialize)]
pub struct List {
    secrets: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    name: String,
    help: String,
    version: u64,
    generate: Option<String>,
    hosts: Vec<String>,
    state: &'static str,
    /// Operators and hosts that the file as it is was encrypted to.
    can_read: Vec<String>,
}

impl List {
    pub fn of(vault: &Vault, hosts: &[ProjectHost]) -> anyhow::Result<Self> {
        let mut secrets = Vec::new();
        for (name, entry) in &vault.index().secrets {
            secrets.push(Entry {
                name: name.to_string(),
                help: entry.help.clone(),
                version: entry.version,
                generate: entry.generate.map(|kind| kind.to_string()),
                hosts: entry.hosts.iter().map(ToString::to_string).collect(),
                state: match vault.state(name, hosts)? {
                    State::UpToDate => "ok",
                    State::NeedsRekey => "needs rekey",
                    State::NoValue => "no value",
                    State::PerComputer => "per computer",
                },
                can_read: entry.sealed_to.iter().map(|reader| reader.name.clone()).collect(),
            });
        }
        Ok(Self { secrets })
    }

    pub fn text(&self) -> String {
        if self.secrets.is_empty() {
            return "no secrets are declared in secrets/secrets.toml".to_owned();
        }
        let mut rows = vec![["SECRET", "VERSION", "STATE", "HOSTS", "CAN READ"].map(str::to_owned).to_vec()];
        for entry in &self.secrets {
            rows.push(vec![
                entry.name.clone(),
                if entry.version == 0 { "-".to_owned() } else { entry.version.to_string() },
                entry.state.to_owned(),
                entry.hosts.join(" "),
                entry.can_read.join(" "),
            ]);
        }
        table(&rows)
    }
}

#[derive(Serialize)]
pub struct Rekey {
    rekeyed: Vec<RekeyedEntry>,
}

#[derive(Serialize)]
struct RekeyedEntry {
    name: String,
    added: Vec<String>,
    removed: Vec<String>,
}

impl Rekey {
    pub fn of(done: &[Rekeyed]) -> Self {
        let rekeyed = done.iter().map(|one| RekeyedEntry {
            name: one.name.to_string(),
            added: one.added.clone(),
            removed: one.removed.clone(),
        });
        Self { rekeyed: rekeyed.collect() }
    }

    pub fn text(&self) -> String {
        if self.rekeyed.is_empty() {
            return "every file is encrypted to those who may read it; nothing was written".to_owned();
        }
        let mut lines = Vec::new();
        for entry in &self.rekeyed {
            let added = entry.added.iter().map(|name| format!(" +{name}"));
            let removed = entry.removed.iter().map(|name| format!(" -{name}"));
            lines.push(format!("{}:{}", entry.name, added.chain(removed).collect::<String>()));
            if !entry.removed.is_empty() {
                let who = entry.removed.join(", ");
                lines.push(format!("  {who} may have read this value: change it where it is used, and set it anew"));
            }
        }
        lines.join("\n")
    }
}

#[derive(Serialize)]
pub struct Check {
    secrets: usize,
    /// Whether an identity was there, so that files were decrypted.
    decrypted: bool,
    faults: Vec<FaultEntry>,
    /// What is still to be done, and is not wrong.
    notes: Vec<String>,
}

#[derive(Serialize)]
struct FaultEntry {
    file: String,
    problem: String,
    help: String,
}

impl Check {
    pub fn of(found: &Findings, secrets: usize, decrypted: bool) -> Self {
        let faults = found.faults.iter().map(|fault| FaultEntry {
            file: fault.file.display().to_string(),
            problem: fault.problem.clone(),
            help: fault.help.clone(),
        });
        Self { secrets, decrypted, faults: faults.collect(), notes: found.notes.clone() }
    }

    pub fn text(&self) -> String {
        let faults = self.faults.iter().map(|f| format!("{}: {}\n  help: {}", f.file, f.problem, f.help));
        let mut lines: Vec<String> = faults.collect();
        if lines.is_empty() {
            // Where nothing has begun there is nothing to decrypt.
            let untried = !self.decrypted && self.notes.is_empty();
            let how = if untried { " (nothing was decrypted: there is no identity)" } else { "" };
            let plural = if self.secrets == 1 { "" } else { "s" };
            lines.push(format!("{} secret{plural}, no faults{how}", self.secrets));
        }
        lines.extend(self.notes.iter().map(|note| format!("note: {note}")));
        lines.join("\n")
    }
}

fn names(names: &[SecretName]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}
