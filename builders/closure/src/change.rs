//! What becomes of each service when one closure takes the place of another.

use serde::Serialize;

use crate::{Manifest, Replace, Service, ServiceName};

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
    /// The closure that is live is not at hand to compare with.
    Unknown,
}

impl Manifest {
    /// Each service of both closures, those of this one first.
    pub fn changes_from<'a>(&'a self, old: Option<&'a Self>) -> Vec<(&'a ServiceName, Change)> {
        let before = |name| old.and_then(|old| old.services.get(name));
        let mut changes: Vec<_> =
            self.services.iter().map(|(name, service)| (name, service.change_from(before(name)))).collect();
        let removed = old.into_iter().flat_map(|old| old.services.keys());
        changes.extend(removed.filter(|name| !self.services.contains_key(*name)).map(|name| (name, Change::Removed)));
        changes
    }
}

impl Service {
    fn change_from(&self, old: Option<&Self>) -> Change {
        match old {
            None => Change::New,
            Some(old) if self.only_reloads(old) => Change::Reload,
            Some(old) if old.instance == self.instance => Change::Unchanged,
            Some(_) if self.kind.ends() => Change::Replaced,
            Some(_) if self.replace == Replace::Restart => Change::Restart,
            Some(_) => Change::ReplaceBeside,
        }
    }
}
