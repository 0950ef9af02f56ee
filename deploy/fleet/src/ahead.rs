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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use cairn_formats::{Platform, StorePath};

    use super::*;

    fn target(address: &str) -> Target {
        Target::new("web", address)
    }

    fn agent(letter: &str) -> Agent {
        let store_path = StorePath::from_absolute(&format!("/nix/store/{}-cairn-agent", letter.repeat(32))).unwrap();
        Agent { store_path, file: "/nowhere".into(), platform: Platform::LinuxAmd64 }
    }

    /// It comes to nothing at once, which is a result as another.
    fn dialled() -> Ahead {
        let options = Options { ssh: "/bin/false".into(), ..Options::new(std::env::temp_dir()) };
        let ahead = Ahead::default();
        ahead.dial(target("a"), agent("a"), options);
        ahead
    }

    #[test]
    fn a_session_is_taken_once_and_only_as_it_was_dialled() {
        let ahead = dialled();
        assert!(ahead.take(&target("a"), &agent("a")).is_some_and(|session| session.is_err()));
        assert!(ahead.take(&target("a"), &agent("a")).is_none());
        assert!(dialled().take(&target("b"), &agent("a")).is_none());
        assert!(dialled().take(&target("a"), &agent("b")).is_none());
        assert!(dialled().take(&Target::new("db", "a"), &agent("a")).is_none());
    }

    #[test]
    fn what_a_host_said_long_ago_is_asked_anew() {
        let ahead = dialled();
        let Dialled { target, agent, opened } = ahead.lock().remove("web").unwrap();
        let (_, session) = opened.join().unwrap();
        let opened = std::thread::spawn(|| (Instant::now() - FRESH, session));
        ahead.lock().insert("web".to_owned(), Dialled { target: target.clone(), agent: agent.clone(), opened });
        assert!(ahead.take(&target, &agent).is_none());
    }
}
