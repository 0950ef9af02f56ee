//! The nspawn process of a machine, and the machine's own PID 1.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::error::at;

/// A process that another one with the same number is never taken for: not a later one, and not one
/// after a restart of this computer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Supervisor {
    pub pid: u32,
    /// Clock ticks from the start of this computer, field 22 of `/proc/PID/stat`.
    started: u64,
    /// `/proc/sys/kernel/random/boot_id`
    boot_id: String,
}

impl Supervisor {
    pub fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/stat");
        let stat = fs::read_to_string(&path).map_err(at("read", Path::new(&path)))?;
        let started = Stat::parse(&stat).map_or(0, |stat| stat.started);
        Ok(Self { pid, started, boot_id: boot_id()? })
    }

    pub fn alive(&self) -> bool {
        boot_id().is_ok_and(|id| id == self.boot_id)
            && Stat::read(self.pid).is_some_and(|stat| stat.started == self.started && stat.state != 'Z')
    }

    /// The machine's PID 1 as this computer sees it: nspawn's one child. It changes with a reboot.
    pub fn leader(&self) -> Option<u32> {
        if !self.alive() {
            return None;
        }
        let pids = fs::read_dir("/proc").ok()?.flatten().filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| Stat::read(*pid).is_some_and(|stat| stat.parent == self.pid && stat.state != 'Z')).min()
    }

    /// Whether it ended within the time.
    pub fn wait(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while self.alive() {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }

    pub fn send(&self, signal: Signal) {
        if self.alive() {
            send(self.pid, signal);
        }
    }
}

/// A process that is gone already is what the caller wanted or will notice.
pub(crate) fn send(pid: u32, signal: Signal) {
    // 0 and negative numbers would be groups of processes.
    if let Some(pid) = i32::try_from(pid).ok().filter(|pid| *pid > 1) {
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

fn boot_id() -> Result<String> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    Ok(fs::read_to_string(path).map_err(at("read", path))?.trim().to_owned())
}

/// What we need of `/proc/PID/stat`, see `proc(5)`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    state: char,
    parent: u32,
    started: u64,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The name of the program, in parentheses, may hold blanks and parentheses itself.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(") ")?;
        let fields: Vec<_> = rest.split_ascii_whitespace().collect();
        Some(Self {
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_program_is_called() {
        let line = "42 (a) b) S 7 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1 2";
        assert_eq!(Stat::parse(line), Some(Stat { state: 'S', parent: 7, started: 98765 }));
        assert_eq!(Stat::parse("42 (x"), None);
    }

    #[test]
    fn a_reused_number_is_another_process() {
        let own = Supervisor::of(std::process::id()).unwrap();
        assert!(own.alive());
        assert!(!Supervisor { started: own.started + 1, ..own.clone() }.alive());
        assert!(!Supervisor { boot_id: "another boot".into(), ..own }.alive());
    }

    #[test]
    fn a_child_that_ended_but_was_not_awaited_is_not_alive() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let supervisor = Supervisor::of(child.id()).unwrap();
        assert!(supervisor.wait(Duration::from_secs(10)));
        child.wait().unwrap();
    }
}
