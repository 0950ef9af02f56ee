//! The hosts that a command about one service is for.

use anyhow::{Result, bail};
use cairn_formats::StorePath;
use cairn_formats::report::nearest;
use cairn_recipe::Project;
use cairn_recipe::project::Host;
use cairn_store::Store;

use crate::context::Context;

/// Those that were named, or every host of the project whose definition has the service.
pub fn hosts(context: &Context, project: &Project, service: &str, named: &[String]) -> Result<Vec<Host>> {
    if !named.is_empty() {
        return context.hosts(project, named);
    }
    let mut all = context.hosts(project, &project.host_names()?)?;
    let mut known: Vec<String> =
        all.iter().flat_map(|host| host.definition.services.keys().map(ToString::to_string)).collect();
    all.retain(|host| host.definition.services.contains_key(service));
    if !all.is_empty() {
        return Ok(all);
    }
    known.sort_unstable();
    known.dedup();
    let help = match nearest(service, known.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("they have {}", known.join(", ")),
    };
    bail!("no host of the project has a service `{service}`\n  help: {help}")
}

/// The agent for each host.
pub fn agents(context: &Context, project: &Project, store: &Store, hosts: &[Host]) -> Result<Vec<StorePath>> {
    hosts.iter().map(|host| context.agent(project, store, host.definition.platform)).collect()
}

/// For what is no switch: 0, or of one host 1, of several 4 when some failed.
pub fn exit_code(failed: usize, hosts: usize) -> u8 {
    match (failed, hosts) {
        (0, _) => 0,
        (_, 1) => 1,
        _ => 4,
    }
}
