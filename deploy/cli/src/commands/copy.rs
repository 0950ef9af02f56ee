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
    let reports =
        in_parallel(&hosts, &closures, false, |host, closure| fleet.copy(host, closure, &|event| progress.on(&event)));
    finish(context, reports)
}
