//! How far steps are kept apart from this computer, and for how long they may run.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::{Event, Listener, RealiseError};

/// Far more than steps take: a whole image of the examples is built in seconds.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// What the builder says about a system without user namespaces is one line.
const SAID_BYTES: usize = 1 << 10;

/// How steps are confined. One for a whole command, which looks at the system once.
#[derive(Debug)]
pub struct Confinement {
    /// Whether steps may run without a user namespace where the system makes none.
    allow_weak: bool,
    timeout: Duration,
    /// Whether they do; known when the first step is about to run.
    weak: Mutex<Option<bool>>,
}

impl Default for Confinement {
    fn default() -> Self {
        Self::new(false, DEFAULT_TIMEOUT)
    }
}

impl Confinement {
    /// `timeout` is what one step may take.
    pub fn new(allow_weak: bool, timeout: Duration) -> Self {
        Self { allow_weak, timeout, weak: Mutex::new(None) }
    }

    /// In milliseconds, as a sandbox is described.
    pub(crate) fn timeout(&self) -> u64 {
        u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether steps run in a weak sandbox. Never where that was not allowed: then a step that gets
    /// no user namespace fails, and says what to do.
    pub(crate) fn is_weak(&self, builder: &Path, listener: &Listener) -> Result<bool, RealiseError> {
        if !self.allow_weak {
            return Ok(false);
        }
        let mut weak = self.weak.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(weak) = *weak {
            return Ok(weak);
        }
        let refusal = refusal(builder)?;
        if let Some(reason) = &refusal {
            listener(Event::WeakSandbox { reason });
        }
        Ok(*weak.insert(refusal.is_some()))
    }
}

/// Why this system makes no user namespaces, if so.
fn refusal(builder: &Path) -> Result<Option<String>, RealiseError> {
    let fail = |source| RealiseError::Builder { program: builder.to_owned(), source };
    let mut probe = Command::new(builder)
        .arg("probe")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(fail)?;
    let said = probe.stderr.take().map_or(Ok(Vec::new()), |stderr| cairn_sandbox::last_bytes(stderr, SAID_BYTES));
    let status = probe.wait().map_err(fail)?;
    let said = said.map_err(fail)?;
    Ok((!status.success()).then(|| String::from_utf8_lossy(&said).trim().to_owned()))
}
