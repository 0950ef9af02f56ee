//! `deploy secrets`: values that only operators and hosts may read.

mod readers;
mod report;

use std::io::IsTerminal as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use cairn_recipe::Project;
use cairn_secrets::{
    Fault, Findings, Generator, HostPattern, Identities, Index, LocalVault, NewValue, ProjectHost, Sealing,
    SecretBytes, SecretName, Vault,
};

use self::readers::Readers;
use crate::arguments::{SecretsAction, SecretsOptions};
use crate::context::{Context, user};
use crate::terminal::{self, Stream};

pub fn run(context: &Context, options: &SecretsOptions) -> Result<u8> {
    let project = context.project()?;
    let command = Secrets { context, project: &project, options };
    match &options.action {
        SecretsAction::Init { operator, yes } => command.init(operator.as_deref(), *yes),
        SecretsAction::Set { name, generate, from_file, hosts, yes } => {
            command.set(name, generate.as_ref(), from_file.as_deref(), hosts, *yes)
        }
        SecretsAction::Edit { name, yes } => command.edit(name, *yes),
        SecretsAction::Show { name, reveal } => command.show(name, *reveal),
        SecretsAction::List => command.list(),
        SecretsAction::Rekey { names, yes } => command.rekey(names, *yes),
        SecretsAction::Check => command.check(),
    }
}

struct Secrets<'a> {
    context: &'a Context,
    project: &'a Project,
    options: &'a SecretsOptions,
}

