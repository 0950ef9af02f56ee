//! `deploy pin` and `deploy unpin`: a generation that stays, whatever the retention says.

use anyhow::{Result, bail};
use cairn_fleet::FleetError;
use cairn_protocol::{Request, Response};

use super::{each, generations};
use crate::arguments::PinOptions;
use crate::context::Context;

pub fn run(context: &Context, options: &PinOptions, pinned: bool) -> Result<u8> {
    let project = context.project()?;
    let store = context.store()?;
    let hosts = each::with_agents(context, &project, &store, std::slice::from_ref(&options.host))?;
    let [(host, agent)] = hosts.as_slice() else {
        bail!("`{}` is a fleet, and generations are those of a host\n  help: name one of its hosts", options.host);
    };
    let fleet = context.fleet(&store)?;
    let request = Request::Pin { number: options.generation, pinned, operator: fleet.operator.clone() };
    match fleet.ask_once(host, agent, &request, &|_| ())? {
        Response::Generations { generations } => generations::show(context, &host.name, generations),
        other => Err(FleetError::answer(&host.name, &other).into()),
    }
}
