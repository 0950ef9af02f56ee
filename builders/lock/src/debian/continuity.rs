//! A suite's release beside the one that was locked before: it must not be older, and a key that
//! signed the one before must have signed it.
//!
//! A stable suite has no end of validity, so an older InRelease file with a good signature would
//! otherwise bring back every package with a known hole. Archives sign with the old key and the new
//! while they change keys, so one common key is enough.

use cairn_recipe::lock::{Accepted, AcceptedKind, LockedIndex};

use super::date;
use super::error::DebianError;
use super::keyring::Keyring;
use crate::memory::Accept;

/// Records what the operator accepts; an error for the rest.
pub fn check(
    before: &LockedIndex,
    now: &LockedIndex,
    keyring: &Keyring,
    accept: &Accept,
) -> Result<Vec<Accepted>, DebianError> {
    let (suite, mut accepted) = (&now.suite, Vec::new());
    let mut record = |kind, old: String, new: String| accepted.push(Accepted { kind, name: suite.clone(), old, new });
    let (Some(locked), Some(found)) = (date::parse(&before.date), date::parse(&now.date)) else {
        return Err(DebianError::LockedDate { suite: suite.clone(), value: before.date.clone() });
    };
    if found < locked {
        let (locked, found) = (before.date.clone(), now.date.clone());
        if !accept.older_releases.contains(suite) {
            return Err(DebianError::OlderRelease { suite: suite.clone(), locked, found });
        }
        record(AcceptedKind::OlderRelease, locked, found);
    }
    if !is_continued(&before.signed_by, &now.signed_by, keyring) {
        let (locked, found) = (before.signed_by.clone(), now.signed_by.clone());
        if !accept.signer(&found) {
            return Err(DebianError::OtherSigner { suite: suite.clone(), locked, found });
        }
        record(AcceptedKind::Signer, locked.join(" "), found.join(" "));
    }
    Ok(accepted)
}

/// Whether one key, or one owner of keys, signed both.
fn is_continued(before: &[String], now: &[String], keyring: &Keyring) -> bool {
    let owners: Vec<Option<String>> = before.iter().map(|fingerprint| keyring.primary_of(fingerprint)).collect();
    now.iter().any(|fingerprint| {
        let owner = keyring.primary_of(fingerprint);
        before.contains(fingerprint) || (owner.is_some() && owners.contains(&owner))
    })
}
