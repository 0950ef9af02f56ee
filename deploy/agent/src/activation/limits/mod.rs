//! How long each phase of an activation may take.
//!
//! Everything that a phase waits for has a limit of its own: health checks, tasks, starts and stops of
//! units. Here is the sum of them, with room, for whatever none of them covers: a host whose `systemctl`
//! does not answer, a disk that does not, a fault of ours. A phase that takes longer has its process
//! ended, so the host's lock falls; systemd then has the next process revert or finish.
//!
//! A phase that starts or stops a unit for which systemd waits without end has no limit either.

mod timeouts;

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cairn_closure::{Health, HostUnit, Manifest, ServiceName, System};

use super::machine::Phase;
use super::plan::Plan;
use timeouts::Timeouts;

/// For what a phase does besides waiting, on a slow and busy host.
const ROOM: Duration = Duration::from_secs(300);

/// The system of a host without a generation.
static NOTHING: System =
    System { etc: BTreeMap::new(), sysctl: BTreeMap::new(), users: BTreeMap::new(), units: BTreeMap::new() };

/// What an activation may wait for.
pub struct Waits<'a> {
    pub plan: &'a Plan,
    /// The time for the confirmation.
    pub confirm_within: Duration,
    /// Units of the host in whose place the generation comes.
    pub adopted: Vec<String>,
    /// The text of a unit of either closure.
    pub unit_text: &'a dyn Fn(&str) -> Option<String>,
    /// What systemd says of units of the host.
    of_host: OnceCell<BTreeMap<String, Timeouts>>,
}

/// A sum of limits; `None` if one of them is without end.
type Wait = Option<Duration>;

fn sum(waits: impl IntoIterator<Item = Wait>) -> Wait {
    waits.into_iter().try_fold(Duration::ZERO, |sum, wait| sum.checked_add(wait?))
}

impl<'a> Waits<'a> {
    pub fn new(
        plan: &'a Plan,
        confirm_within: Duration,
        adopted: Vec<String>,
        unit_text: &'a dyn Fn(&str) -> Option<String>,
    ) -> Self {
        Self { plan, confirm_within, adopted, unit_text, of_host: OnceCell::new() }
    }

    /// The limit of a phase.
    pub fn limit(&self, phase: Phase) -> Wait {
        let plan = self.plan;
        let old = plan.old.as_ref();
        let system = |manifest: Option<&'a Manifest>| manifest.map_or(&NOTHING, |manifest| &manifest.system);
        let waits = match phase {
            Phase::Start => sum([
                self.settling(&plan.new.system, system(old)),
                self.stops(&self.adopted),
                self.sockets(),
                self.groups(),
                healthy(&plan.new),
            ]),
            Phase::Recheck => {
                let checks = || plan.checks.iter().map(|(_, unit)| unit);
                sum([healthy(&plan.new), self.starts(checks()), self.stops(checks())])
            }
            Phase::Confirm => Some(self.confirm_within),
            Phase::Drain => sum([
                old.map_or(Some(Duration::ZERO), drains),
                self.stops(plan.retired.iter().chain(&plan.retired_sockets)),
                self.stops(only_in(system(old), &plan.new.system)),
                self.starts(&self.adopted),
            ]),
            Phase::Revert => sum([
                self.settling(system(old), &plan.new.system),
                self.stops(only_in(&plan.new.system, system(old))),
                self.groups(),
                self.starts(plan.retired.iter().chain(&plan.retired_sockets)),
                self.starts(&self.adopted),
                old.map_or(Some(Duration::ZERO), |old| sum([healthy(old), drains(old)])),
                drains(&plan.new),
            ]),
            _ => Some(Duration::ZERO),
        };
        sum([Some(ROOM), waits])
    }

    /// Units of the host itself, brought from `there` to `here`, and those that a changed file reloads or
    /// restarts.
    fn settling(&self, here: &System, there: &System) -> Wait {
        let differing = here.units.iter().filter(|(name, unit)| there.units.get(*name) != Some(unit));
        let differing: Vec<&HostUnit> = differing.map(|(name, _)| name).collect();
        let (reload, restart) = here.listeners(there);
        let all = || differing.iter().copied().chain(reload.union(&restart));
        sum([self.starts(all()), self.stops(all())])
    }

    /// Sockets wait for what answers behind them, as long as the host boots.
    fn sockets(&self) -> Wait {
        if self.plan.new_sockets.is_empty() { Some(Duration::ZERO) } else { healthy(&self.plan.new) }
    }

    /// Everything of the services that starts or, in its place, stops.
    fn groups(&self) -> Wait {
        sum(self.plan.starts.iter().flatten().map(|start| {
            sum([
                self.starts(&start.units),
                self.stops(&start.units),
                self.stops(&start.stops),
                self.starts(&start.stops),
                self.starts(&start.task),
                self.stops(&start.task),
            ])
        }))
    }

    fn starts<T: AsRef<str>>(&self, units: impl IntoIterator<Item = T>) -> Wait {
        sum(units.into_iter().map(|unit| self.timeouts(unit.as_ref()).start))
    }

    fn stops<T: AsRef<str>>(&self, units: impl IntoIterator<Item = T>) -> Wait {
        sum(units.into_iter().map(|unit| self.timeouts(unit.as_ref()).stop))
    }

    fn timeouts(&self, unit: &str) -> Timeouts {
        if let Some(text) = (self.unit_text)(unit) {
            return Timeouts::of_unit(&text);
        }
        let of_host = self.of_host.get_or_init(|| Timeouts::of_host(&self.of_the_host()));
        of_host.get(unit).copied().unwrap_or_default()
    }

    /// Units that neither closure brings.
    fn of_the_host(&self) -> Vec<String> {
        let told = |manifest: &Manifest| {
            let files = manifest.system.etc.values();
            files.flat_map(|file| file.reload.iter().chain(&file.restart)).map(ToString::to_string).collect::<Vec<_>>()
        };
        let manifests = self.plan.old.iter().chain([&self.plan.new]);
        let all: BTreeSet<String> = manifests.flat_map(told).chain(self.adopted.iter().cloned()).collect();
        all.into_iter().filter(|unit| (self.unit_text)(unit).is_none()).collect()
    }
}

fn only_in<'s>(one: &'s System, other: &'s System) -> impl Iterator<Item = &'s HostUnit> {
    one.units.keys().filter(|unit| !other.units.contains_key(*unit))
}

fn healthy(manifest: &Manifest) -> Wait {
    sum(manifest.services.keys().map(|name| Some(health(manifest, name))))
}

fn drains(manifest: &Manifest) -> Wait {
    Some(manifest.services.values().map(|service| service.drain.duration()).max().unwrap_or_default())
}

fn health(manifest: &Manifest, name: &ServiceName) -> Duration {
    let health: Option<&Health> = manifest.services.get(name).and_then(|service| service.health.as_ref());
    health.map_or(Duration::from_secs(30), |health| health.timeout.duration())
}

#[cfg(test)]
mod tests;
