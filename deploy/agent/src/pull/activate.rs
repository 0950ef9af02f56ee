//! Makes live what a pointer names, and records how that ended.

use cairn_cache::{Cache, Pointer};
use cairn_protocol::{ActivationEvent, ActivationRequest, Ending, Goal, Outcome};
use cairn_store::Store;

use super::state::State;
use crate::activation::{self, record};
use crate::error::{AgentError, Fault, Result};
use crate::paths::Paths;

/// Activates the pointer's closure and waits for the end.
pub fn make_live(paths: &Paths, store: &Store, cache: &Cache, pointer: &Pointer, state: &mut State) -> Result<()> {
    let by = format!("published by {}", pointer.operator);
    let request = ActivationRequest {
        closure: pointer.closure.clone(),
        goal: Goal::Switch,
        operator: format!("pull from {}", cache.shown()),
        reason: Some(pointer.message.as_ref().map_or(by.clone(), |message| format!("{by}: {message}"))),
        // There is nobody to confirm.
        confirm_within: 0,
        source: pointer.source.clone(),
        expected: None,
        retention: Some(pointer.retention),
    };
    let started = match activation::start(store, &request) {
        Ok(started) => started,
        // Whoever holds the host is let be; the timer comes again.
        Err(locked @ AgentError::Locked(_)) => return Err(locked),
        Err(error) => {
            state.attempt(pointer).ended(Ending::Refused, None, record::seconds());
            return Err(error);
        }
    };
    if started.unchanged.is_some() {
        return Ok(());
    }
    state.attempt(pointer).activation = Some(started.id.clone());
    state.save(paths)?;
    let outcome = follow(&started.id)?;
    let (ending, message) = match &outcome {
        Outcome::Committed { generation, .. } | Outcome::Unchanged { generation } => {
            crate::output::note(&format!("generation {generation} is live"));
            state.attempt = None;
            return Ok(());
        }
        Outcome::Refused { problem } => (Ending::Refused, &problem.message),
        Outcome::Reverted { problem, .. } => (Ending::Reverted, &problem.message),
        Outcome::Broken { problem } => (Ending::Broken, &problem.message),
    };
    state.attempt(pointer).ended(ending, Some(message.clone()), record::seconds());
    Err(Fault::new(format!("pointer {} ({}) was {}: {message}", pointer.sequence, pointer.closure, ending.word()))
        .into())
}

/// To the end; systemd gives it one, whatever happens.
fn follow(id: &cairn_protocol::ActivationId) -> Result<Outcome> {
    for line in activation::events(id)? {
        match line?.event {
            ActivationEvent::Step { step } => crate::output::note(step.text()),
            ActivationEvent::Note { text } => crate::output::note(&text),
            ActivationEvent::Problem { problem } => {
                crate::output::warn(&problem.message);
                problem.log.iter().for_each(|line| crate::output::warn(&format!("  {line}")));
            }
            ActivationEvent::Ended { outcome } => return Ok(outcome),
            _ => {}
        }
    }
    Err(Fault::new(format!("the events of activation {id} end without an outcome")).into())
}
