//! One activation at a time on a host, with the name of who holds it.
//!
//! The lock is the kernel's (`flock`), so it ends with the process. The activation runs in a
//! process of its own, which takes the lock over a moment after the one that prepared it let go;
//! in between [`super::start`] sees by the record that the place is taken.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use cairn_closure::HostName as FleetName;
use cairn_protocol::ActivationId;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::record::seconds;
use crate::error::{AgentError, Result, file};
use crate::paths::Paths;
use crate::private;

/// Patience for those who only look, and share the lock for an instant.
pub const GLANCE: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// `user@machine`.
    pub operator: String,
    pub purpose: String,
    pub reason: Option<String>,
    /// Seconds since 1970.
    pub since: i64,
    pub pid: u32,
    pub activation: Option<ActivationId>,
}

impl Holder {
    pub fn now(operator: &str, purpose: &str) -> Self {
        Self {
            operator: operator.to_owned(),
            purpose: purpose.to_owned(),
            reason: None,
            since: seconds(),
            pid: std::process::id(),
            activation: None,
        }
    }

    pub fn describe(&self) -> String {
        let ago = seconds().saturating_sub(self.since).max(0);
        let reason = self.reason.as_ref().map_or(String::new(), |r| format!(" ({r})"));
        format!(
            "the host is locked by {} for {}{reason}, since {ago} s (process {})",
            self.operator, self.purpose, self.pid
        )
    }
}

/// Held as long as it lives.
pub struct Lock {
    _file: Flock<File>,
}

impl Lock {
    /// Takes the host's lock, waiting at most `patience`.
    pub fn take(paths: &Paths, holder: &Holder, patience: Duration) -> Result<Self> {
        Self::take_file(paths, &paths.lock_file(), holder, patience)
    }

    /// Takes a fleet's lock, if it is free.
    pub fn take_fleet(paths: &Paths, fleet: &FleetName, holder: &Holder) -> Result<Self> {
        Self::take_file(paths, &paths.fleet_lock_file(fleet), holder, Duration::ZERO)
    }

    /// Keeps a second pull away, while others may switch.
    pub fn take_pull(paths: &Paths, holder: &Holder) -> Result<Self> {
        Self::take_file(paths, &paths.pull_lock_file(), holder, Duration::ZERO)
    }

    /// Who took the host's lock last, and whether it is held still. To find out it is shared for an
    /// instant: whoever takes it waits for a [`GLANCE`].
    pub fn look(paths: &Paths) -> Result<Option<(Holder, bool)>> {
        let path = paths.lock_file();
        let mut opened = match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(file("cannot open", &path))?,
        };
        let holder = read(&mut opened);
        match Flock::lock(opened, FlockArg::LockSharedNonblock) {
            Ok(_) => Ok(Some((holder, false))),
            Err((_, Errno::EWOULDBLOCK)) => Ok(Some((holder, true))),
            Err((_, errno)) => Err(file("cannot lock", &path)(errno.into())),
        }
    }

    fn take_file(paths: &Paths, path: &Path, holder: &Holder, patience: Duration) -> Result<Self> {
        private::make_state_dir(paths)?;
        let deadline = Instant::now() + patience;
        let mut wanted = private::open_lock(path)?;
        let mut locked = loop {
            match Flock::lock(wanted, FlockArg::LockExclusiveNonblock) {
                Ok(locked) => break locked,
                Err((mut other, Errno::EWOULDBLOCK)) => {
                    if Instant::now() >= deadline {
                        return Err(AgentError::Locked(Box::new(read(&mut other))));
                    }
                    thread::sleep(Duration::from_millis(10));
                    wanted = other;
                }
                Err((_, errno)) => return Err(file("cannot lock", path)(errno.into())),
            }
        };
        let text = serde_json::to_vec(holder).unwrap_or_default();
        locked
            .set_len(0)
            .and_then(|()| locked.rewind())
            .and_then(|()| locked.write_all(&text))
            .map_err(file("cannot write", path))?;
        Ok(Self { _file: locked })
    }
}

/// Who holds it; the holder may be about to write its name.
fn read(file: &mut File) -> Holder {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.read_to_string(&mut text));
    read.ok()
        .and_then(|_| serde_json::from_str(&text).ok())
        .unwrap_or_else(|| Holder { pid: 0, ..Holder::now("somebody", "an activation") })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_second_is_told_who_holds_the_lock() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::new(root.path());
        let first = Holder::now("alice@desk", "switch");
        let second = Holder::now("bob@desk", "rollback");
        let held = Lock::take(&paths, &first, Duration::ZERO).unwrap();
        match Lock::take(&paths, &second, Duration::from_millis(30)) {
            Err(AgentError::Locked(holder)) => assert_eq!(*holder, first),
            other => panic!("{:?}", other.err()),
        }
        assert_eq!(Lock::look(&paths).unwrap(), Some((first.clone(), true)));
        drop(held);
        // The name stays, and the lock has fallen.
        assert_eq!(Lock::look(&paths).unwrap(), Some((first, false)));
        assert!(Lock::take(&paths, &second, Duration::ZERO).is_ok());
    }

    #[test]
    fn a_host_that_was_never_locked_has_no_holder() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Lock::look(&Paths::new(root.path())).unwrap(), None);
    }

    #[test]
    fn each_fleet_has_a_lock_of_its_own_beside_the_hosts() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::new(root.path());
        let holder = Holder::now("alice@desk", "switch");
        let [staging, production] = ["staging", "production"].map(|name| FleetName::parse(name).unwrap());
        let _host = Lock::take(&paths, &holder, Duration::ZERO).unwrap();
        let _staging = Lock::take_fleet(&paths, &staging, &holder).unwrap();
        let _production = Lock::take_fleet(&paths, &production, &holder).unwrap();
        assert!(matches!(Lock::take_fleet(&paths, &staging, &holder), Err(AgentError::Locked(_))));
    }
}
