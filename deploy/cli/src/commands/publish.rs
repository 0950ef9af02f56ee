//! `deploy publish`: puts what hosts are to run where they pull it from, and moves the pointer last.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use cairn_cache::{Cache, POINTER_VERSION, PointedSecret, Pointer, PointerWriter, PublicKey, SecretKey};
use cairn_closure::Secret;
use cairn_closure::layout::AGENT_PROGRAM;
use cairn_formats::{Sha256, StorePath};
use cairn_protocol::Source;
use cairn_recipe::project::Host;
use cairn_recipe::pull::PullSection;
use cairn_secrets::Way;
use cairn_store::Store;
use serde::Serialize;

use super::cache_key;
use crate::arguments::PublishOptions;
use crate::context::Context;
use crate::display::{size, table};
use crate::host_keys::HostKeys;
use crate::secrets::{self, Secrets};
use crate::{context, source};

#[derive(Serialize)]
struct Report {
    hosts: Vec<Published>,
}

#[derive(Serialize)]
struct Published {
    name: String,
    closure: StorePath,
    /// Of the pointer; it rises with each.
    sequence: u64,
    /// Store paths of the closure, those that the cache lacked, and the bytes sent for them.
    paths: usize,
    new_paths: usize,
    bytes_sent: u64,
    to: String,
}

/// What holds for all hosts of a run.
struct Run<'a> {
    context: &'a Context,
    options: &'a PublishOptions,
    store: &'a Store,
    key: SecretKey,
    secrets: Secrets,
    host_keys: HostKeys,
    source: Option<Source>,
}

pub fn run(context: &Context, options: &PublishOptions) -> Result<u8> {
    let project = context.project()?;
    let hosts = context.hosts(&project, &options.hosts)?;
    let store = context.store()?;
    let key = cache_key::read(&options.key)?;
    // All are looked at before anything is built.
    let sections = hosts
        .iter()
        .map(|host| {
            let pull = section(host, &key)?;
            Ok((host, pull, trusted(host, pull)?))
        })
        .collect::<Result<Vec<_>>>()?;
    let source = source::of(&project.root, &context.display);
    let host_keys = HostKeys::new(&project, Way::Pull, &hosts, &options.accept_recipient)?;
    let run = Run { context, options, store: &store, key, secrets: Secrets::of(&project)?, host_keys, source };
    let mut report = Report { hosts: Vec::new() };
    for (host, pull, trusted) in sections {
        let closure = context.build_host(&project, &store, host)?;
        report.hosts.push(run.publish(host, pull, &trusted, closure)?);
    }
    context.display.result(&report, || text(&report))?;
    Ok(0)
}

/// A key that hosts do not trust would leave them where they are.
fn section<'h>(host: &'h Host, key: &SecretKey) -> Result<&'h PullSection> {
    let file = host.file.display();
    let pull = host.definition.pull.as_ref().with_context(|| {
        format!("{} does not pull\n  help: add [pull] to {file}, or `deploy switch {}`", host.name, host.name)
    })?;
    let public = key.public().to_string();
    if !pull.trusted_public_keys.contains(&public) {
        bail!(
            "{}: its hosts do not trust this key\n  help: add {public:?} to pull.trusted_public_keys in {file}, and bring that to hosts that run",
            host.name
        );
    }
    Ok(pull)
}

/// The keys that the host's pointer may be signed by: while one is being rotated there are two.
fn trusted(host: &Host, pull: &PullSection) -> Result<Vec<PublicKey>> {
    let parse = |key: &String| {
        PublicKey::parse(key).with_context(|| format!("{}: pull.trusted_public_keys", host.file.display()))
    };
    pull.trusted_public_keys.iter().map(parse).collect()
}

fn seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |at| i64::try_from(at.as_secs()).unwrap_or(i64::MAX))
}

