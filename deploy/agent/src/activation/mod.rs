//! Makes a closure live, or goes back: the whole of it or nothing.
//!
//! [`start`] locks the host, records what is wanted and which generation to go back to, and has
//! systemd run [`run`] in a unit of its own, away from the SSH connection. That process goes
//! through the phases of [`machine`]:
//!
//! 1. preflight: nothing is touched before everything that can be known is known;
//! 2. stage: units are linked in the runtime directory only, so a power loss leaves the old;
//! 3. start: new instances beside the old, asked for their health;
//! 4. flip: one rename for each service moves its traffic; asked again by the way traffic takes;
//! 5. confirm: over a fresh SSH connection, else the host goes back by itself;
//! 6. commit: one rename of the profile's link, and nothing else decides;
//! 7. drain: old instances finish their requests and end, the generator's output takes over.
//!
//! What a phase does stands in [`course`], in terms of [`host::Host`]. If the process dies,
//! systemd runs [`revert`], which goes on from the record: back before the rename, forward after
//! it. Clients follow the event file ([`events`]).

pub mod course;
pub mod drive;
pub mod effects;
pub mod follow;
pub mod host;
mod limits;
mod lock;
pub mod machine;
pub mod plan;
pub(crate) mod preflight;
pub mod record;
mod reserve;
mod resume;
mod watchdog;

#[cfg(test)]
mod model;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use cairn_closure::layout::{AGENT_PROGRAM, PROFILE_NAME};
use cairn_closure::{Change, Manifest};
use cairn_formats::StorePath;
use cairn_protocol::{ActivationEvent, ActivationId, ActivationRequest, Changes, Goal, Outcome};
use cairn_store::Store;

pub use self::lock::{GLANCE, Holder, Lock};
pub use resume::settle_after_boot;

use self::drive::{Drive, Watch};
use self::effects::RealHost;
use self::follow::Follower;
use self::limits::Waits;
use self::machine::Phase;
use self::plan::Plan;
use self::record::{Before, Journal, Record};
use self::resume::{resume, settle_earlier};
use self::watchdog::Watchdog;
use crate::error::{AgentError, Fault, Result};
use crate::paths::Paths;
use crate::{adopted, boot, collect, files, manifests, systemd, traces};

/// How long the detached process waits for the one that started it to let go of the lock.
const HANDOVER: Duration = Duration::from_secs(10);
/// Going back may have to wait for services to drain and stop.
const REVERT_SECONDS: u32 = 900;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    pub id: ActivationId,
    /// Where it keeps its record and events.
    pub dir: PathBuf,
    /// Set when this generation is what was asked for already: nothing was started, and there is
    /// nothing to follow.
    pub unchanged: Option<u64>,
}

/// Records the activation and has systemd run it. Returns as soon as it runs.
pub fn start(store: &Store, request: &ActivationRequest) -> Result<Started> {
    let paths = Paths::new(store.root());
    let mut holder = Holder::now(&request.operator, &purpose(request.goal));
    holder.reason.clone_from(&request.reason);
    let lock = lock(store, &paths, &holder)?;

    let id = record::new_id(&paths)?;
    let profile = store.profile(PROFILE_NAME)?;
    let current = profile.current()?;
    if let Some(expected) = request.expected {
        let live = current.as_ref().map(|current| current.number);
        if live != expected.generation {
            return Err(AgentError::MovedOn { planned: expected.generation, live });
        }
    }
    if let Some(current) = &current {
        let live = match request.goal {
            Goal::Switch => current.path == request.closure,
            Goal::Rollback { to } => current.number == to,
        };
        if live {
            let dir = paths.activation(&id);
            let unchanged = Some(current.number);
            return Ok(Started { id, dir, unchanged });
        }
    }
    let manifest = manifests::of(&paths, &request.closure)?;
    preflight::can_run(&paths, &manifest)?;

    let changes = match request.goal {
        Goal::Switch => Some(changes(&paths, current.as_ref().map(|current| &current.path), &manifest)),
        Goal::Rollback { .. } => None,
    };
    let last_number = profile.generations()?.iter().map(|g| g.number).max();
    let record = Record {
        version: Record::VERSION,
        id: id.clone(),
        request: request.clone(),
        before: current.map(|current| Before { generation: current.number, closure: current.path }),
        last_number: last_number.unwrap_or(0),
        phase: Phase::Queued,
        boot_id: record::boot_id(&paths),
        began: record::seconds(),
        changes,
        problem: None,
        outcome: None,
    };
    let dir = launch(store, &paths, record, &manifest)?;
    drop(lock);
    Ok(Started { id, dir, unchanged: None })
}

