//! What a download tells of itself while it runs. Displaying it is somebody else's work.

use std::time::Duration;

use crate::FetchError;

/// Receives the events of downloads, perhaps of many at once; `what` tells them apart.
pub trait Progress: Sync {
    /// `size` in bytes, if it is known.
    fn started(&self, what: &str, size: Option<u64>) {
        let _ = (what, size);
    }

    /// `bytes` more have arrived (or were there already, left by an earlier run).
    fn advanced(&self, what: &str, bytes: u64) {
        let _ = (what, bytes);
    }

    /// The transfer starts over: what `advanced` counted so far counts no longer.
    fn restarted(&self, what: &str) {
        let _ = what;
    }

    /// A passing fault; the next try follows after `wait`.
    fn retrying(&self, what: &str, error: &FetchError, wait: Duration) {
        let _ = (what, error, wait);
    }

    /// The file is complete and right. Not sent when a download fails.
    fn finished(&self, what: &str) {
        let _ = what;
    }
}

/// Tells nobody.
impl Progress for () {}