impl Run<'_> {
    fn publish(&self, host: &Host, pull: &PullSection, trusted: &[PublicKey], closure: StorePath) -> Result<Published> {
        let cache = Cache::open(self.options.to.as_deref().unwrap_or_else(|| pull.destination()))?;
        let wanted = cairn_fleet::manifest_of(self.store, &closure)?;
        let secrets: Vec<Secret> = wanted.secrets().into_iter().cloned().collect();
        let recipient = recipient(host, pull, &secrets)?;
        let sealed_to = (!secrets.is_empty()).then_some(recipient);
        let names = secrets::names(&secrets)?;
        if let Some(news) = sealed_to.map(|key| self.host_keys.check(host, key, &names)).transpose()?.flatten() {
            self.context.display.note(&news);
        }
        if let Some(unsent) = self.host_keys.unsent(host, &names) {
            self.agree_to_send(host, &unsent)?;
        }
        let paths = self.store.closure(std::slice::from_ref(&closure))?;
        self.context.display.note(&format!("{}: {} store paths to {}", host.name, paths.len(), cache.shown()));
        let uploaded = cairn_cache::upload(self.store, &cache, &self.key, &paths, &|_| ())?;
        self.upload_agent(&cache, &closure)?;
        let writer = PointerWriter { key: &self.key, trusted, replace: self.options.replace, now: seconds() };
        let pointer = cairn_cache::write_pointer(&cache, &host.name, &writer, |before| {
            let known = before.map(|pointer| pointer.secrets).unwrap_or_default();
            self.pointer(host, &closure, self.seal(host, recipient, &secrets, &known, &cache)?)
        })?;
        sealed_to.map_or(Ok(()), |key| self.host_keys.used(host, key, &names, self.secrets.vault_id()))?;
        Ok(Published {
            name: host.name.clone(),
            closure,
            sequence: pointer.sequence,
            paths: uploaded.paths,
            new_paths: uploaded.new,
            bytes_sent: uploaded.bytes,
            to: cache.shown().to_owned(),
        })
    }

    /// `publish` has no plan that an operator agrees to, so it asks about these alone.
    fn agree_to_send(&self, host: &Host, unsent: &str) -> Result<()> {
        if self.host_keys.is_expected(host) {
            self.context.display.warn(unsent);
            return Ok(());
        }
        match self.context.display.ask(&format!("{unsent}\nPublish them?")) {
            Some(true) => Ok(()),
            Some(false) => bail!("{}: nothing was published", host.name),
            None => bail!(
                "{unsent}\n  help: if `hosts` of these in secrets/secrets.toml are meant to match it, run this again with `--accept-recipient {}`",
                host.name
            ),
        }
    }

    fn pointer(&self, host: &Host, closure: &StorePath, secrets: Vec<PointedSecret>) -> Result<Pointer> {
        let published = seconds();
        let after = |time: Duration| published.saturating_add(i64::try_from(time.as_secs()).unwrap_or(i64::MAX));
        Ok(Pointer {
            version: POINTER_VERSION,
            host: host.name.clone(),
            sequence: 0,
            closure: closure.clone(),
            operator: context::operator(),
            message: self.options.message.clone(),
            published,
            expires: self.options.expires.map(after),
            source: self.source.clone(),
            retention: cairn_fleet::retention(host),
            secrets,
        })
    }

    /// For hosts that have none yet.
    fn upload_agent(&self, cache: &Cache, closure: &StorePath) -> Result<()> {
        let agent = cairn_fleet::agent_of(self.store, closure)?;
        let file = self.store.physical(&agent).join(AGENT_PROGRAM);
        let bytes = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let key = agent_key(&Sha256::of(&bytes));
        if !cache.exists(&key)? {
            cache.put_file(&key, &file)?;
        }
        Ok(())
    }

    /// Puts the values there, sealed. Those that lie there already for this recipient stay: sealing
    /// gives other bytes each time.
    fn seal(
        &self,
        host: &Host,
        recipient: &str,
        wanted: &[Secret],
        known: &[PointedSecret],
        cache: &Cache,
    ) -> Result<Vec<PointedSecret>> {
        let mut sealed = Vec::new();
        let mut missing = Vec::new();
        for secret in wanted {
            let same = |k: &&PointedSecret| {
                k.name == secret.name.as_str() && k.version == secret.version && k.recipient == recipient
            };
            match known.iter().find(same) {
                Some(known) if cache.exists(&known.key())? => sealed.push(known.clone()),
                _ => missing.push(secret.clone()),
            }
        }
        if missing.is_empty() {
            return Ok(sealed);
        }
        for new in self.secrets.seal(host, Some(recipient), &missing)? {
            let sha256 = Sha256::of(new.ciphertext.as_bytes());
            let (name, version) = (new.name, new.version);
            let secret = PointedSecret { name, version, sha256, recipient: recipient.to_owned() };
            cache.put(&secret.key(), new.ciphertext.as_bytes())?;
            sealed.push(secret);
        }
        sealed.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(sealed)
    }
}

/// The name of an agent in a cache.
pub fn agent_key(sha256: &Sha256) -> String {
    format!("cairn/agent/{sha256}")
}

/// Nobody knows the keys of hosts that are yet to start.
fn recipient<'p>(host: &Host, pull: &'p PullSection, secrets: &[Secret]) -> Result<&'p str> {
    match &pull.recipient {
        Some(recipient) => Ok(recipient),
        None if secrets.is_empty() => Ok(""),
        None => {
            let names: Vec<&str> = secrets.iter().map(|secret| secret.name.as_str()).collect();
            bail!(
                "{} needs the secrets {}, and nothing says to which key they are sealed for hosts that pull\n  help: make a pair with `ssh-keygen -t ed25519 -N '' -f pull.key`, write pull.key.pub as pull.recipient into {}, and bring pull.key to /etc/cairn/pull.key of each host (docs/pull.md)",
                host.name,
                names.join(", "),
                host.file.display()
            )
        }
    }
}

fn text(report: &Report) -> String {
    let mut rows = vec![["HOST", "POINTER", "PATHS", "NEW", "SENT", "TO"].map(str::to_owned).to_vec()];
    rows.extend(report.hosts.iter().map(|host| {
        vec![
            host.name.clone(),
            host.sequence.to_string(),
            host.paths.to_string(),
            host.new_paths.to_string(),
            size(host.bytes_sent),
            host.to.clone(),
        ]
    }));
    table(&rows)
}
