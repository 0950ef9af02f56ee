//! A limit to silence: a host that answers at the level of TCP and SSH, but hangs above it (a full
//! disk queue, a directory service that is gone), must not hold up whoever asks it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Looks at the traffic as long as it lives, and kills the child when there is none for too long.
pub struct Watch {
    limit: Duration,
    /// Dropped to end the thread.
    _end: mpsc::Sender<()>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Held while the child is killed, so that it is never killed after the watch has ended: its
    /// number may belong to another process then.
    over: Mutex<bool>,
    fired: AtomicBool,
}

impl Watch {
    /// `traffic` grows with each byte in either direction.
    pub fn start(child: u32, traffic: Arc<AtomicU64>, limit: Duration) -> Self {
        let (end, ended) = mpsc::channel();
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        thread::spawn(move || {
            let (mut seen, mut since) = (traffic.load(Ordering::Relaxed), Instant::now());
            while ended.recv_timeout(limit / 10) == Err(RecvTimeoutError::Timeout) {
                let now = traffic.load(Ordering::Relaxed);
                if now != seen {
                    (seen, since) = (now, Instant::now());
                } else if since.elapsed() >= limit {
                    theirs.fire(child);
                    return;
                }
            }
        });
        Self { limit, _end: end, shared }
    }

    /// Ends it. The limit, if it was reached.
    pub fn end(self) -> Option<Duration> {
        self.shared.fired.load(Ordering::Relaxed).then_some(self.limit)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        *self.shared.over.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }
}

impl Shared {
    fn fire(&self, child: u32) {
        let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        let pid = i32::try_from(child).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|_| !*over) {
            self.fired.store(true, Ordering::Relaxed);
            // One that has just ended by itself needs no kill.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}
