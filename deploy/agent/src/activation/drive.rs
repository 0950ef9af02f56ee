//! Drives an activation through its phases: record, do, decide, until it has ended.

use std::time::Duration;

use cairn_protocol::{ActivationEvent, Outcome, Problem, Step};

use super::course;
use super::host::Host;
use super::machine::{self, Phase};
use super::plan::Plan;
use super::record::{Journal, Record};
use super::watchdog::Watchdog;
use super::{reserve, root_name};
use crate::error::Result;
use crate::paths::Paths;
use crate::{files, generations, output};

/// What ends the process when a phase takes too long, and when that is.
pub struct Watch<'a> {
    pub watchdog: &'a Watchdog,
    /// `None` for a phase without a limit.
    pub limit: &'a dyn Fn(Phase) -> Option<Duration>,
}

/// The activation on its way.
pub struct Drive<'a, H> {
    pub paths: &'a Paths,
    pub record: Record,
    pub plan: &'a Plan,
    pub host: &'a mut H,
    /// Asks the profile for the current generation's number.
    pub generation: &'a dyn Fn() -> Option<u64>,
    /// `None` for a host that cannot hang.
    pub watch: Option<Watch<'a>>,
}

impl<H: Host> Drive<'_, H> {
    /// From the record's phase to the end.
    pub fn to_the_end(mut self) -> Result<Record> {
        let journal = Journal::of(self.paths, &self.record.id);
        while !self.record.phase.has_ended() {
            let phase = self.record.phase;
            // The second look at health says so itself, in `Host::expect_healthy`.
            if !matches!(phase, Phase::Queued | Phase::Recheck) {
                journal.note(ActivationEvent::Step { step: phase.step() });
            }
            let watched =
                self.watch.as_ref().and_then(|watch| Some(watch.watchdog.watch((watch.limit)(phase)?, &self.record)));
            let performed = course::perform(phase, self.plan, self.host);
            drop(watched);
            let outcome = match performed {
                Ok(()) => machine::Outcome::Done,
                Err(error) => {
                    let problem = error.into_problem(phase.step());
                    journal.note(ActivationEvent::Problem { problem: problem.clone() });
                    // The first is the cause; what goes wrong while going back follows from it.
                    self.record.problem.get_or_insert(problem);
                    machine::Outcome::Failed
                }
            };
            let committed = self.host.is_committed()?;
            self.record.phase = phase.after(outcome, committed);
            if !self.record.phase.has_ended() {
                self.record.save(self.paths)?;
            }
        }
        end(self.paths, &mut self.record, (self.generation)())?;
        Ok(self.record)
    }
}

/// The record as a process goes on with it that finds nobody else at work.
pub fn pick_up(mut record: Record, same_boot: bool, committed: bool) -> Record {
    let (phase, why) = if same_boot {
        (record.phase.resume(committed), "its process ended before its time")
    } else {
        (record.phase.after_reboot(committed), "the host was rebooted")
    };
    let step = record.phase.step();
    let unit = Record::unit(&record.id);
    // What went wrong before the interruption stays the cause.
    record.problem.get_or_insert_with(|| Problem {
        step,
        message: format!("the activation was interrupted while {}: {why}", step.text()),
        advice: Some(format!("`journalctl -u {unit}` on the host has its last words")),
        service: None,
        unit: Some(unit),
        log: Vec::new(),
        health: None,
    });
    record.phase = phase;
    record.outcome = None;
    record
}

/// Writes down how it ended, for the client and for whoever looks later.
pub fn end(paths: &Paths, record: &mut Record, generation: Option<u64>) -> Result<()> {
    let previous = record.before.as_ref().map(|before| before.generation);
    let problem = || {
        record.problem.clone().unwrap_or_else(|| Problem {
            step: Step::Revert,
            message: "the activation ended without saying why".to_owned(),
            advice: None,
            service: None,
            unit: None,
            log: Vec::new(),
            health: None,
        })
    };
    let outcome = match (record.phase, generation) {
        (Phase::Committed, Some(generation)) => Outcome::Committed { generation, previous },
        (Phase::Refused, _) => Outcome::Refused { problem: problem() },
        (Phase::Reverted, _) => Outcome::Reverted { generation: previous, problem: problem() },
        _ => Outcome::Broken { problem: problem() },
    };
    record.outcome = Some(outcome);
    record.save(paths)?;
    wind_up(paths, record)
}

/// What follows the end, if somebody was killed over it.
pub fn wind_up_anew(paths: &Paths, record: &Record) -> Result<()> {
    let rooted = paths.named_root(&root_name(&record.id)).is_symlink();
    if rooted || reserve::is_held(paths, &record.id) { wind_up(paths, record) } else { Ok(()) }
}

/// The root and the reserve go last: as long as they are there, something is left to do.
fn wind_up(paths: &Paths, record: &Record) -> Result<()> {
    let Some(outcome) = &record.outcome else { return Ok(()) };
    if let (Outcome::Committed { generation, .. }, true) = (outcome, record.request.goal.adds_a_generation()) {
        // It is live whether or not its note can say so.
        let note = || generations::write_note(paths, *generation, record);
        if let Err(error) = reserve::write(paths, &record.id, note) {
            output::warn(&format!("cairn-agent: {error}"));
        }
    }
    Journal::of(paths, &record.id).end(outcome)?;
    files::remove(&paths.named_root(&root_name(&record.id)))?;
    reserve::release(paths, &record.id)
}
