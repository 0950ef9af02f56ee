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
    let key = entry.signing_key.as_ref().map(|key| found(project, key).map(Hidden::new)).transpose();
    let label = Target::label(number, entry.kind, url.as_ref().ok());
    let (signing_key, address) = match key {
        Ok(key) => (key, url.map_err(|why| format!("`url`: {why}"))),
        // Unsigned, nobody would believe it.
        Err(why) => (None, Err(format!("`signing_key`: {why}"))),
    };
    Target { label, kind: entry.kind, address, signing_key, on: entry.on.clone() }
}

fn found(project: &Project, value: &Value) -> Result<String, String> {
    let text = match value {
        Value::Plain(text) => text.clone(),
        Value::Environment(variable) => {
            std::env::var(variable).map_err(|_| format!("the environment has no variable {variable} with a text"))?
        }
        Value::Secret(name) => {
            let value = Secrets::of(project).and_then(|secrets| secrets.reveal(name));
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
