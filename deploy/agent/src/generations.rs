//! The generations of this host: the store's profile, with who committed each, why, and from what.

use std::time::UNIX_EPOCH;

use cairn_closure::layout::PROFILE_NAME;
use cairn_protocol::{Changes, Ending, Generation, RollbackTarget, Source};
use cairn_store::Store;
use serde::{Deserialize, Serialize};

use crate::activation::record::Record;
use crate::error::{AgentError, Result};
use crate::paths::Paths;
use crate::{files, generator};

#[cfg(test)]
#[path = "fixtures/generations.rs"]
mod fixtures;

/// `N.json`. What is new in it reads as absent from the notes of earlier agents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    operator: String,
    reason: Option<String>,
    activation: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<Source>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    changes: Option<Changes>,
    /// How the activation ended, once it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ending: Option<Ending>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// Written before the commit, so that every generation has one, and again at the end.
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
            source: record.request.source.clone(),
            changes: record.changes.clone(),
            ending: record.outcome.is_some().then(|| record.ending()),
            problem: record.problem.as_ref().map(|problem| problem.message.clone()),
        },
    )
}

/// Forgets a generation with all that was noted of it.
pub fn delete(store: &Store, paths: &Paths, number: u64) -> Result<()> {
    store.profile(PROFILE_NAME)?.delete(number)?;
    files::remove(&paths.generation_note(number))?;
    files::remove(&paths.generation_pin(number))
}

/// A generation stays as long as it has a pin: a file, which holds who pinned it.
pub fn pin(store: &Store, number: u64, pinned: bool, operator: &str) -> Result<Vec<Generation>> {
    let paths = Paths::new(store.root());
    if !list(store)?.iter().any(|generation| generation.number == number) {
        return Err(AgentError::NoSuchGeneration(number));
    }
    let path = paths.generation_pin(number);
    if !pinned {
        files::remove(&path)?;
    } else if !path.exists() {
        files::make_directories(&paths.generations())?;
        files::replace(&path, format!("{operator}\n").as_bytes())?;
    }
    list(store)
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
            delete(store, &paths, number)?;
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
                pinned: paths.generation_pin(generation.number).exists(),
                operator: note.as_ref().map(|note| note.operator.clone()),
                reason: note.as_ref().and_then(|note| note.reason.clone()),
                source: note.as_ref().and_then(|note| note.source.clone()),
                changes: note.as_ref().and_then(|note| note.changes.clone()),
                ending: note.as_ref().and_then(|note| note.ending),
                problem: note.and_then(|note| note.problem),
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

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use cairn_formats::StorePath;

    use super::*;

    pub fn generations(numbers: &[u64], current: u64) -> Vec<Generation> {
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
                source: None,
                changes: None,
                ending: None,
                problem: None,
                pinned: false,
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
    fn notes_of_earlier_agents_read() {
        let note = r#"{"operator": "a@desk", "reason": null, "activation": "1795409227776-63"}"#;
        let note: Note = serde_json::from_str(note).unwrap();
        assert_eq!((note.source, note.changes, note.ending), (None, None, None));
    }
}
