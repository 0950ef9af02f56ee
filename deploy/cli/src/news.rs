//! Who is told of a run: what `[[notify]]` in `deploy.toml` and `--events` ask for.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use cairn_notify::{Announcer, Facts, Hidden, Member, Stream, Target};
use cairn_protocol::Source;
use cairn_recipe::Project;
use cairn_recipe::notify::{Notify, Value, is_http};
use cairn_recipe::project::Host;

use crate::context::{Context, operator};
use crate::display::Display;
use crate::secrets::Secrets;

/// A run that is about to begin.
pub struct Run<'a> {
    pub command: &'a str,
    pub hosts: &'a [Host],
    pub source: Option<&'a Source>,
    pub message: Option<&'a str>,
    pub events: Option<&'a Path>,
}

pub fn announcer(context: &Context, project: &Project, run: &Run) -> Result<Arc<Announcer>> {
    let wait = |file: &Path| context.display.note(&format!("waits until somebody reads {}", file.display()));
    let stream = run.events.map(|file| Stream::open(file, || wait(file))).transpose()?;
    let names: Vec<&str> = run.hosts.iter().map(|host| host.name.as_str()).collect();
    let targets = targets(project, |hosts| hosts.iter().any(|host| names.contains(&host.as_str())))?;
    let facts = Facts {
        command: run.command.to_owned(),
        operator: operator(),
        message: run.message.map(str::to_owned),
        ..Facts::default()
    };
    let members = run.hosts.iter().map(|host| Member { host: host.name.clone(), fleet: host.fleet.clone() });
    Ok(Arc::new(Announcer::new(facts.with_source(run.source), members.collect(), stream, targets)))
}

/// Of a run that changes nothing.
pub fn nobody() -> Arc<Announcer> {
    Arc::new(Announcer::new(Facts::default(), Vec::new(), None, Vec::new()))
}

/// The addresses whose hosts are `meant`; one without `hosts` is for all. What cannot be found out
/// about an address is told when it is to be used, since nobody is kept from deploying by it.
pub fn targets(project: &Project, meant: impl Fn(&[String]) -> bool) -> Result<Vec<Target>> {
    let mut targets = Vec::new();
    for (at, entry) in project.config.notify.iter().enumerate() {
        let number = at + 1;
        let hosts = project
            .hosts_named(&entry.hosts)
            .with_context(|| format!("deploy.toml: `hosts` of [[notify]] {number} names no host"))?;
        if entry.hosts.is_empty() || meant(&hosts) {
            targets.push(target(project, number, entry));
        }
    }
    Ok(targets)
}

fn target(project: &Project, number: usize, entry: &Notify) -> Target {
    let url = found(project, &entry.url).and_then(|url| match is_http(&url) {
        true => Ok(Hidden::new(url)),
        false => Err("what is found there does not begin with https:// or http://".to_owned()),
    });
    let signing_key = |value: &Value| found(project, value).and_then(|key| strong(value, key)).map(Hidden::new);
    let key = entry.signing_key.as_ref().map(signing_key).transpose();
    let label = Target::label(number, entry.kind, url.as_ref().ok());
    let (signing_key, address) = match key {
        Ok(key) => (key, url.map_err(|why| format!("`url`: {why}"))),
        // Unsigned, nobody would believe it.
        Err(why) => (None, Err(format!("`signing_key`: {why}"))),
    };
    Target { label, kind: entry.kind, address, signing_key, on: entry.on.clone() }
}

/// What a signing key must have at least: 24 characters, 8 of them different. Every value that
/// `--generate` makes with 24 or more has that; a word, a date or a key of one repeated letter has not.
const KEY_LENGTH: usize = 24;
const KEY_VARIETY: usize = 8;

/// Refuses a key that the receiver of a signed text could guess.
fn strong(place: &Value, key: String) -> Result<String, String> {
    let different: std::collections::BTreeSet<char> = key.chars().collect();
    if key.chars().count() >= KEY_LENGTH && different.len() >= KEY_VARIETY {
        return Ok(key);
    }
    let help = match place {
        Value::Secret(name) => format!("`deploy secrets set {name} --generate hex:32` makes a good one"),
        Value::Environment(name) => format!("set {name} to the output of `openssl rand -hex 32`"),
        Value::Plain(_) => "name a secret".to_owned(),
    };
    Err(format!(
        "the key can be guessed from what it signs: it needs {KEY_LENGTH} characters, {KEY_VARIETY} of them different\n  \
         help: {help}, and give it to the receiver"
    ))
}

