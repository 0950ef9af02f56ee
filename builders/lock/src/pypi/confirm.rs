//! Asks an encrypted index once more for the hashes that will be locked.
//!
//! The hashes of wheels come from the index alone. uv follows redirects from `https://` to `http://`,
//! and then anybody on the way could have written them. Our own client refuses such redirects; a hash
//! that its page does not have is an error.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::thread;

use cairn_fetch::Fetcher;
use cairn_formats::Sha256;
use cairn_recipe::lock::LockedWheel;

use super::PypiError;
use super::simple::wheel_urls;

/// Pages at once.
const PARALLEL: usize = 8;

/// Whether the index's address begins with this scheme.
pub fn has_scheme(index_url: &str, scheme: &str) -> bool {
    index_url.split_once("://").is_some_and(|(found, _)| found.eq_ignore_ascii_case(scheme))
}

pub fn confirm(fetcher: &Fetcher, index_url: &str, wheels: &[LockedWheel]) -> Result<(), PypiError> {
    let mut wanted: BTreeMap<&str, Vec<(&str, Sha256)>> = BTreeMap::new();
    for wheel in wheels {
        wanted.entry(&wheel.name).or_default().push((&wheel.file, wheel.sha256));
    }
    let threads = PARALLEL.min(wanted.len());
    let left = Mutex::new(wanted.into_iter());
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || -> Result<(), PypiError> {
        while let Some((package, files)) = next() {
            wheel_urls(fetcher, index_url, package, &files)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let results = running.into_iter().map(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        results.collect()
    })
}
