//! `deploy generations`: what a host ran, and can run again.

use anyhow::{Result, bail};
use cairn_protocol::{Generation, Request, Response};
use serde::Serialize;

use crate::arguments::GenerationsOptions;
use crate::context::Context;
use crate::display::table;

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
        other => bail!("{}: the agent answered something else than was asked: {other:?}", host.name),
    };
    let report = Report { host: host.name, generations: generations.into_iter().map(entry).collect() };
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
    }
}

fn text(report: &Report) -> String {
    if report.generations.is_empty() {
        return format!("{} has no generations yet", report.host);
    }
    let mut rows = vec![["", "GENERATION", "SINCE", "BY", "MESSAGE"].map(str::to_owned).to_vec()];
    for entry in &report.generations {
        rows.push(vec![
            if entry.current { "*" } else { "" }.to_owned(),
            entry.generation.to_string(),
            entry.created.clone(),
            entry.operator.clone().unwrap_or_default(),
            entry.message.clone().unwrap_or_default(),
        ]);
    }
    table(&rows)
}
