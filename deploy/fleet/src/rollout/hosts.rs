//! What a rollout does on real hosts.

use cairn_formats::StorePath;
use cairn_protocol::{Health, RollbackTarget};
use cairn_recipe::project::Host;

use super::Actions;
use crate::{Event, Fleet, HostReport, StatusEntry, Terms};

/// Hosts, and what is to be done on each.
pub struct OnHosts<'a> {
    pub fleet: &'a Fleet<'a>,
    pub hosts: &'a [Host],
    /// The agent to speak with, for each host.
    pub agents: &'a [StorePath],
    pub terms: Terms<'a>,
    pub begin: &'a (dyn Fn(usize) -> HostReport + Sync),
    pub interrupted: &'a (dyn Fn() -> bool + Sync),
}

impl Actions for OnHosts<'_> {
    fn begin(&self, host: usize) -> HostReport {
        (self.begin)(host)
    }

    fn take_back(&self, host: usize, to: u64, because: &str) -> HostReport {
        let reason = format!("{because} failed in the same rollout");
        let terms = Terms { reason: Some(&reason), ..self.terms };
        self.fleet.rollback(&self.hosts[host], &self.agents[host], RollbackTarget::Number(to), terms)
    }

    fn health(&self, host: usize) -> Result<(), String> {
        illness(&self.fleet.status(&self.hosts[host], &self.agents[host], &|_| ())).map_or(Ok(()), Err)
    }

    fn interrupted(&self) -> bool {
        (self.interrupted)()
    }

    fn tell(&self, event: Event) {
        (self.terms.listener)(event);
    }
}

/// What keeps a host from being well.
fn illness(status: &StatusEntry) -> Option<String> {
    if let Some(error) = &status.error {
        return Some(error.clone());
    }
    let ill = status.services.iter().filter(|service| service.health != Health::Healthy);
    // Of an answer over many lines the first says enough.
    let first = |detail: &str| detail.lines().next().unwrap_or_default().to_owned();
    let ill: Vec<String> = ill.map(|service| format!("{} ({})", service.service, first(&service.detail))).collect();
    (!ill.is_empty()).then(|| ill.join(", "))
}
