//! The generations of this host: the store's profile, with who committed each and why.

use std::time::UNIX_EPOCH;

use cairn_closure::layout::PROFILE_NAME;
use cairn_protocol::{Generation, RollbackTarget};
use cairn_store::Store;
use serde::{Deserialize, Serialize};

use crate::activation::record::Record;
use crate::error::{AgentError, Result};
use crate::paths::Paths;
use crate::{files, generator};

/// How many generations are kept, the current one among them.
pub const KEPT: u32 = 10;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    operator: String,
    reason: Option<String>,
    activation: String,
}

/// Written before the commit, so that every generation has one.
pub fn write_note(paths: &Paths, number: u64, record: &Record) -> Result<()> {
    let path = paths.generation_note(number);
    if let Some(parent) = path.parent() {
        files::make_directories(parent)?;
    }
    files::replace_json(
        &path,
        &Note {
            operator: record.request.operator.clone(),
            reason: record.request.reason.clone(),
            activation: record.id.to_string(),
        },
    )
}

/// Removes a generation that the activation added but never switched to; nobody may go back to
/// what was never live.
pub fn forget_uncommitted(store: &Store, record: &Record) -> Result<()> {
    let paths = Paths::new(store.root());
    let profile = store.profile(PROFILE_NAME)?;
    let current = profile.current()?.map(|generation| generation.number);
    for generation in profile.generations()? {
        let number = generation.number;
        if number > record.last_number && Some(number) != current {
            profile.delete(number)?;
            files::remove(&paths.generation_note(number))?;
        }
    }
    if current.is_none() {
        generator::uninstall(&paths)?;
    }
    Ok(())
}

/// Oldest first.
pub fn list(store: &Store) -> Result<Vec<Generation>> {
    let paths = Paths::new(store.root());
    let profile = store.profile(PROFILE_NAME)?;
    let current = profile.current()?.map(|generation| generation.number);
    let mut found = profile.generations()?;
    found.sort_by_key(|generation| generation.number);
    Ok(found
        .into_iter()
        .map(|generation| {
            let note: Option<Note> = files::read_json(&paths.generation_note(generation.number)).ok().flatten();
            let created = generation.created.duration_since(UNIX_EPOCH);
            Generation {
                number: generation.number,
                closure: generation.path,
                created: created.map_or(0, |d| d.as_secs().try_into().unwrap_or(i64::MAX)),
                current: Some(generation.number) == current,
                operator: note.as_ref().map(|note| note.operator.clone()),
                reason: note.and_then(|note| note.reason),
            }
        })
        .collect())
}

pub fn current(store: &Store) -> Result<Option<Generation>> {
    Ok(list(store)?.into_iter().find(|generation| generation.current))
}

/// The generation that a rollback goes to.
pub fn rollback_target(store: &Store, to: RollbackTarget) -> Result<Generation> {
    choose(list(store)?, to)
}

fn choose(generations: Vec<Generation>, to: RollbackTarget) -> Result<Generation> {
    match to {
        RollbackTarget::Number(number) => generations
            .into_iter()
            .find(|generation| generation.number == number)
            .ok_or(AgentError::NoSuchGeneration(number)),
        RollbackTarget::Previous => {
            let current = generations.iter().find(|g| g.current).map(|g| g.number);
            generations
                .into_iter()
                .filter(|generation| Some(generation.number) < current)
                .max_by_key(|generation| generation.number)
                .ok_or(AgentError::NoEarlierGeneration)
        }
    }
}

/// The generations to delete so that `keep` are left: never the current one, and never one above
/// it, since those are what a person rolled back from a moment ago.
pub fn superfluous(generations: &[Generation], keep: u32) -> Vec<u64> {
    let current = generations.iter().find(|g| g.current).map(|g| g.number);
    let mut older: Vec<u64> = generations
        .iter()
        .map(|generation| generation.number)
        .filter(|number| current.is_some_and(|current| *number < current))
        .collect();
    older.sort_unstable();
    let kept_anyway = generations.len() - older.len();
    let room = usize::try_from(keep).unwrap_or(usize::MAX).saturating_sub(kept_anyway);
    older.truncate(older.len().saturating_sub(room));
    older
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use cairn_formats::StorePath;

    use super::*;

    fn generations(numbers: &[u64], current: u64) -> Vec<Generation> {
        let closure = StorePath::parse("0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-host").unwrap();
        numbers
            .iter()
            .map(|number| Generation {
                number: *number,
                closure: closure.clone(),
                created: 0,
                current: *number == current,
                operator: None,
                reason: None,
            })
            .collect()
    }

    #[test]
    fn a_rollback_goes_to_the_one_before_the_current() {
        let all = [1, 2, 4, 5];
        for (current, to, expected) in [
            (5, RollbackTarget::Previous, Ok(4)),
            (4, RollbackTarget::Previous, Ok(2)),
            (2, RollbackTarget::Number(5), Ok(5)),
            (1, RollbackTarget::Previous, Err("no generation before")),
            (5, RollbackTarget::Number(3), Err("no generation 3")),
        ] {
            let got = choose(generations(&all, current), to);
            match expected {
                Ok(number) => assert_eq!(got.unwrap().number, number),
                Err(text) => assert!(got.unwrap_err().to_string().contains(text)),
            }
        }
        assert!(choose(Vec::new(), RollbackTarget::Previous).is_err());
    }

    #[test]
    fn the_current_generation_and_later_ones_are_never_superfluous() {
        for (numbers, current, keep, expected) in [
            (&[1, 2, 3][..], 3, 10, &[][..]),
            (&[1, 2, 3, 4], 4, 2, &[1, 2]),
            (&[1, 2, 3, 4], 4, 0, &[1, 2, 3]),
            (&[1, 2, 3, 4], 1, 1, &[]),
            (&[1, 2, 3, 4], 3, 2, &[1, 2]),
            (&[], 0, 1, &[]),
        ] {
            assert_eq!(superfluous(&generations(numbers, current), keep), expected);
        }
    }
}
