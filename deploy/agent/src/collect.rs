//! Forgets generations beyond the kept ones, old records, and what in the store nobody needs.

use std::fs;

use cairn_closure::layout::PROFILE_NAME;
use cairn_protocol::{ActivationId, CollectReport};
use cairn_store::Store;

use crate::activation::{self, record, record::Record};
use crate::error::Result;
use crate::paths::Paths;
use crate::{generations, manifests, secrets};

/// Records of ended activations that stay for whoever looks into one.
const KEPT_RECORDS: usize = 50;

/// Deletes generations beyond `keep` and collects the store's garbage.
pub fn run(store: &Store, keep: u32, dry_run: bool) -> Result<CollectReport> {
    let paths = Paths::new(store.root());
    let superfluous = generations::superfluous(&generations::list(store)?, keep);
    if !dry_run {
        forget(store, &paths, &superfluous)?;
    }
    let collected = store.collect_garbage(dry_run)?;
    if !dry_run {
        let kept: Result<Vec<_>> =
            generations::list(store)?.iter().map(|generation| manifests::of(&paths, &generation.closure)).collect();
        secrets::forget(&paths, &kept?)?;
    }
    Ok(CollectReport {
        generations: superfluous,
        paths: u64::try_from(collected.deleted.len()).unwrap_or(u64::MAX),
        bytes: collected.bytes,
    })
}

fn forget(store: &Store, paths: &Paths, numbers: &[u64]) -> Result<()> {
    let profile = store.profile(PROFILE_NAME)?;
    for number in numbers {
        profile.delete(*number)?;
        crate::files::remove(&paths.generation_note(*number))?;
    }
    Ok(())
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
pub fn after_commit(store: &Store, paths: &Paths) {
    let ids = record::ids(paths);
    for id in &ids {
        let _ = forget_root(store, paths, id);
    }
    for id in ids.iter().skip(KEPT_RECORDS) {
        let _ = fs::remove_dir_all(paths.activation(id));
    }
    let superfluous =
        generations::list(store).map(|all| generations::superfluous(&all, generations::KEPT)).unwrap_or_default();
    if superfluous.is_empty() {
        return;
    }
    if let Err(e) = run(store, generations::KEPT, false) {
        eprintln!("cairn-agent: cannot collect old generations: {e}");
    }
}
