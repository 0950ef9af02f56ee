//! Forgets generations beyond the kept ones, old records, and what in the store nobody needs.

use std::fs;

use cairn_closure::layout::PROFILE_NAME;
use cairn_protocol::{ActivationId, ActivationRequest, CollectReport, Goal, Retention};
use cairn_store::{GcReport, Store};

use crate::activation::{self, GLANCE, Holder, Lock, record, record::Record};
use crate::error::{Result, file};
use crate::paths::Paths;
use crate::receive::begun;
use crate::{generations, install, manifests, output, retention, secrets};

/// Records of ended activations that stay: the host's history.
const KEPT_RECORDS: usize = 200;

/// On request, with the host's lock held: whoever goes back to a generation must find it.
pub fn on_request(store: &Store, retention: Retention, dry_run: bool, operator: &str) -> Result<CollectReport> {
    let paths = Paths::new(store.root());
    let holder = Holder::now(operator, "a collection");
    let _lock = if dry_run { None } else { Some(Lock::take(&paths, &holder, GLANCE)?) };
    run(store, retention, dry_run)
}

/// Deletes generations that need not stay, and collects the store's garbage.
pub fn run(store: &Store, retention: Retention, dry_run: bool) -> Result<CollectReport> {
    let paths = Paths::new(store.root());
    let generations = superfluous(store, retention)?;
    if dry_run {
        let profile = store.profile(PROFILE_NAME)?;
        let links: Vec<_> = generations.iter().map(|number| profile.generation_link(*number)).collect();
        return Ok(report(generations, &store.would_collect(&links)?));
    }
    for number in &generations {
        generations::delete(store, &paths, *number)?;
    }
    begun::forget(&paths).map_err(file("cannot remove", &paths.begun()))?;
    let collected = store.collect_garbage(false)?;
    let kept: Result<Vec<_>> =
        generations::list(store)?.iter().map(|generation| manifests::of(&paths, &generation.closure)).collect();
    secrets::forget(&paths, &kept?)?;
    Ok(report(generations, &collected))
}

fn superfluous(store: &Store, retention: Retention) -> Result<Vec<u64>> {
    Ok(retention::superfluous(&generations::list(store)?, retention, record::seconds()))
}

fn report(generations: Vec<u64>, collected: &GcReport) -> CollectReport {
    let paths = u64::try_from(collected.deleted.len()).unwrap_or(u64::MAX);
    CollectReport { generations, paths, bytes: collected.bytes }
}

/// An activation that a reboot cut off could not take its root away.
fn forget_root(store: &Store, paths: &Paths, id: &ActivationId) -> Result<()> {
    let rooted = paths.named_root(&activation::root_name(id));
    if rooted.is_symlink() && Record::load(paths, id)?.phase.has_ended() {
        store.remove_root(&activation::root_name(id))?;
    }
    Ok(())
}

/// What every commit does; a fault here is for the log only, since the generation is live.
pub fn after_commit(store: &Store, paths: &Paths, request: &ActivationRequest) {
    let ids = record::ids(paths);
    for id in &ids {
        let _ = forget_root(store, paths, id);
    }
    for id in ids.iter().skip(KEPT_RECORDS) {
        let _ = fs::remove_dir_all(paths.activation(id));
    }
    let _ = install::forget_root(store);
    // Going back leaves every generation as it is.
    let Goal::Switch = request.goal else { return };
    let retention = request.retention.unwrap_or(Retention::DEFAULT);
    let collected = superfluous(store, retention).and_then(|superfluous| match superfluous.as_slice() {
        [] => Ok(()),
        _ => run(store, retention, false).map(drop),
    });
    if let Err(e) = collected {
        output::warn(&format!("cairn-agent: cannot collect old generations: {e}"));
    }
}
