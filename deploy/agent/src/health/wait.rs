//! Asks until every replica is healthy, or says which is not, with the evidence.

use std::thread;
use std::time::{Duration, Instant};

use cairn_closure::UnitName;

use super::{Check, Proof, connect, http};
use crate::error::{Fault, Result};
use crate::systemd::{self, UnitState};

/// How many log lines are kept as evidence.
const LOG_LINES: u32 = 20;
/// A service without a health check must stay up this long.
const STAYS_UP: Duration = Duration::from_secs(1);
/// How long it may take to open its addresses: as long as a health check may take.
const OPENS: Duration = Duration::from_secs(30);
/// A unit that systemd restarted this often does not come up by waiting.
const RESTARTS: u32 = 2;
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// Between two looks at the units themselves.
const LOOK: Duration = Duration::from_millis(300);

struct Pending<'a> {
    check: &'a Check,
    last: Option<String>,
    /// Restarts when we began, so that older ones do not count.
    restarts: Option<u32>,
}

/// Waits for all; `healthy` is told of each as it comes up.
pub fn wait(checks: &[Check], mut healthy: impl FnMut(&Check, &str)) -> Result<()> {
    let began = Instant::now();
    let mut pending: Vec<Pending<'_>> =
        checks.iter().map(|check| Pending { check, last: None, restarts: None }).collect();
    let mut pause = FIRST_PAUSE;
    let mut looked: Option<Instant> = None;
    loop {
        if looked.is_none_or(|at| at.elapsed() >= LOOK) {
            look(&mut pending)?;
            looked = Some(Instant::now());
        }
        let mut still = Vec::new();
        for mut one in pending {
            match question(one.check, began) {
                Ok(answer) => healthy(one.check, &answer),
                Err(answer) => {
                    one.last = Some(answer);
                    still.push(one);
                }
            }
        }
        pending = still;
        let Some(slowest) = pending.iter().map(|one| interval(one.check)).max() else {
            return Ok(());
        };
        if let Some(late) = pending.iter().find(|one| began.elapsed() >= limit(one.check)) {
            return Err(unhealthy(late, began.elapsed()).into());
        }
        thread::sleep(pause);
        pause = (pause * 2).min(slowest);
    }
}

fn interval(check: &Check) -> Duration {
    match &check.proof {
        Proof::Answer(_, health) => health.interval.duration().max(FIRST_PAUSE),
        Proof::Open(_) => Duration::from_millis(100),
    }
}

fn limit(check: &Check) -> Duration {
    match &check.proof {
        Proof::Answer(_, health) => health.timeout.duration(),
        Proof::Open(_) => OPENS,
    }
}

/// The healthy answer, or the other one.
fn question(check: &Check, began: Instant) -> std::result::Result<String, String> {
    match &check.proof {
        Proof::Answer(endpoint, health) => match http::get(endpoint, &health.path) {
            Ok(answer) if answer.is_healthy() => Ok(answer.to_string()),
            Ok(answer) => Err(answer.to_string()),
            Err(e) => Err(e.to_string()),
        },
        // `look` has failed it already if it did not stay up.
        Proof::Open(_) if began.elapsed() < STAYS_UP => Err("not up long enough yet".to_owned()),
        Proof::Open(addresses) => connect(addresses).map(|()| "active".to_owned()).map_err(|e| e.to_string()),
    }
}

/// Ends the wait early for units that will not come up.
fn look(pending: &mut [Pending<'_>]) -> Result<()> {
    let units: Vec<UnitName> = pending.iter().map(|one| one.check.unit.clone()).collect();
    let states = systemd::states(&units)?;
    for one in pending {
        let Some(state) = states.get(&one.check.unit) else {
            continue;
        };
        let began_with = *one.restarts.get_or_insert(state.restarts);
        if is_hopeless(state, began_with, matches!(one.check.proof, Proof::Open(_))) {
            return Err(ended(one.check, state, one.last.clone()).into());
        }
    }
    Ok(())
}

fn is_hopeless(state: &UnitState, restarts_before: u32, without_check: bool) -> bool {
    let restarts = state.restarts.saturating_sub(restarts_before);
    matches!(state.active.as_str(), "failed" | "inactive") || restarts >= RESTARTS || (without_check && restarts > 0)
}

fn ended(check: &Check, state: &UnitState, last: Option<String>) -> Fault {
    Fault {
        message: format!(
            "service {} does not stay up: {} is {} ({}), restarted {} times",
            check.service,
            check.unit,
            state.describe(),
            state.result,
            state.restarts
        ),
        advice: Some("the unit's last lines say why it ends".to_owned()),
        service: Some(check.service.to_string()),
        unit: Some(check.unit.to_string()),
        log: systemd::last_lines(check.unit.as_str(), LOG_LINES),
        health: last,
    }
}

fn unhealthy(one: &Pending<'_>, after: Duration) -> Fault {
    let check = one.check;
    let (lacks, advice) = match &check.proof {
        Proof::Answer(_, health) => (
            format!("gave no good answer to GET {}", health.path),
            "look at the last answer and the unit's last lines; if it only needs longer, raise health.timeout",
        ),
        Proof::Open(_) => (
            "did not open the addresses that `listen.own` names".to_owned(),
            "look at the last answer and the unit's last lines; if it only needs longer, give it a `health` with a timeout",
        ),
    };
    Fault {
        message: format!(
            "service {} did not become healthy: {} {lacks} within {:.1} s",
            check.service,
            check.unit,
            after.as_secs_f64()
        ),
        advice: Some(advice.to_owned()),
        service: Some(check.service.to_string()),
        unit: Some(check.unit.to_string()),
        log: systemd::last_lines(check.unit.as_str(), LOG_LINES),
        health: one.last.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(active: &str, restarts: u32) -> UnitState {
        UnitState { active: active.to_owned(), restarts, ..UnitState::default() }
    }

    #[test]
    fn waiting_ends_early_only_for_units_that_will_not_come_up() {
        for (active, restarts, before, without_check, hopeless) in [
            ("active", 0, 0, false, false),
            ("activating", 1, 0, false, false),
            ("activating", 2, 0, false, true),
            ("active", 7, 6, false, false),
            ("active", 1, 0, true, true),
            ("failed", 0, 0, false, true),
            ("inactive", 0, 0, true, true),
        ] {
            assert_eq!(
                is_hopeless(&state(active, restarts), before, without_check),
                hopeless,
                "{active} {restarts} {before} {without_check}"
            );
        }
    }
}
