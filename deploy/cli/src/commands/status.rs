//! `deploy status`: what hosts run and how they are.

use anyhow::Result;
use cairn_fleet::{AT_ONCE, StatusEntry, in_parallel};
use serde::Serialize;

use crate::arguments::StatusOptions;
use crate::context::Context;
use crate::display::table;

#[derive(Serialize)]
struct Report {
    hosts: Vec<StatusEntry>,
}

pub fn run(context: &Context, options: &StatusOptions) -> Result<u8> {
    let project = context.project()?;
    let names = if options.hosts.is_empty() { project.host_names()? } else { options.hosts.clone() };
    let hosts = context.hosts(&project, &names)?;
    let store = context.store()?;
    let agents = hosts
        .iter()
        .map(|host| context.agent(&project, &store, host.definition.platform))
        .collect::<Result<Vec<_>>>()?;
    let fleet = context.fleet(&store)?;
    let asked: Vec<_> = hosts.iter().zip(&agents).collect();
    let entries = in_parallel(AT_ONCE, &asked, |(host, agent)| fleet.status(host, agent, &|_| ()));
    let code = exit_code(&entries);
    let report = Report { hosts: entries };
    context.display.result(&report, || text(&report))?;
    Ok(code)
}

/// 0 when every host was asked and is well; a machine that is stopped is no fault.
fn exit_code(entries: &[StatusEntry]) -> u8 {
    let well = |e: &&StatusEntry| matches!(e.health.as_str(), "healthy" | "empty" | "stopped" | "starting");
    match entries.iter().filter(well).count() {
        n if n == entries.len() => 0,
        _ if entries.len() == 1 => 1,
        _ => 4,
    }
}

fn text(report: &Report) -> String {
    let mut rows = vec![["HOST", "GENERATION", "SINCE", "HEALTH", "ENDPOINTS"].map(str::to_owned).to_vec()];
    let mut notes = String::new();
    for host in &report.hosts {
        let urls: Vec<&str> = host.endpoints.iter().map(|e| e.url.as_str()).collect();
        rows.push(vec![
            host.name.clone(),
            host.generation.map_or("-".to_owned(), |n| n.to_string()),
            host.since.clone().unwrap_or_else(|| "-".to_owned()),
            host.health.clone(),
            urls.join(" "),
        ]);
        for service in host.services.iter().filter(|s| s.health != cairn_protocol::Health::Healthy) {
            notes.push_str(&format!("{}: {} ({}): {}\n", host.name, service.service, service.unit, service.detail));
        }
        if let Some(activation) = &host.activation {
            notes.push_str(&format!("{}: activation {activation} is under way\n", host.name));
        }
        if let Some(error) = &host.error {
            notes.push_str(&format!("{error}\n"));
        }
    }
    format!("{}{notes}", table(&rows))
}
