//! A server that has too many logins under way closes further connections before it says anything
//! (`MaxStartups` in sshd_config(5); by default some of them from the eleventh on). Many hosts behind
//! one jump host are such a crowd. They are tried again, spread out in time.

use std::thread;
use std::time::Duration;

use crate::TransportError;

/// Between one attempt and the next, at least; at most twice as long.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// Tries until the server is not crowded, or the attempts are used up. `name` decides when whose turn
/// is, so that not all come back at the same time.
pub fn patiently<T>(name: &str, mut attempt: impl FnMut() -> Result<T, TransportError>) -> Result<T, TransportError> {
    for pause in PAUSES {
        match attempt() {
            Err(error) if error.is_crowded() => thread::sleep(pause.mul_f64(1.0 + spread(name))),
            other => return other,
        }
    }
    attempt()
}

/// From 0 to 1, another one for each name.
fn spread(name: &str) -> f64 {
    let first = cairn_formats::Sha256::of(name.as_bytes()).as_bytes()[0];
    f64::from(first) / 256.0
}
