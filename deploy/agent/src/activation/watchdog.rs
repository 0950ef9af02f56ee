//! Ends the process of an activation whose phase takes longer than its [limit](super::limits).
//!
//! A thread that hangs in a system call cannot be interrupted, but the process can end: the kernel
//! then drops the host's lock, and systemd runs the revert. The record says why first.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use cairn_protocol::{ActivationEvent, Problem};

use super::record::{Journal, Record};
use crate::paths::Paths;

/// For the record: a disk that does not answer may be what hangs.
const WRITES: Duration = Duration::from_secs(10);
/// The exit code of a process that the watchdog has ended.
const OVERDUE: i32 = 75;

/// What happens to a process that is overdue, once the record says so. Gives up the process.
pub type End = fn();

pub fn end_process() {
    std::process::exit(OVERDUE);
}

pub struct Watchdog {
    watched: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    phase: Mutex<Option<Watched>>,
    changed: Condvar,
}

struct Watched {
    limit: Duration,
    deadline: Instant,
    record: Record,
}

impl Watchdog {
    /// Starts the thread that watches. It lives as long as the process.
    pub fn start(paths: &Paths, end: End) -> Self {
        let watched = Arc::new(Shared::default());
        let (shared, paths) = (Arc::clone(&watched), paths.clone());
        thread::spawn(move || shared.watch(&paths, end));
        Self { watched }
    }

    /// Watches the phase of this record until the guard goes.
    #[must_use]
    pub fn watch(&self, limit: Duration, record: &Record) -> Guard<'_> {
        let deadline = Instant::now() + limit;
        *self.watched.lock() = Some(Watched { limit, deadline, record: record.clone() });
        self.watched.changed.notify_all();
        Guard(&self.watched)
    }
}

/// The phase is over when it goes. From then on the watchdog writes nothing.
pub struct Guard<'a>(&'a Shared);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        *self.0.lock() = None;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Option<Watched>> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self, paths: &Paths, end: End) {
        let mut phase = self.lock();
        loop {
            let now = Instant::now();
            phase = match &*phase {
                Some(watched) if watched.deadline <= now => {
                    // With the lock held: the phase cannot end meanwhile, and write another record.
                    watched.give_up(paths, WRITES);
                    end();
                    return;
                }
                Some(watched) => {
                    let left = watched.deadline - now;
                    self.changed.wait_timeout(phase, left).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(phase).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

impl Watched {
    /// Says why, and writes it into the record: in a thread that is waited for only so long.
    fn give_up(&self, paths: &Paths, patience: Duration) {
        let mut record = self.record.clone();
        let step = record.phase.step();
        let unit = Record::unit(&record.id);
        let message = format!("{} took longer than {} s, its limit", step.text(), self.limit.as_secs());
        let problem = Problem {
            step,
            message,
            advice: Some(format!("`journalctl -u {unit}` on the host shows where it stopped; switch again after that")),
            service: None,
            unit: Some(unit),
            log: Vec::new(),
            health: None,
        };
        crate::output::warn(&format!("cairn-agent: {}", problem.message));
        record.problem.get_or_insert(problem.clone());
        let (sender, receiver) = mpsc::channel();
        let paths = paths.clone();
        thread::spawn(move || {
            let saved = record.save(&paths);
            Journal::of(&paths, &record.id).note(ActivationEvent::Problem { problem });
            // Too late, if nothing waits for it any more.
            let _ = sender.send(saved);
        });
        // The process ends in any case: its lock must fall.
        match receiver.recv_timeout(patience) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => crate::output::warn(&format!("cairn-agent: {error}")),
            Err(_) => crate::output::warn("cairn-agent: its record cannot be written: the disk does not answer"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicUsize, Ordering};

    use cairn_formats::StorePath;
    use cairn_protocol::{ActivationId, ActivationRequest, Goal};

    use super::*;
    use crate::activation::machine::Phase;

    static ENDED: AtomicUsize = AtomicUsize::new(0);

    fn record() -> Record {
        let closure = StorePath::parse("1mdqa9w1p6cmli6976v4wi0sw9r4p5pr-host").unwrap();
        let request = ActivationRequest {
            goal: Goal::Switch,
            closure,
            operator: "alice@desk".to_owned(),
            reason: None,
            confirm_within: 0,
            source: None,
            expected: None,
            retention: None,
        };
        Record {
            version: Record::VERSION,
            id: ActivationId::parse("1-1").unwrap(),
            request,
            before: None,
            last_number: 0,
            phase: Phase::Recheck,
            boot_id: String::new(),
            began: 0,
            changes: None,
            problem: None,
            outcome: None,
        }
    }

    #[test]
    fn a_phase_that_hangs_is_written_down_and_ends_the_process_and_another_does_not() {
        let root = tempfile::tempdir().unwrap();
        let (paths, record) = (Paths::new(root.path()), record());
        std::fs::create_dir_all(paths.activation(&record.id)).unwrap();
        record.save(&paths).unwrap();
        let watchdog = Watchdog::start(&paths, || {
            ENDED.fetch_add(1, Ordering::SeqCst);
        });
        for _ in 0..3 {
            drop(watchdog.watch(Duration::from_millis(30), &record));
        }
        thread::sleep(Duration::from_millis(100));
        assert_eq!(ENDED.load(Ordering::SeqCst), 0, "these phases ended in time");
        assert_eq!(Record::load(&paths, &record.id).unwrap().problem, None);

        let _hangs = watchdog.watch(Duration::from_millis(30), &record);
        let patience = Instant::now() + Duration::from_secs(10);
        while ENDED.load(Ordering::SeqCst) == 0 {
            assert!(Instant::now() < patience, "the process was not ended");
            thread::sleep(Duration::from_millis(5));
        }
        let told = Record::load(&paths, &record.id).unwrap();
        assert_eq!(told.phase, Phase::Recheck);
        assert!(told.problem.unwrap().message.contains("took longer than"));
    }
}
