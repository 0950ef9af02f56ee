//! In which portions hosts are worked on, and what a failure among them leads to.
//!
//! Hosts go in waves ([`waves`](crate::waves)), and within a wave each fleet goes by its own
//! [`Rollout`]: all at once, in batches, or some first. [`Run`] carries that out and gives a report
//! for each host, also for those that were never begun. What is done on a host stands behind
//! [`Actions`]; [`OnHosts`] does it.
//!
//! ```text
//! fleet, canary = 1, batch = 2      web-1 │ web-2 web-3 │ web-4      each column begins when the
//! another one, all at once          db-1 db-2                        one before has ended well
//! ```

mod hosts;
mod run;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use cairn_recipe::project::Host;
use cairn_recipe::rollout::{Batch, OnFailure, RolloutEntry, Strategy};

pub use hosts::OnHosts;
pub use run::{Actions, Run};

use crate::FleetError;
use crate::parallel::AT_ONCE;

/// How long canaries are watched unless somebody says otherwise.
const WATCHED: Duration = Duration::from_secs(30);

/// How one fleet is worked on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    /// How many hosts go first.
    canary: usize,
    /// How many go at once after them: all, if nothing is said.
    batch: Option<Batch>,
    /// How long the health of a portion is asked before the next one begins.
    wait: Duration,
    parallel: usize,
    on_failure: OnFailure,
}

impl From<&RolloutEntry> for Rollout {
    fn from(said: &RolloutEntry) -> Self {
        let one = || "1".parse().ok();
        let (canary, batch, wait) = match said.strategy() {
            None | Some(Strategy::All) => (0, None, Duration::ZERO),
            Some(Strategy::Rolling) => (0, said.batch.or_else(one), said.wait.unwrap_or_default()),
            Some(Strategy::Canary) => (said.canary.map_or(1, usize::from), said.batch, said.wait.unwrap_or(WATCHED)),
        };
        let parallel = said.parallel.map_or(AT_ONCE, usize::from);
        Self { canary, batch, wait, parallel, on_failure: said.on_failure.unwrap_or_default() }
    }
}

impl Rollout {
    /// All at once, whatever becomes of the others.
    const fn of_all(parallel: usize) -> Self {
        Self { canary: 0, batch: None, wait: Duration::ZERO, parallel, on_failure: OnFailure::Continue }
    }

    /// How many of the `left` begin next. `done` of the `total` were worked on; those that could not
    /// be reached say nothing about the others, so that they are no canaries.
    fn portion(&self, total: usize, done: usize, left: usize) -> usize {
        let wanted = match self.canary.checked_sub(done) {
            Some(canaries) if canaries > 0 => canaries,
            _ => self.batch.map_or(left, |batch| batch.of(total)),
        };
        wanted.min(left)
    }
}

/// Hosts that are worked on in the same way: those of one fleet, or those of none.
#[derive(Debug)]
struct Group {
    rollout: Rollout,
    /// Places in the list of hosts.
    hosts: Vec<usize>,
}

/// `said` is what the command line says, over what the fleets do.
fn groups(hosts: &[Host], said: &RolloutEntry) -> Result<Vec<Group>, FleetError> {
    let mut fleets: BTreeMap<Option<&str>, Vec<usize>> = BTreeMap::new();
    for (at, host) in hosts.iter().enumerate() {
        fleets.entry(host.fleet.as_deref()).or_default().push(at);
    }
    let group = |(fleet, members): (Option<&str>, Vec<usize>)| {
        let entry = |at: usize| hosts[at].definition.rollout.as_ref();
        let first = members[0];
        if let (Some(fleet), Some(other)) = (fleet, members.iter().find(|at| entry(**at) != entry(first))) {
            let [first, second] = [first, *other].map(|at| hosts[at].name.clone());
            return Err(FleetError::Rollouts { fleet: fleet.to_owned(), first, second });
        }
        let said = said.over(entry(first).unwrap_or(&RolloutEntry::default()));
        // What the file says was checked when it was read.
        said.check().map_err(|misplaced| FleetError::Option {
            option: misplaced.key.to_owned(),
            message: misplaced.message,
            help: misplaced.help,
        })?;
        Ok(Group { rollout: Rollout::from(&said), hosts: members })
    };
    fleets.into_iter().map(group).collect()
}
