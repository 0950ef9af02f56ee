//! `deploy copy`: brings closures to hosts ahead of a switch, and changes nothing that runs there.

use anyhow::Result;

use super::switch::{finish, in_parallel};
use crate::arguments::CopyOptions;
use crate::context::Context;

pub fn run(context: &Context, options: &CopyOptions) -> Result<u8> {
    let project = context.project()?;
    let hosts = context.hosts(&project, &options.hosts)?;
    let store = context.store()?;
    let closures =
        hosts.iter().map(|host| Ok(context.build_host(&project, &store, host)?.path)).collect::<Result<Vec<_>>>()?;
    let fleet = context.fleet(&store)?;
    let progress = context.display.hosts();
    let all: Vec<usize> = (0..hosts.len()).collect();
    let copy = |at: usize| fleet.copy(&hosts[at], &closures[at], &|event| progress.on(&event));
    let reports = in_parallel(&all, false, copy);
    finish(context, reports)
}
