//! Makes a host ours before its first generation: `deploy bootstrap`. A first switch does what it
//! needs of this by itself.

use std::fs;

use cairn_closure::layout::{self, AGENT_PROGRAM};
use cairn_formats::StorePath;
use cairn_store::Store;

use crate::activation::{self, Holder};
use crate::error::Result;
use crate::paths::Paths;
use crate::{files, generator, host_record, manifests};

/// Keeps the agent in the store until a generation does.
const ROOT: &str = "agent";

/// What is still to be done; empty if all is.
pub fn steps(paths: &Paths, store: Option<&Store>, agent: &StorePath) -> Result<Vec<String>> {
    let mut steps = Vec::new();
    let mut todo = |is_done: bool, step: String| steps.extend((!is_done).then_some(step));
    todo(store.is_some(), "make the store, /nix/store, and its database".to_owned());
    todo(is_kept(paths, agent), format!("put the agent there: {}/{AGENT_PROGRAM}", agent.absolute()));
    let noted = host_record::load(paths)?.is_some_and(|record| record.operator.is_some());
    todo(noted, "note what the host is now, to give it back some day: /nix/var/cairn/host.json".to_owned());
    todo(
        paths.at(layout::STATE_DIR).is_dir(),
        format!("make the folder for the state of services: {}", layout::STATE_DIR),
    );
    let linked = fs::read_link(paths.generator_link()).is_ok_and(|to| to == crate::examine::generator_target());
    todo(linked, "link the boot generator: /etc/systemd/system-generators/cairn".to_owned());
    Ok(steps)
}

/// Whether the store holds an agent that no collection takes away: this one, or the generation's.
fn is_kept(paths: &Paths, agent: &StorePath) -> bool {
    let rooted = fs::read_link(paths.named_root(ROOT)).is_ok_and(|to| to.as_os_str() == agent.absolute().as_str());
    rooted || manifests::committed(paths).is_ok_and(|live| live.is_some())
}

/// Does it, and says what was done.
pub fn run(store: &Store, agent: &StorePath, operator: &str) -> Result<Vec<String>> {
    let paths = Paths::new(store.root());
    let _lock = activation::lock(store, &paths, &Holder::now(operator, "a bootstrap"))?;
    let steps = steps(&paths, Some(store), agent)?;
    if !is_kept(&paths, agent) {
        store.set_root(ROOT, agent)?;
    }
    let mut record = host_record::load(&paths)?.unwrap_or_default();
    if record.operator.is_none() {
        record.operator = Some(operator.to_owned());
        host_record::save(&paths, &record)?;
    }
    files::make_directories(&paths.at(layout::STATE_DIR))?;
    // Without a generation it leads nowhere, and systemd passes it over.
    generator::install(&paths)?;
    Ok(steps)
}

/// A generation keeps its own agent.
pub fn forget_root(store: &Store) -> Result<()> {
    Ok(store.remove_root(ROOT)?)
}