/// For the records. That the live closure does not read is told by the activation itself.
fn changes(paths: &Paths, live: Option<&StorePath>, new: &Manifest) -> Changes {
    let old = live.and_then(|live| manifests::of(paths, live).ok());
    let mut changes = Changes::default();
    for (name, change) in new.changes_from(old.as_ref()) {
        let list = match change {
            Change::New => &mut changes.new,
            Change::Reload => &mut changes.reloaded,
            Change::ReplaceBeside | Change::Restart | Change::Replaced => &mut changes.replaced,
            Change::Removed => &mut changes.removed,
            Change::Unchanged | Change::Unknown => continue,
        };
        list.push(name.to_string());
    }
    for (what, change) in new.system_changes_from(old.as_ref()) {
        match change {
            Change::New => changes.new.push(what),
            Change::Removed => changes.removed.push(what),
            _ => changes.replaced.push(what),
        }
    }
    changes
}

/// The host's lock, for work that is no activation, when nothing is under way.
pub fn lock(store: &Store, paths: &Paths, holder: &Holder) -> Result<Lock> {
    boot::await_end(paths)?;
    let lock = Lock::take(paths, holder, GLANCE)?;
    settle_earlier(store, paths)?;
    Ok(lock)
}

fn purpose(goal: Goal) -> String {
    match goal {
        Goal::Switch => "a switch".to_owned(),
        Goal::Rollback { to } => format!("a rollback to generation {to}"),
    }
}

/// Writes the record and starts the detached process.
fn launch(store: &Store, paths: &Paths, record: Record, manifest: &Manifest) -> Result<PathBuf> {
    let id = &record.id;
    let closure = record.request.closure.clone();
    let dir = paths.activation(id);
    let begin = || -> Result<()> {
        files::make_directories(&dir)?;
        reserve::hold(paths, id)?;
        // Until the profile names it, nothing else keeps the closure from being collected.
        store.set_root(&root_name(id), &closure)?;
        record.save(paths)?;
        let previous = record.before.as_ref().map(|before| before.generation);
        Journal::of(paths, id).write(ActivationEvent::Started { id: id.clone(), closure: closure.clone(), previous })
    };
    if let Err(error) = begin() {
        // Nothing was begun: nothing stays of it.
        store.remove_root(&root_name(id))?;
        traces::remove(&dir)?;
        return Err(error);
    }
    let agent = format!("{}/{AGENT_PROGRAM}", manifest.agent);
    let spawned = spawn(id, &agent, &purpose(record.request.goal));
    if let Err(error) = spawned {
        // Nobody will work at it: it must not look as if it were under way.
        drive::end(paths, &mut drive::pick_up(record, true, false), None)?;
        return Err(error);
    }
    Ok(dir)
}

fn spawn(id: &ActivationId, agent: &str, purpose: &str) -> Result<()> {
    systemd::Transient {
        unit: &Record::unit(id),
        description: &format!("Cairn: {purpose}"),
        command: &[agent, "activate", id.as_str()],
        after_end: &[agent, "revert", id.as_str()],
        end_within_seconds: REVERT_SECONDS,
    }
    .spawn()
}

/// The root that keeps an activation's closure; [`collect`] removes those that a reboot left.
pub(crate) fn root_name(id: &ActivationId) -> String {
    format!("cairn-activation-{id}")
}

/// The detached process: from the first phase to the end. An error if the closure is not live
/// then, so that the unit counts as failed.
pub fn run(id: &ActivationId) -> Result<()> {
    let paths = Paths::host();
    let store = Store::open(paths.root())?;
    let record = Record::load(&paths, id)?;
    // Started again by systemd, and somebody has brought it to its end already.
    if record.phase.has_ended() {
        return drive::wind_up_anew(&paths, &record);
    }
    let lock = Lock::take(&paths, &holder_of(&record), HANDOVER)?;
    let record = if record.phase == Phase::Queued {
        drive_to_the_end(&store, &paths, record)?
    } else {
        resume(&store, &paths, record)?
    };
    drop(lock);
    // After the lock: a second switch need not wait for the collector.
    if record.phase == Phase::Committed {
        collect::after_commit(&store, &paths, &record.request);
    }
    match record.outcome.as_ref().and_then(Outcome::problem) {
        Some(problem) => Err(Fault::new(problem.message.clone()).into()),
        None => Ok(()),
    }
}

