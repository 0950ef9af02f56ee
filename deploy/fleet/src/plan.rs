//! What a switch would change on a host.

use std::collections::BTreeSet;
use std::path::Path;

use cairn_closure::{Change, Manifest, ServiceName};
use cairn_formats::StorePath;
use cairn_protocol::Hello;
use cairn_store::Store;
use serde::Serialize;

use crate::FleetError;

/// The difference between a host and a closure.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    pub host: String,
    pub closure: StorePath,
    /// The generation that is live.
    pub current: Option<u64>,
    pub services: Vec<(String, Change)>,
    /// What changes of the host itself: `/etc/…`, `sysctl …`, `user …`, `mount …`, `unit …`.
    pub system: Vec<(String, Change)>,
    /// Store paths that the host lacks, and their size before compression.
    pub missing_paths: usize,
    pub missing_bytes: u64,
}

impl Plan {
    pub fn new(
        store: &Store,
        host: &str,
        hello: &Hello,
        closure: &StorePath,
        paths: &[StorePath],
    ) -> Result<Self, FleetError> {
        let live = match &hello.current {
            // One that was built elsewhere is not in this store.
            Some(current) if store.is_valid(&current.closure)? => Some(manifest(&store.physical(&current.closure))?),
            _ => None,
        };
        Self::against(live.as_ref(), store, host, hello, closure, paths)
    }

    /// As `new`, with the manifest of what is live.
    pub fn against(
        live: Option<&Manifest>,
        store: &Store,
        host: &str,
        hello: &Hello,
        closure: &StorePath,
        paths: &[StorePath],
    ) -> Result<Self, FleetError> {
        let wanted = manifest(&store.physical(closure))?;
        let valid: BTreeSet<&StorePath> = hello.valid.iter().collect();
        let mut missing_bytes = 0;
        let mut missing_paths = 0;
        for path in paths.iter().filter(|p| !valid.contains(p)) {
            missing_paths += 1;
            missing_bytes += store.query(path)?.map_or(0, |info| info.nar_size);
        }
        Ok(Self {
            host: host.to_owned(),
            closure: closure.clone(),
            current: hello.current.as_ref().map(|g| g.number),
            services: changes(&wanted, live, hello.current.is_some()),
            system: system_changes(&wanted, live, hello.current.is_some()),
            missing_paths,
            missing_bytes,
        })
    }
}

/// `live` is `None` when it is not at hand; then nothing can be said.
fn changes(wanted: &Manifest, live: Option<&Manifest>, something_is_live: bool) -> Vec<(String, Change)> {
    let unknown = something_is_live && live.is_none();
    let change =
        |(name, change): (&ServiceName, Change)| (name.to_string(), if unknown { Change::Unknown } else { change });
    wanted.changes_from(live).into_iter().map(change).collect()
}

fn system_changes(wanted: &Manifest, live: Option<&Manifest>, something_is_live: bool) -> Vec<(String, Change)> {
    let unknown = something_is_live && live.is_none();
    let all = wanted.system_changes_from(live).into_iter();
    all.map(|(what, change)| (what, if unknown { Change::Unknown } else { change })).collect()
}

/// Reads `closure.json` of a host closure.
fn manifest(closure: &Path) -> Result<Manifest, FleetError> {
    let file = closure.join("closure.json");
    let fail = |message: String| FleetError::Closure { file: file.clone(), message };
    let text = std::fs::read(&file).map_err(|e| fail(e.to_string()))?;
    serde_json::from_slice(&text).map_err(|e| fail(e.to_string()))
}

/// What a host closure of our own store says.
pub fn manifest_of(store: &Store, closure: &StorePath) -> Result<Manifest, FleetError> {
    manifest(&store.physical(closure))
}

/// The agent that a host closure brings along.
pub fn agent_of(store: &Store, closure: &StorePath) -> Result<StorePath, FleetError> {
    Ok(manifest_of(store, closure)?.agent.0)
}
