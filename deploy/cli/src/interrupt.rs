//! Ctrl-C while hosts are worked on: what is begun comes to its end, and nothing else is begun.

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context as _, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// A signal is for the process as a whole.
static CAME: AtomicBool = AtomicBool::new(false);

/// What a shell gives for a program that SIGINT has ended.
const ENDED: i32 = 130;

/// From here on the first Ctrl-C (or SIGTERM) only makes [`came`] true; the second one ends this
/// program. `say` tells so.
pub fn listen(say: impl FnOnce(&str) + Send + 'static) -> Result<()> {
    let mut signals = arrivals(&[SIGINT, SIGTERM])?;
    thread::spawn(move || {
        let mut one = [0];
        if signals.read_exact(&mut one).is_err() {
            return;
        }
        CAME.store(true, Ordering::Relaxed);
        say("interrupted: no other host is begun, and those that are under way come to their end; \
             once more ends this at once, and leaves them to themselves");
        if signals.read_exact(&mut one).is_ok() {
            std::process::exit(ENDED);
        }
    });
    Ok(())
}

/// Calls `then` at the first sign that somebody wants this program to end, in a thread of its own. The
/// signals do nothing else from here on.
pub fn at_the_end(then: impl FnOnce() + Send + 'static) -> Result<()> {
    let mut signals = arrivals(&[SIGINT, SIGTERM, SIGHUP])?;
    thread::spawn(move || {
        if signals.read_exact(&mut [0]).is_ok() {
            then();
        }
    });
    Ok(())
}

/// A byte arrives here for each of these signals, whichever thread gets it.
fn arrivals(signals: &[i32]) -> Result<UnixStream> {
    let fail = "cannot listen for signals";
    let (arrivals, sender) = UnixStream::pair().context(fail)?;
    for signal in signals {
        let sender = sender.try_clone().context(fail)?;
        signal_hook::low_level::pipe::register(*signal, sender).context(fail)?;
    }
    Ok(arrivals)
}

/// Whether the operator has had enough.
pub fn came() -> bool {
    CAME.load(Ordering::Relaxed)
}
