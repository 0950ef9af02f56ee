//! Ctrl-C while hosts are worked on: what is begun comes to its end, and nothing else is begun.

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context as _, Result};
use signal_hook::consts::{SIGINT, SIGTERM};

/// A signal is for the process as a whole.
static CAME: AtomicBool = AtomicBool::new(false);

/// What a shell gives for a program that SIGINT has ended.
const ENDED: i32 = 130;

/// From here on the first Ctrl-C (or SIGTERM) only makes [`came`] true; the second one ends this
/// program. `say` tells so.
pub fn listen(say: impl FnOnce(&str) + Send + 'static) -> Result<()> {
    let fail = "cannot listen for signals";
    let (mut signals, sender) = UnixStream::pair().context(fail)?;
    for signal in [SIGINT, SIGTERM] {
        let sender = sender.try_clone().context(fail)?;
        signal_hook::low_level::pipe::register(signal, sender).context(fail)?;
    }
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

/// Whether the operator has had enough.
pub fn came() -> bool {
    CAME.load(Ordering::Relaxed)
}
