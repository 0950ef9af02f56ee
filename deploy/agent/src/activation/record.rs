//! What an activation leaves on disk, below `/nix/var/cairn/activations/ID/`:
//!
//! * `state.json`: the [`Record`], replaced as a whole (and synced) before each phase begins, so
//!   that whoever finds it knows the most that can have happened;
//! * `events.jsonl`: one [`Stamped`] event a line, for clients to follow;
//! * `reserve`: [space](super::reserve) for the two above, until it has ended;
//! * `confirm`, `cancel`: written by other processes, read by the one that activates.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use cairn_formats::StorePath;
use cairn_protocol::{
    ActivationEvent, ActivationId, ActivationRequest, Changes, Ending, Goal, Outcome, Problem, Stamped,
};
use serde::{Deserialize, Serialize};

use super::machine::Phase;
use super::reserve;
use crate::error::{AgentError, Result, file};
use crate::files;
use crate::paths::Paths;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    pub version: u32,
    pub id: ActivationId,
    pub request: ActivationRequest,
    /// The generation to go back to, by name; `None` on a host that runs nothing of ours.
    pub before: Option<Before>,
    /// The highest generation there was: one above it is this activation's own.
    pub last_number: u64,
    pub phase: Phase,
    /// The kernel's id of the boot it ran in.
    pub boot_id: String,
    /// Seconds since 1970.
    pub began: i64,
    /// Of a switch only, for the reason that [`ActivationRequest`] gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
    /// The first thing that went wrong.
    pub problem: Option<Problem>,
    pub outcome: Option<Outcome>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Before {
    pub generation: u64,
    pub closure: StorePath,
}

impl Record {
    pub const VERSION: u32 = 1;

    pub fn load(paths: &Paths, id: &ActivationId) -> Result<Self> {
        files::read_json(&paths.activation(id).join("state.json"))?
            .ok_or_else(|| AgentError::NoSuchActivation(id.clone()))
    }

    pub fn save(&self, paths: &Paths) -> Result<()> {
        let path = paths.activation(&self.id).join("state.json");
        reserve::write(paths, &self.id, || files::replace_json(&path, self))
    }

    /// Whether the profile, at this generation and closure, is what this activation wanted.
    pub fn is_committed_by(&self, current: Option<(u64, &StorePath)>) -> bool {
        let Some((number, closure)) = current else {
            return false;
        };
        match self.request.goal {
            Goal::Switch => number > self.last_number && *closure == self.request.closure,
            Goal::Rollback { to } => number == to,
        }
    }

    /// The generation that it makes live.
    pub const fn number(&self) -> u64 {
        match self.request.goal {
            Goal::Switch => self.last_number + 1,
            Goal::Rollback { to } => to,
        }
    }

    pub fn ending(&self) -> Ending {
        match self.phase {
            Phase::Committed => Ending::Committed,
            Phase::Refused => Ending::Refused,
            Phase::Reverted => Ending::Reverted,
            Phase::Broken => Ending::Broken,
            _ => Ending::UnderWay,
        }
    }

    pub fn unit(id: &ActivationId) -> String {
        format!("cairn-activation-{id}.service")
    }
}

/// The ids of all activations on disk, the newest first: an id begins with the time.
pub fn ids(paths: &Paths) -> Vec<ActivationId> {
    let mut ids: Vec<ActivationId> = fs::read_dir(paths.activations())
        .into_iter()
        .flatten()
        .filter_map(|entry| ActivationId::parse(entry.ok()?.file_name().to_str()?).ok())
        .collect();
    ids.sort_by(|a, b| b.cmp(a));
    ids
}

/// Begins with the time, and sorts behind all others also when the clock was set back: which is the
/// newest must not depend on it.
pub fn new_id(paths: &Paths) -> Result<ActivationId> {
    let time_of = |id: &ActivationId| id.as_str().split('-').next()?.parse::<u64>().ok();
    let after = ids(paths).iter().find_map(time_of).map_or(0, |last| last.saturating_add(1));
    let text = format!("{:013}-{}", milliseconds().max(after), std::process::id());
    ActivationId::parse(&text).map_err(|e| AgentError::Unsupported(e.to_string()))
}

/// The newest activation: the only one that can be under way or in need of being picked up,
/// since each settles the one before it. One that cannot be read is passed over; it must not
/// keep the host from being deployed to.
pub fn newest(paths: &Paths) -> Option<Record> {
    ids(paths).iter().find_map(|id| Record::load(paths, id).ok())
}

/// Appends to the event file.
#[derive(Debug, Clone)]
pub struct Journal {
    paths: Paths,
    id: ActivationId,
}

impl Journal {
    pub fn of(paths: &Paths, id: &ActivationId) -> Self {
        Self { paths: paths.clone(), id: id.clone() }
    }

    /// One write, so that a reader never sees half a line of two writers.
    pub fn write(&self, event: ActivationEvent) -> Result<()> {
        let path = self.paths.activation(&self.id).join("events.jsonl");
        let stamped = Stamped { at: milliseconds(), event };
        let mut line = serde_json::to_vec(&stamped)
            .map_err(|e| AgentError::Content { path: path.clone(), reason: e.to_string() })?;
        line.push(b'\n');
        reserve::write(&self.paths, &self.id, || append(&path, &line).map_err(file("cannot write", &path)))
    }

    /// Writes the last event, unless it is there.
    pub fn end(&self, outcome: &Outcome) -> Result<()> {
        let path = self.paths.activation(&self.id).join("events.jsonl");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let last = text.lines().next_back().and_then(|line| serde_json::from_str(line).ok());
        match last {
            Some(Stamped { event: ActivationEvent::Ended { .. }, .. }) => Ok(()),
            _ => self.write(ActivationEvent::Ended { outcome: outcome.clone() }),
        }
    }

    /// For what is good to know but must not stop the activation.
    pub fn note(&self, event: ActivationEvent) {
        let _ = self.write(event);
    }
}

/// All of the line or nothing of it, also on a disk that has room for a part.
fn append(path: &Path, line: &[u8]) -> io::Result<()> {
    let mut out = OpenOptions::new().append(true).create(true).open(path)?;
    let before = out.metadata()?.len();
    out.write_all(line).inspect_err(|_| drop(out.set_len(before)))
}

pub fn seconds() -> i64 {
    i64::try_from(milliseconds() / 1000).unwrap_or(i64::MAX)
}

pub fn milliseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// The id of this boot; empty where the kernel does not tell, which equals itself.
pub fn boot_id(paths: &Paths) -> String {
    let text = fs::read_to_string(paths.boot_id()).unwrap_or_default();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_newest_sorts_last_whatever_the_clock_says() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::new(root.path());
        let first = new_id(&paths).unwrap();
        // Made when the clock was ahead, by two decades and by more.
        for ahead in ["2500000000000-7", "9999999999998-1"] {
            fs::create_dir_all(paths.activations().join(ahead)).unwrap();
            let id = new_id(&paths).unwrap();
            assert!(id.as_str() > ahead && id > first, "{id} after {ahead}");
        }
    }
}
