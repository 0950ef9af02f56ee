//! `deploy generations`: what a host ran, and can run again.

use anyhow::Result;
use cairn_fleet::FleetError;
use cairn_protocol::{Changes, Ending, Generation, Request, Response, Source};
use serde::Serialize;

use crate::arguments::GenerationsOptions;
use crate::context::Context;
use crate::display::table;
use crate::source;

#[derive(Serialize)]
struct Report {
    host: String,
    generations: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    generation: u64,
    current: bool,
    /// RFC 3339.
    created: String,
    store_path: String,
    operator: Option<String>,
    message: Option<String>,
    pinned: bool,
    source: Option<Source>,
    changes: Option<Changes>,
    outcome: Option<Ending>,
    problem: Option<String>,
}

pub fn run(context: &Context, options: &GenerationsOptions) -> Result<u8> {
    let project = context.project()?;
    let host = project.host(&options.host)?;
    let store = context.store()?;
    let agent = context.agent(&project, &store, host.definition.platform)?;
    let fleet = context.fleet(&store)?;
    let reached = fleet.reach(&host, false, &|_| ())?;
    let mut session = fleet.connect(&host, &reached, &agent)?;
    let generations = match session.request(&Request::Generations, &mut |_| ())? {
        Response::Generations { generations } => generations,
        other => return Err(FleetError::answer(&host.name, &other).into()),
    };
    show(context, &host.name, generations)
}

/// Prints the generations of a host.
pub fn show(context: &Context, host: &str, generations: Vec<Generation>) -> Result<u8> {
    let report = Report { host: host.to_owned(), generations: generations.into_iter().map(entry).collect() };
    context.display.result(&report, || text(&report))?;
    Ok(0)
}

fn entry(generation: Generation) -> Entry {
    Entry {
        generation: generation.number,
        current: generation.current,
        created: cairn_fleet::rfc3339(generation.created),
        store_path: generation.closure.absolute(),
        operator: generation.operator,
        message: generation.reason,
        pinned: generation.pinned,
        source: generation.source,
        changes: generation.changes,
        outcome: generation.ending,
        problem: generation.problem,
    }
}

fn text(report: &Report) -> String {
    if report.generations.is_empty() {
        return format!("{} has no generations yet", report.host);
    }
    let mut rows = vec![["", "GENERATION", "SINCE", "BY", "PINNED", "REVISION", "MESSAGE"].map(str::to_owned).to_vec()];
    for entry in &report.generations {
        rows.push(vec![
            if entry.current { "*" } else { "" }.to_owned(),
            entry.generation.to_string(),
            entry.created.clone(),
            entry.operator.clone().unwrap_or_default(),
            if entry.pinned { "pinned" } else { "" }.to_owned(),
            source::short(entry.source.as_ref()),
            entry.message.clone().unwrap_or_default(),
        ]);
    }
    table(&rows)
}
