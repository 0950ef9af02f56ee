//! `deploy maintenance`: lets services say that they are in maintenance.

use anyhow::{Result, bail};
use cairn_protocol::{Maintained, Until};
use cairn_recipe::Project;
use cairn_recipe::project::Host;
use serde::Serialize;

use super::of_service;
use crate::arguments::{MaintenanceAction, MaintenanceOptions};
use crate::context::Context;
use crate::display::{failure, table};

#[derive(Serialize)]
struct Report {
    hosts: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    name: String,
    services: Vec<Maintained>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

pub fn run(context: &Context, action: &MaintenanceAction) -> Result<u8> {
    let (options, set, message, until) = match action {
        MaintenanceAction::On { of, message, length, until } => {
            // By the host's own clock, which may go wrong.
            let length = length.map(|length| Until::Within(length.as_secs()));
            (of, Some(true), message.as_deref(), length.or(until.map(Until::At)))
        }
        MaintenanceAction::Off { of } => (of, Some(false), None, None),
        MaintenanceAction::Status { of } => (of, None, None, None),
    };
    let project = context.project()?;
    let hosts = hosts(context, &project, options)?;
    let store = context.store()?;
    let agents = of_service::agents(context, &project, &store, &hosts)?;
    let fleet = context.fleet(&store)?;
    let ask = |at: usize| {
        let answer = fleet.maintenance(&hosts[at], &agents[at], options.service.as_deref(), set, message, until);
        let name = hosts[at].name.clone();
        match answer {
            Ok(services) => Entry { name, services, error: None },
            Err(error) => Entry { name, services: Vec::new(), error: Some(error.to_string()) },
        }
    };
    let entries: Vec<Entry> = std::thread::scope(|scope| {
        let ask = &ask;
        let threads: Vec<_> = (0..hosts.len()).map(|at| scope.spawn(move || ask(at))).collect();
        threads.into_iter().map(|t| t.join().unwrap_or_else(|p| std::panic::resume_unwind(p))).collect()
    });
    let errors: Vec<&String> = entries.iter().filter_map(|entry| entry.error.as_ref()).collect();
    for error in &errors {
        failure(error);
    }
    let code = of_service::exit_code(errors.len(), entries.len());
    let report = Report { hosts: entries };
    context.display.result(&report, || text(&report))?;
    Ok(code)
}

/// Those that were named, or every host of the project that has such a service.
fn hosts(context: &Context, project: &Project, options: &MaintenanceOptions) -> Result<Vec<Host>> {
    if let Some(service) = &options.service {
        return of_service::hosts(context, project, service, &options.hosts);
    }
    if !options.hosts.is_empty() {
        return context.hosts(project, &options.hosts);
    }
    let mut found = Vec::new();
    for host in context.hosts(project, &project.host_names()?)? {
        for service in host.definition.services.values() {
            if project.image(&service.image)?.definition.image.maintenance.is_some() {
                found.push(host);
                break;
            }
        }
    }
    if found.is_empty() {
        bail!(
            "no service of the project says that it honours maintenance\n  help: an image that does says so by `maintenance` in the [image] section of its image.toml"
        );
    }
    Ok(found)
}

fn text(report: &Report) -> String {
    let mut rows =
        vec![["HOST", "SERVICE", "MAINTENANCE", "SINCE", "UNTIL", "BY", "MESSAGE"].map(str::to_owned).to_vec()];
    for host in &report.hosts {
        for service in &host.services {
            rows.push(vec![
                host.name.clone(),
                service.service.clone(),
                if service.on { "on" } else { "off" }.to_owned(),
                service.since.map(cairn_fleet::rfc3339).unwrap_or_default(),
                service.until.map(cairn_fleet::rfc3339).unwrap_or_default(),
                service.operator.clone().unwrap_or_default(),
                service.reason.clone().unwrap_or_default(),
            ]);
        }
    }
    if rows.len() == 1 { String::new() } else { table(&rows) }
}
