//! Limits of time: a host that answers at the level of TCP and SSH, but hangs above it (a full disk
//! queue, a directory service that is gone), or that goes on for ever, must not hold up the client.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::limits::TimeLimit;

/// The limit that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fired {
    /// Nothing came for so long.
    Silence(Duration),
    /// It took longer than that, though something came.
    Total(Duration),
}

/// What passes over a connection.
#[derive(Debug, Default)]
pub struct Activity {
    /// Bytes in both directions.
    pub traffic: AtomicU64,
    /// The client works on what came and does not wait for the host.
    pub ours: AtomicBool,
}

/// Looks at the traffic as long as it lives, and kills the child when a limit is reached.
pub struct Watch {
    /// Dropped to end the thread.
    _end: mpsc::Sender<()>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Held while the child is killed, so that it is never killed after the watch has ended: its
    /// number may belong to another process then.
    over: Mutex<bool>,
    fired: Mutex<Option<Fired>>,
}

impl Watch {
    pub fn start(child: u32, activity: Arc<Activity>, limit: TimeLimit) -> Self {
        let (end, ended) = mpsc::channel();
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let start = Instant::now();
        thread::spawn(move || {
            let (mut seen, mut since) = (activity.traffic.load(Ordering::Relaxed), start);
            while ended.recv_timeout(pause(limit, start)) == Err(RecvTimeoutError::Timeout) {
                let now = activity.traffic.load(Ordering::Relaxed);
                if now != seen || activity.ours.load(Ordering::Relaxed) {
                    (seen, since) = (now, Instant::now());
                }
                let silence = limit.silence.filter(|limit| since.elapsed() >= *limit).map(Fired::Silence);
                let total = limit.total.filter(|limit| start.elapsed() >= *limit).map(Fired::Total);
                if let Some(fired) = silence.or(total) {
                    theirs.fire(child, fired);
                    return;
                }
            }
        });
        Self { _end: end, shared }
    }

    /// Ends it. The limit, if one was reached.
    pub fn end(self) -> Option<Fired> {
        *self.shared.fired.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Until the next look: a tenth of the silence, and no later than the end of the whole.
fn pause(limit: TimeLimit, start: Instant) -> Duration {
    let silence = limit.silence.map_or(Duration::from_secs(60), |silence| silence / 10);
    let left = limit.total.map_or(silence, |total| total.saturating_sub(start.elapsed()));
    silence.min(left).max(Duration::from_millis(1))
}

impl Drop for Watch {
    fn drop(&mut self) {
        *self.shared.over.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }
}

impl Shared {
    fn fire(&self, child: u32, fired: Fired) {
        let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        let pid = i32::try_from(child).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|_| !*over) {
            *self.fired.lock().unwrap_or_else(PoisonError::into_inner) = Some(fired);
            // One that has just ended by itself needs no kill.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}
