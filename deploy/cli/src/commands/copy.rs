//! `deploy copy`: brings closures to hosts ahead of a switch, and changes nothing that runs there.

use anyhow::Result;
use cairn_fleet::{AT_ONCE, Event, HostReport, in_parallel};

use super::switch::finish;
use crate::arguments::CopyOptions;
use crate::context::Context;
use crate::interrupt;

pub fn run(context: &Context, options: &CopyOptions) -> Result<u8> {
    let project = context.project()?;
    let hosts = context.hosts(&project, &options.hosts)?;
    let store = context.store()?;
    let fleet = context.fleet_apart(&store)?;
    context.dial(&project, &fleet, hosts.iter())?;
    let closures = context.build_hosts(&project, &store, &hosts)?;
    let progress = context.display.hosts();
    interrupt::listen(progress.speaker())?;
    let all: Vec<_> = hosts.iter().zip(&closures).collect();
    let reports = in_parallel(options.reach.parallel.map_or(AT_ONCE, usize::from), &all, |(host, closure)| {
        if interrupt::came() {
            return HostReport::interrupted(&host.name);
        }
        let report = fleet.copy(host, closure, &|event| progress.on(&event));
        progress.on(&Event::Ended { host: &host.name, report: &report });
        report
    });
    progress.clear();
    finish(context, reports, options.reach.skip_unreachable)
}
