//! How far an activation on a machine has come, as its own record tells while it goes on.

use std::fs;
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Machine;

/// In their order.
pub const PHASES: [&str; 8] = ["preflight", "stage", "start", "flip", "recheck", "confirm", "commit", "drain"];

/// What comes after what was there when this was made.
pub struct Upcoming {
    folder: PathBuf,
    before: Option<PathBuf>,
    since: Instant,
}

impl Machine<'_> {
    /// The process that is the first of the machine.
    #[track_caller]
    pub fn leader(&self) -> u32 {
        let pid = self.inner().pid.expect("a machine that runs");
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("its children");
        children.split_whitespace().next().and_then(|pid| pid.parse().ok()).expect("an init")
    }

    /// The machine's files as it sees them, with what it has mounted.
    #[track_caller]
    pub fn sight(&self) -> PathBuf {
        format!("/proc/{}/root", self.leader()).into()
    }

    /// To be had before the switch that is to be followed.
    #[track_caller]
    pub fn upcoming(&self) -> Upcoming {
        let folder = self.sight().join("nix/var/cairn/activations");
        let mut upcoming = Upcoming { folder, before: None, since: Instant::now() };
        upcoming.before = upcoming.newest();
        upcoming
    }
}

impl Upcoming {
    pub fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }

    pub fn is_in(&self, phase: &str) -> bool {
        self.phase().as_deref() == Some(phase)
    }

    /// Whether it is in that phase or in a later one: short ones are over before anybody sees them.
    pub fn has_reached(&self, phase: &str) -> bool {
        let place = |phase: &str| PHASES.iter().position(|known| *known == phase);
        self.phase().is_some_and(|now| place(&now) >= place(phase))
    }

    fn phase(&self) -> Option<String> {
        let newest = self.newest().filter(|newest| Some(newest) != self.before.as_ref())?;
        // It may be about to be written.
        let record: Value = serde_json::from_slice(&fs::read(newest.join("state.json")).ok()?).ok()?;
        record["phase"].as_str().map(str::to_owned)
    }

    fn newest(&self) -> Option<PathBuf> {
        fs::read_dir(&self.folder).ok()?.flatten().map(|entry| entry.path()).max()
    }

    /// Waits for that while the client runs; whether it came.
    #[track_caller]
    pub fn wait(&self, client: &mut Child, there: impl Fn(&Self) -> bool) -> bool {
        loop {
            if there(self) {
                return true;
            }
            if client.try_wait().expect("a child").is_some() {
                return false;
            }
            assert!(self.elapsed() < Duration::from_secs(120), "it did not come");
        }
    }
}
