//! `deploy unlock`: who holds a host's lock, and its end.

use anyhow::{Result, bail};
use cairn_fleet::FleetError;
use cairn_protocol::{LockHolder, Outcome, Request, Response, SwitchEnd};
use serde::Serialize;

use super::each;
use crate::arguments::UnlockOptions;
use crate::context::Context;
use crate::terminal::hanging;

/// Somebody else holds the host.
const LOCKED: u8 = 5;

#[derive(Serialize)]
struct Report {
    host: String,
    holder: Option<LockHolder>,
    /// Whether it was ended.
    ended: bool,
    /// How its activation ended.
    outcome: Option<Outcome>,
}

pub fn run(context: &Context, options: &UnlockOptions) -> Result<u8> {
    let project = context.project()?;
    let store = context.store()?;
    let hosts = each::with_agents(context, &project, &store, std::slice::from_ref(&options.host))?;
    let [(host, agent)] = hosts.as_slice() else {
        bail!("`{}` is a fleet, and a lock is that of a host\n  help: name one of its hosts", options.host);
    };
    let fleet = context.fleet(&store)?;
    let unexpected = |other| Err(FleetError::answer(&host.name, &other).into());
    let holder = match fleet.ask_once(host, agent, &Request::Lock, &|_| ())? {
        Response::Lock { holder } => holder,
        other => return unexpected(other),
    };
    let mut report = Report { host: host.name.clone(), holder, ended: false, outcome: None };
    if !report.holder.as_ref().is_some_and(|holder| holder.held) {
        context.display.result(&report, || describe(&report))?;
        return Ok(0);
    }
    let question = format!("{}\nEnd it?", describe(&report));
    if !options.yes && context.display.ask(&question) != Some(true) {
        let help = "  help: `--yes` ends it; its activation goes back by itself";
        context.display.result(&report, || format!("{}\n{help}", describe(&report)))?;
        return Ok(LOCKED);
    }
    context.display.note(&describe(&report));
    let progress = context.display.hosts();
    let request = Request::Unlock { operator: fleet.operator.clone() };
    report.outcome = match fleet.ask_once(host, agent, &request, &|event| progress.on(&event))? {
        Response::Switch { end: SwitchEnd::Ended(outcome), .. } => Some(outcome),
        Response::Unlocked => None,
        other => return unexpected(other),
    };
    report.ended = true;
    context.display.result(&report, || ended(&report))?;
    Ok(0)
}

fn describe(report: &Report) -> String {
    hanging(&held(report))
}

fn held(report: &Report) -> String {
    let host = &report.host;
    let Some(holder) = &report.holder else {
        return format!("{host}: free; nobody has locked it yet");
    };
    let reason = holder.reason.as_ref().map_or(String::new(), |reason| format!(" ({reason})"));
    let since = cairn_fleet::rfc3339(holder.since);
    let who = format!("{} for {}{reason} at {since}, process {}", holder.operator, holder.purpose, holder.pid);
    if !holder.held {
        return format!("{host}: free; held last by {who}, which has ended, and its lock fell with it");
    }
    let phase = holder.phase.as_ref().map_or(String::new(), |phase| format!(", {phase}"));
    format!("{host}: locked by {who}, which lives{phase}")
}

fn ended(report: &Report) -> String {
    let host = &report.host;
    let Some(holder) = &report.holder else { return String::new() };
    let whose = format!("{} of {}", holder.purpose, holder.operator);
    let generation = |number: Option<u64>| number.map_or("no generation".to_owned(), |n| format!("generation {n}"));
    match &report.outcome {
        None => format!("{host}: free; {whose} was ended"),
        Some(Outcome::Committed { generation, .. } | Outcome::Unchanged { generation }) => {
            format!(
                "{host}: free; {whose} was committed already and has been finished: generation {generation} is live"
            )
        }
        Some(Outcome::Refused { .. }) => format!("{host}: free; {whose} was ended before it touched anything"),
        Some(Outcome::Reverted { generation: back, .. }) => {
            format!("{host}: free; {whose} was broken off and went back: {} is live", generation(*back))
        }
        Some(Outcome::Broken { problem }) => {
            format!(
                "{host}: free; {whose} was broken off, and going back failed: {}\n  help: log in and look: `journalctl -u 'cairn-*'`",
                problem.message
            )
        }
    }
}
