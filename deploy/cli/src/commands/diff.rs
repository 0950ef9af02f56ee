//! `deploy diff`: what differs between two generations of a host, or one and what would be next.

use anyhow::{Result, bail};
use cairn_fleet::{Contents, Difference, FleetError, Reader};
use cairn_formats::StorePath;
use cairn_protocol::{Generation, Request, Response};
use serde::Serialize;

use super::each;
use crate::arguments::{DiffOptions, DiffTo};
use crate::context::Context;
use crate::display;

#[derive(Serialize)]
struct Report {
    host: String,
    from: Side,
    to: Side,
    #[serde(flatten)]
    difference: Difference,
}

#[derive(Serialize)]
struct Side {
    /// `None`: what the project would build now.
    generation: Option<u64>,
    store_path: String,
}

pub fn run(context: &Context, options: &DiffOptions) -> Result<u8> {
    let project = context.project()?;
    let store = context.store()?;
    let hosts = each::with_agents(context, &project, &store, std::slice::from_ref(&options.host))?;
    let [(host, agent)] = hosts.as_slice() else {
        bail!("`{}` is a fleet, and generations are those of a host\n  help: name one of its hosts", options.host);
    };
    let next = match options.to {
        Some(DiffTo::Next) => Some(context.build_host(&project, &store, host)?),
        _ => None,
    };
    let fleet = context.fleet(&store)?;
    let reached = fleet.reach(host, false, &|_| ())?;
    let mut session = fleet.connect(host, &reached, agent)?;
    let generations = match session.request(&Request::Generations, &mut |_| ())? {
        Response::Generations { generations } => generations,
        other => return Err(FleetError::answer(&host.name, &other).into()),
    };
    let (number, from) = find(&host.name, &generations, Some(options.from))?;
    let (to_number, to) = match (next, options.to) {
        (Some(next), _) => (None, next),
        (None, Some(DiffTo::Generation(number))) => find(&host.name, &generations, Some(number))?,
        (None, _) => find(&host.name, &generations, None)?,
    };
    let (old, new) = Contents::of_both(&mut Reader::new(&store, &mut session), Some(&from), &to)?;
    session.close();
    let side = |generation, path: &StorePath| Side { generation, store_path: path.absolute() };
    let report = Report {
        host: host.name.clone(),
        from: side(number, &from),
        to: side(to_number, &to),
        difference: Difference::between(old.as_ref(), &new),
    };
    context.display.result(&report, || text(&report))?;
    Ok(0)
}

/// A generation by its number; without one the live one.
fn find(host: &str, generations: &[Generation], number: Option<u64>) -> Result<(Option<u64>, StorePath)> {
    let wanted = |g: &&Generation| number.map_or(g.current, |number| g.number == number);
    let Some(found) = generations.iter().find(wanted) else {
        let what = number.map_or("live generation".to_owned(), |number| format!("generation {number}"));
        bail!("{host} has no {what}\n  help: `deploy generations {host}` lists those that it keeps");
    };
    Ok((Some(found.number), found.closure.clone()))
}

fn text(report: &Report) -> String {
    let name = |side: &Side| side.generation.map_or("next".to_owned(), |number| format!("generation {number}"));
    let head = format!("{}: {} → {}\n", report.host, name(&report.from), name(&report.to));
    if report.difference.is_empty() {
        return format!("{head}  no difference\n");
    }
    format!("{head}{}{}", display::services(&report.difference), display::contents(&report.difference))
}
