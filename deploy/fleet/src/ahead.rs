//! Sessions that are opened ahead of their use: while closures are built, the way to the hosts is
//! gone, and on a far line that takes longer than the build of what has hardly changed.
//!
//! A session that was opened so is as good as another as long as it is fresh. Whatever went wrong
//! with it is told by [`Fleet::connect`](crate::Fleet::connect) when its turn comes.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cairn_transport::{Agent, Options, Session, Target, TransportError};

/// What a host says of itself when a session is opened, decisions rest on: it must not be old.
const FRESH: Duration = Duration::from_secs(5);

/// Host → the session that is being opened.
#[derive(Debug, Default)]
pub struct Ahead(Mutex<BTreeMap<String, Dialled>>);

#[derive(Debug)]
struct Dialled {
    target: Target,
    agent: Agent,
    opened: JoinHandle<(Instant, Result<Session, TransportError>)>,
}

impl Ahead {
    /// Begins to open a session. Nobody waits for it whose turn does not come.
    pub fn dial(&self, target: Target, agent: Agent, options: Options) {
        let opened = std::thread::spawn({
            let (target, agent) = (target.clone(), agent.clone());
            move || {
                let session = Session::open(&target, &agent, &options);
                (Instant::now(), session)
            }
        });
        self.lock().insert(target.name.clone(), Dialled { target, agent, opened });
    }

    /// The session that was dialled, for once: that very one, and fresh.
    pub fn take(&self, target: &Target, agent: &Agent) -> Option<Result<Session, TransportError>> {
        let dialled = self.lock().remove(&target.name)?;
        if (&dialled.target, &dialled.agent) != (target, agent) {
            return None;
        }
        let (opened, session) = dialled.opened.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (opened.elapsed() < FRESH).then_some(session)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Dialled>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