fn found(project: &Project, value: &Value) -> Result<String, String> {
    let text = match value {
        Value::Plain(text) => text.clone(),
        Value::Environment(variable) => {
            std::env::var(variable).map_err(|_| format!("the environment has no variable {variable} with a text"))?
        }
        Value::Secret(name) => {
            let value = Secrets::of(project).and_then(|secrets| secrets.for_notification(name));
            let value = value.map_err(|error| format!("{error:#}"))?;
            String::from_utf8(value.expose().to_vec()).map_err(|_| format!("the secret `{name}` is no text"))?
        }
    };
    match text.trim() {
        "" => Err("it is empty".to_owned()),
        text => Ok(text.to_owned()),
    }
}

/// What the first Ctrl-C does.
pub fn interrupted(
    news: &Arc<Announcer>,
    say: impl FnOnce(&str) + Send + 'static,
) -> impl FnOnce(&str) + Send + 'static {
    let news = news.clone();
    move |text| {
        news.interrupted();
        say(text);
    }
}

/// Waits for those who are told, and says who could not be; how many that were.
pub fn finish(display: &Display, news: &Announcer) -> usize {
    let failures = news.finish();
    for failure in &failures {
        display.warn(failure);
    }
    failures.len()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use cairn_secrets::{Generator, SecretName};

    use super::*;

    const STRONG: &str = "4f1c9a0b7e2d8836a5c4f1c9a0b7e2d8";

    /// A project with one webhook that is signed with `key`, and secrets of this computer.
    fn project(index: &str, key: &str) -> (tempfile::TempDir, Project) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("secrets")).unwrap();
        fs::write(dir.path().join("secrets/secrets.toml"), index).unwrap();
        let notify = format!("[[notify]]\nkind = \"webhook\"\nurl = \"https://x.example/hook\"\nsigning_key = {key}\n");
        fs::write(dir.path().join("deploy.toml"), notify).unwrap();
        let project = Project::open(dir.path()).unwrap();
        (dir, project)
    }

    fn why(project: &Project) -> Result<(), String> {
        let targets = targets(project, |_| true).unwrap();
        targets[0].address.as_ref().map(|_| ()).map_err(Clone::clone)
    }

    #[test]
    fn a_webhook_signs_only_with_a_secret_that_is_made_for_it() {
        let index = "[secrets.jwt-secret]\nhosts = []\ngenerate = \"hex:32\"\n";
        let (dir, project) = project(index, "{ secret = \"jwt-secret\" }");
        let local = cairn_secrets::LocalVault::of(dir.path());
        local.value(&SecretName::parse("jwt-secret").unwrap(), Generator::Hex(32)).unwrap();
        let refused = why(&project).unwrap_err();
        for part in [
            "`signing_key`: ",
            "secrets.toml: notifications may not use",
            "`notifications = true` to [secrets.jwt-secret]",
        ] {
            assert!(refused.contains(part), "{refused}");
        }
        fs::write(dir.path().join("secrets/secrets.toml"), format!("{index}notifications = true\n")).unwrap();
        why(&project).unwrap();
    }

    #[test]
    fn a_key_that_can_be_guessed_signs_nothing() {
        let place = Value::Secret("hook".into());
        for weak in ["hunter2", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "0101010101010101010101010101", &STRONG[..23]] {
            let error = strong(&place, weak.to_owned()).unwrap_err();
            assert!(error.contains("deploy secrets set hook --generate hex:32") && !error.contains(weak), "{error}");
        }
        assert_eq!(strong(&place, STRONG.to_owned()).unwrap(), STRONG);
        let error = strong(&Value::Environment("DEPLOY_NOTIFY_KEY".into()), "short".into()).unwrap_err();
        assert!(error.contains("set DEPLOY_NOTIFY_KEY to"), "{error}");
    }
}