impl Secrets<'_> {
    fn vault(&self) -> Result<Vault> {
        crate::secrets::open(self.project)
    }

    fn identities(&self) -> Result<Identities> {
        Ok(Identities::find(&self.options.identity)?)
    }

    fn readers(&self, yes: bool) -> Result<Readers> {
        Readers::new(self.context.display, self.project, &self.options.identity, yes)
    }

    fn init(&self, operator: Option<&str>, yes: bool) -> Result<u8> {
        if Vault::exists(&self.project.root) {
            self.vault()?;
        }
        let mut readers = self.readers(yes)?;
        let hosts = project_hosts(self.project)?;
        let operator = operator.map_or_else(user, str::to_owned);
        let mut approve = |index: &Index, sealings: &[Sealing<'_>]| readers.approve(index, sealings);
        let done = cairn_secrets::init(&self.project.root, &operator, &self.options.identity, &hosts, &mut approve)?;
        if let (Some(name), Some(key)) = (&done.operator, &done.key) {
            readers.accepted().accept_own(name, key)?;
        }
        let report = report::Init::of(&done);
        self.context.display.result(&report, || report.text())?;
        Ok(0)
    }

    fn set(
        &self,
        name: &SecretName,
        generate: Option<&Option<Generator>>,
        from_file: Option<&Path>,
        hosts: &[HostPattern],
        yes: bool,
    ) -> Result<u8> {
        let mut vault = self.vault()?;
        let mut readers = self.readers(yes)?;
        let mut approve = |index: &Index, sealings: &[Sealing<'_>]| readers.approve(index, sealings);
        if hosts.is_empty() && generate.is_none() {
            vault.may_be_typed(name)?;
        }
        vault.approve_readers(name, hosts, &mut approve)?;
        let value = match (generate, from_file) {
            (Some(kind), _) => NewValue::Generated(*kind),
            (None, Some(file)) => NewValue::Given(from(file)?),
            (None, None) => NewValue::Given(typed_or_piped(name)?),
        };
        let version = vault.set(name, value, hosts, &mut approve)?;
        let report = report::Set { name: name.as_str(), version };
        self.context.display.result(&report, || report.text())?;
        Ok(0)
    }

    fn edit(&self, name: &SecretName, yes: bool) -> Result<u8> {
        let mut vault = self.vault()?;
        vault.may_be_typed(name)?;
        let mut readers = self.readers(yes)?;
        let mut approve = |index: &Index, sealings: &[Sealing<'_>]| readers.approve(index, sealings);
        vault.approve_readers(name, &[], &mut approve)?;
        let before = match vault.ciphertext(name)? {
            Some(_) => vault.reveal(name, &self.identities()?)?,
            None => SecretBytes::new(Vec::new()),
        };
        let Some(value) = cairn_secrets::edit(name, &before, &editor())? else {
            self.context.display.note(&format!("{name} is unchanged"));
            return Ok(0);
        };
        let version = vault.set(name, NewValue::Given(value), &[], &mut approve)?;
        let report = report::Set { name: name.as_str(), version };
        self.context.display.result(&report, || report.text())?;
        Ok(0)
    }

    fn show(&self, name: &SecretName, reveal: bool) -> Result<u8> {
        if !reveal {
            bail!(
                "the value of `{name}` is not printed by accident\n  help: add `--reveal` where nobody reads over your shoulder"
            );
        }
        let vault = self.vault()?;
        let local = match vault.ciphertext(name)? {
            None => LocalVault::of(&self.project.root).existing(name)?,
            Some(_) => None,
        };
        let value = match local {
            Some(value) => {
                self.context.display.note("this is the value for machines on this computer");
                value
            }
            None => vault.reveal(name, &self.identities()?)?,
        };
        if self.context.display.json {
            let Ok(text) = std::str::from_utf8(value.expose()) else {
                bail!("the value of `{name}` is no text, and JSON holds only text\n  help: leave `--json` out");
            };
            self.context.display.result(&report::Show { name: name.as_str(), value: text }, String::new)?;
            return Ok(0);
        }
        // Whoever reveals a value wants its very bytes, most of the time in a pipe.
        terminal::verbatim(value.expose())?;
        if Stream::Out.is_terminal() && !value.expose().ends_with(b"\n") {
            terminal::verbatim(b"\n")?;
        }
        Ok(0)
    }

    fn list(&self) -> Result<u8> {
        let vault = self.vault()?;
        let report = report::List::of(&vault, &project_hosts(self.project)?)?;
        self.context.display.result(&report, || report.text())?;
        Ok(0)
    }

    fn rekey(&self, names: &[SecretName], yes: bool) -> Result<u8> {
        let mut readers = self.readers(yes)?;
        let mut approve = |index: &Index, sealings: &[Sealing<'_>]| readers.approve(index, sealings);
        let done = self.vault()?.rekey(names, &self.identities()?, &mut approve)?;
        let report = report::Rekey::of(&done);
        self.context.display.result(&report, || report.text())?;
        Ok(0)
    }

    fn check(&self) -> Result<u8> {
        let mut hosts = Vec::new();
        let mut faults = Vec::new();
        for name in self.project.host_names()? {
            match project_host(self.project, &name) {
                Ok(host) => hosts.push(host),
                // The other faults are told all the same.
                Err(error) => faults.push(Fault {
                    file: self.project.root.join(format!("hosts/{name}.toml")),
                    problem: format!("{error:#}"),
                    help: "correct the definition".into(),
                }),
            }
        }
        let vault = self.vault()?;
        let identities = self.identities()?;
        let mut found = vault.check(&hosts, &identities)?;
        faults.append(&mut found.faults);
        let found = Findings { faults, ..found };
        let report = report::Check::of(&found, vault.index().secrets.len(), !identities.is_empty());
        self.context.display.result(&report, || report.text())?;
        Ok(u8::from(!found.faults.is_empty()))
    }
}

fn project_hosts(project: &Project) -> Result<Vec<ProjectHost>> {
    project.host_names()?.iter().map(|name| project_host(project, name)).collect()
}

fn project_host(project: &Project, name: &str) -> Result<ProjectHost> {
    let host = project.host(name)?;
    Ok(ProjectHost {
        is_machine: host.definition.machine.is_some(),
        pinned_key: match (host.definition.ssh, host.definition.pull) {
            (Some(ssh), _) => ssh.host_key,
            (None, pull) => pull.and_then(|pull| pull.recipient),
        },
        name: host.name,
    })
}

/// From a pipe without the end of the last line, or asked for twice.
fn typed_or_piped(name: &SecretName) -> Result<SecretBytes> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        let value = cairn_secrets::read_all(&mut stdin.lock()).context("cannot read the value from standard input")?;
        return Ok(value.without_final_newline());
    }
    const HELP: &str = "pipe the value in, or use `--from-file FILE`";
    let value = cairn_secrets::ask_hidden(&format!("value of {name}"), HELP)?;
    if cairn_secrets::ask_hidden("once more", HELP)?.expose() != value.expose() {
        bail!("the two are not the same; nothing was changed");
    }
    Ok(value)
}

fn from(file: &Path) -> Result<SecretBytes> {
    let opened = std::fs::File::open(file);
    let value = opened.and_then(|mut file| cairn_secrets::read_all(&mut file));
    value.with_context(|| format!("cannot read {}", file.display()))
}

/// `$VISUAL`, `$EDITOR`, `vi`.
fn editor() -> String {
    let set = |name: &str| std::env::var(name).ok().filter(|editor| !editor.trim().is_empty());
    set("VISUAL").or_else(|| set("EDITOR")).unwrap_or_else(|| "vi".to_owned())
}
