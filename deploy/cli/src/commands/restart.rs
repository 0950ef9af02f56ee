//! `deploy restart`: a service's replicas one after the other, host after host.

use anyhow::Result;
use cairn_fleet::{HostReport, Terms};

use super::of_service;
use super::switch::finish;
use crate::arguments::RestartOptions;
use crate::context::Context;

pub fn run(context: &Context, options: &RestartOptions) -> Result<u8> {
    let project = context.project()?;
    let hosts = of_service::hosts(context, &project, &options.service, &options.hosts)?;
    let store = context.store()?;
    let agents = of_service::agents(context, &project, &store, &hosts)?;
    let fleet = context.fleet(&store)?;
    let progress = context.display.hosts();
    let listener = |event: cairn_fleet::Event| progress.on(&event);
    let terms = Terms {
        reason: options.message.as_deref(),
        source: None,
        expected: None,
        seal: None,
        confirm_within: 0,
        listener: &listener,
    };
    let mut reports: Vec<HostReport> = Vec::new();
    for (host, agent) in hosts.iter().zip(&agents) {
        // What one host does not survive, the others are spared.
        let failed = reports.iter().find(|report| !report.is_success()).map(|report| report.name.clone());
        reports.push(match failed {
            Some(failed) => HostReport::skipped(&host.name, &failed),
            None => fleet.restart(host, agent, &options.service, terms),
        });
    }
    finish(context, reports, false)
}
