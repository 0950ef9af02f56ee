//! Who holds the host's lock, and how that is ended.
//!
//! The lock falls with the process that holds it. That of an activation is ended by systemd, which
//! then runs its `ExecStopPost=`: it goes back, or on if it was committed, as after any other death.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use cairn_protocol::{ActivationEvent, ActivationId, LockHolder};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::activation::record::{Journal, Record};
use crate::activation::{Holder, Lock};
use crate::error::{AgentError, Fault, Result};
use crate::paths::Paths;
use crate::process;

/// How long a process may take to end that is no activation.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who has the lock, or had it last; `None` on a host that was never locked.
pub fn look(paths: &Paths) -> Result<Option<LockHolder>> {
    let Some((holder, held)) = Lock::look(paths)? else { return Ok(None) };
    let record = holder.activation.as_ref().and_then(|id| Record::load(paths, id).ok());
    Ok(Some(LockHolder {
        operator: holder.operator,
        purpose: holder.purpose,
        reason: holder.reason,
        since: holder.since,
        pid: holder.pid,
        activation: holder.activation,
        phase: record.map(|record| record.phase.word().to_owned()),
        held,
    }))
}

/// Ends the holder. Gives its activation, which is on its way back by then.
pub fn end(paths: &Paths, operator: &str) -> Result<Option<ActivationId>> {
    let holder = match Lock::look(paths)? {
        Some((holder, true)) => holder,
        _ => return Err(Fault::new("nobody holds the host's lock").into()),
    };
    match &holder.activation {
        Some(id) => {
            let text = format!("ended by {operator}, who unlocks the host");
            Journal::of(paths, id).note(ActivationEvent::Note { text });
            // It has long ended when its unit is gone: going back takes as long as it takes.
            process::run("systemctl", &["--no-ask-password", "--no-block", "stop", "--", &Record::unit(id)])?;
        }
        None => end_process(paths, &holder)?,
    }
    Ok(holder.activation)
}

/// A collection, or an activation that has not begun.
fn end_process(paths: &Paths, holder: &Holder) -> Result<()> {
    let comm = fs::read_to_string(paths.at(&format!("/proc/{}/comm", holder.pid))).unwrap_or_default();
    let pid = i32::try_from(holder.pid).ok().filter(|pid| *pid > 1 && comm.trim() == "cairn-agent");
    let pid = pid.ok_or_else(|| {
        Fault::new(format!("process {} is no agent of ours, so it is left alone", holder.pid))
            .advice("`fuser -v /nix/var/cairn/lock` on the host shows who has it")
    })?;
    kill(Pid::from_raw(pid), Signal::SIGTERM)
        .map_err(|errno| AgentError::from(Fault::new(format!("process {pid} cannot be ended: {errno}"))))?;
    let deadline = Instant::now() + PATIENCE;
    while matches!(Lock::look(paths)?, Some((now, true)) if now.pid == holder.pid) {
        if Instant::now() >= deadline {
            return Err(Fault::new(format!("process {pid} does not end")).into());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
