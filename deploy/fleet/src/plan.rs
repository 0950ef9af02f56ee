//! What a switch would change on a host.

use std::collections::BTreeSet;
use std::path::Path;

use cairn_closure::{Manifest, Replace};
use cairn_formats::StorePath;
use cairn_protocol::Hello;
use cairn_store::Store;
use serde::Serialize;

use crate::FleetError;

/// What happens to one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    Unchanged,
    New,
    /// Goes on running, and reads its configuration again.
    Reload,
    /// The new version starts beside the old one and takes over.
    ReplaceBeside,
    /// The old version stops before the new one starts.
    Restart,
    /// A task, a check or a timer that runs otherwise from now on.
    Replaced,
    Removed,
    /// The closure that is live is not in the local store to compare with.
    Unknown,
}

/// The difference between a host and a closure.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    pub host: String,
    pub closure: StorePath,
    /// The generation that is live.
    pub current: Option<u64>,
    pub services: Vec<(String, Change)>,
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
        let wanted = manifest(&store.physical(closure))?;
        let live = match &hello.current {
            // A closure built elsewhere is not in this store; then nothing can be said.
            Some(current) if store.is_valid(&current.closure)? => Some(manifest(&store.physical(&current.closure))?),
            _ => None,
        };
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
            services: changes(&wanted, live.as_ref(), hello.current.is_some()),
            missing_paths,
            missing_bytes,
        })
    }
}

fn changes(wanted: &Manifest, live: Option<&Manifest>, something_is_live: bool) -> Vec<(String, Change)> {
    let mut changes = Vec::new();
    for (name, service) in &wanted.services {
        let change = match live.map(|m| m.services.get(name)) {
            None if something_is_live => Change::Unknown,
            None | Some(None) => Change::New,
            Some(Some(old)) if service.only_reloads(old) => Change::Reload,
            Some(Some(old)) if old.instance == service.instance => Change::Unchanged,
            Some(Some(_)) if service.kind.ends() => Change::Replaced,
            Some(Some(_)) if service.replace == Replace::Restart => Change::Restart,
            Some(Some(_)) => Change::ReplaceBeside,
        };
        changes.push((name.to_string(), change));
    }
    if let Some(live) = live {
        let removed = live.services.keys().filter(|name| !wanted.services.contains_key(*name));
        changes.extend(removed.map(|name| (name.to_string(), Change::Removed)));
    }
    changes
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
