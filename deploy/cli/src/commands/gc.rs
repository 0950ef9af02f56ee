//! `deploy gc`: on hosts, generations that need not stay go, and what no other needs with them.

use anyhow::Result;
use cairn_protocol::{CollectReport, Request, Response};
use serde::Serialize;

use super::each::{self, Answer};
use crate::arguments::GcOptions;
use crate::context::Context;
use crate::display;

#[derive(Serialize)]
struct Report {
    dry_run: bool,
    hosts: Vec<Answer<CollectReport>>,
}

pub fn run(context: &Context, options: &GcOptions) -> Result<u8> {
    let project = context.project()?;
    let store = context.store()?;
    let hosts = each::with_agents(context, &project, &store, &options.hosts)?;
    let fleet = context.fleet(&store)?;
    let request = |host: &_| Request::Collect {
        retention: cairn_fleet::retention(host),
        dry_run: options.dry_run,
        operator: fleet.operator.clone(),
    };
    let answers = each::ask(&fleet, &hosts, request, |response| match response {
        Response::Collected(report) => Some(report),
        _ => None,
    });
    let code = each::exit_code(&answers);
    let report = Report { dry_run: options.dry_run, hosts: answers };
    context.display.result(&report, || text(&report))?;
    Ok(code)
}

fn text(report: &Report) -> String {
    let mut lines = String::new();
    for host in &report.hosts {
        let Some(collected) = &host.answer else { continue };
        let numbers: Vec<String> = collected.generations.iter().map(u64::to_string).collect();
        let generations = match numbers.as_slice() {
            [] => "no generation".to_owned(),
            [one] => format!("generation {one}"),
            many => format!("generations {}", many.join(", ")),
        };
        let (paths, size) = (collected.paths, display::size(collected.bytes));
        // Files that several paths share are counted for each of them before they go.
        let words = if report.dry_run { ("would go", "at most ", "would be freed") } else { ("went", "", "freed") };
        lines.push_str(&format!(
            "{}: {generations} and {paths} store paths {}, {}{size} {}\n",
            host.name, words.0, words.1, words.2
        ));
    }
    lines
}
