//! What was tried on this host: one entry for each activation whose record is still there.

use std::collections::BTreeMap;

use cairn_protocol::{Attempt, Generation, Goal, Outcome};
use cairn_store::Store;

use crate::activation::record::{self, Record};
use crate::error::Result;
use crate::generations;
use crate::paths::Paths;

/// The newest first. A record that does not read is passed over.
pub fn list(store: &Store, limit: u32) -> Result<Vec<Attempt>> {
    let paths = Paths::new(store.root());
    let known: BTreeMap<u64, Generation> = generations::list(store)?.into_iter().map(|g| (g.number, g)).collect();
    let records = record::ids(&paths).into_iter().filter_map(|id| Record::load(&paths, &id).ok());
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    Ok(records.take(limit).map(|record| attempt(record, &known)).collect())
}

fn attempt(record: Record, known: &BTreeMap<u64, Generation>) -> Attempt {
    let to = match (record.request.goal, &record.outcome) {
        (Goal::Rollback { to }, _) => Some(to),
        (Goal::Switch, Some(Outcome::Committed { generation, .. })) => Some(*generation),
        (Goal::Switch, _) => None,
    };
    let of_generation = || to.and_then(|to| known.get(&to)).and_then(|generation| generation.source.clone());
    Attempt {
        ending: record.ending(),
        source: record.request.source.clone().or_else(of_generation),
        id: record.id,
        began: record.began,
        operator: record.request.operator,
        reason: record.request.reason,
        goal: record.request.goal,
        closure: record.request.closure,
        from: record.before.map(|before| before.generation),
        to,
        problem: record.problem.map(|problem| problem.message),
        changes: record.changes,
    }
}