/// systemd runs this when the process of [`run`] has ended, however: brings an activation that
/// is not at its end there. Does nothing for one that is.
pub fn revert(id: &ActivationId) -> Result<()> {
    let paths = Paths::host();
    let record = Record::load(&paths, id)?;
    if record.phase.has_ended() {
        return drive::wind_up_anew(&paths, &record);
    }
    let store = Store::open(paths.root())?;
    let _lock = Lock::take(&paths, &holder_of(&record), HANDOVER)?;
    // It may have ended while we waited.
    let record = Record::load(&paths, id)?;
    if record.phase.has_ended() {
        return drive::wind_up_anew(&paths, &record);
    }
    resume(&store, &paths, record).map(drop)
}

fn holder_of(record: &Record) -> Holder {
    let mut holder = Holder::now(&record.request.operator, &purpose(record.request.goal));
    holder.reason.clone_from(&record.request.reason);
    holder.since = record.began;
    holder.activation = Some(record.id.clone());
    holder
}

fn drive_to_the_end(store: &Store, paths: &Paths, record: Record) -> Result<Record> {
    let id = record.id.clone();
    let old = match &record.before {
        Some(before) => Some(manifests::of(paths, &before.closure)?),
        None => None,
    };
    let plan = Plan::between(old, manifests::of(paths, &record.request.closure)?);
    let plan = match record.request.goal {
        Goal::Switch => plan,
        Goal::Rollback { .. } => plan.without_tasks(),
    };
    let mut host =
        RealHost { store, paths, record: record.clone(), journal: Journal::of(paths, &id), owners: plan.owners() };
    let watchdog = Watchdog::start(paths, watchdog::end_process);
    let confirm_within = Duration::from_secs(record.request.confirm_within.into());
    let closures = [Some(record.request.closure.clone()), record.before.as_ref().map(|before| before.closure.clone())];
    let unit_text = |unit: &str| {
        let mut texts = closures.iter().flatten().map(|closure| paths.store_path(closure).join("units").join(unit));
        texts.find_map(|path| fs::read_to_string(path).ok())
    };
    // A list that cannot be read fails the phase that needs it, and keeps no revert from beginning.
    let adopted = adopted::units::list(paths).unwrap_or_default().into_iter().map(|adopted| adopted.unit).collect();
    let waits = Waits::new(&plan, confirm_within, adopted, &unit_text);
    Drive {
        paths,
        record,
        plan: &plan,
        host: &mut host,
        watch: Some(Watch { watchdog: &watchdog, limit: &|phase| waits.limit(phase) }),
        generation: &|| {
            let profile = store.profile(PROFILE_NAME).ok()?;
            profile.current().ok()?.map(|g| g.number)
        },
    }
    .to_the_end()
}

/// A fresh connection works: the trial stays.
pub fn confirm(id: &ActivationId, by: &str) -> Result<()> {
    answer(&Paths::host(), id, "confirm", "confirmed", by)
}

/// Gives up an activation that waits for its confirmation.
pub fn give_up(id: &ActivationId) -> Result<()> {
    answer(&Paths::host(), id, "cancel", "given up", "")
}

fn answer(paths: &Paths, id: &ActivationId, file: &str, wanted: &'static str, by: &str) -> Result<()> {
    let record = Record::load(paths, id)?;
    if record.phase != Phase::Confirm {
        return Err(AgentError::WrongState { id: id.clone(), is: record.phase.word(), wanted });
    }
    files::replace(&paths.activation(id).join(file), by.as_bytes())
}

/// The events of an activation from the first, waiting for those to come, up to the last.
pub fn events(id: &ActivationId) -> Result<Follower> {
    Follower::open(&Paths::host(), id)
}

/// The activation that is under way or waits for its confirmation.
pub fn under_way() -> Option<ActivationId> {
    let paths = Paths::host();
    let boot_id = record::boot_id(&paths);
    record::newest(&paths)
        .filter(|record| !record.phase.has_ended() && record.boot_id == boot_id)
        .map(|record| record.id)
}
