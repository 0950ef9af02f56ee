//! What a host remembers of pointers: for each key the newest that it has accepted from it.
//!
//! A pointer must be as new as the newest that any of the keys trusted *now* has signed. So
//!
//! * nothing that can write to the cache can put back an earlier pointer, not even one of the other
//!   key while two are trusted during a rotation;
//! * what a stolen key has signed stops counting when the key is no longer trusted, whatever number
//!   it used; and counts again if the key ever comes back.
//!
//! Keys are told apart by their 32 bytes, not by their names (see [`PublicKey::id`]).

use std::collections::BTreeMap;

use cairn_formats::StorePath;
use serde::{Deserialize, Serialize};

use crate::key::PublicKey;
use crate::pointer::{MAX_AHEAD, OpenedPointer};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    pub sequence: u64,
    pub closure: StorePath,
}

/// The newest pointer accepted from each key, by [`PublicKey::id`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SeenByKey(BTreeMap<String, Seen>);

impl SeenByKey {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The newest of the keys that are trusted now.
    pub fn newest(&self, trusted: &[PublicKey]) -> Option<&Seen> {
        trusted.iter().filter_map(|key| self.0.get(&key.id())).max_by_key(|seen| seen.sequence)
    }

    /// Remembers an accepted pointer for each trusted key that has signed it.
    pub fn record(&mut self, opened: &OpenedPointer) {
        let seen = Seen { sequence: opened.pointer.sequence, closure: opened.pointer.closure.clone() };
        for key in &opened.signers {
            self.0.insert(key.id(), seen.clone());
        }
    }

    /// Takes over the one number that earlier versions kept, for every key that is trusted now.
    ///
    /// It does not say which key had signed, so it counts for all: never does a host accept a pointer
    /// that it would have refused before. The exception is a number more than a day after `clock`: it
    /// comes from a wrong clock or a stolen key and would outlive that key, so it counts as `clock`.
    /// What was published before stays refused, and what is published from now on is accepted.
    pub fn migrate(&mut self, old: &Seen, trusted: &[PublicKey], clock: i64) {
        let sequence = match is_ahead(old.sequence, clock) {
            true => u64::try_from(clock).unwrap_or(0),
            false => old.sequence,
        };
        for key in trusted {
            self.0.insert(key.id(), Seen { sequence, closure: old.closure.clone() });
        }
    }
}

/// Whether a sequence number is more than [`MAX_AHEAD`] after the clock.
pub fn is_ahead(sequence: u64, now: i64) -> bool {
    i128::from(sequence) > i128::from(now) + i128::from(MAX_AHEAD)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::SecretKey;

    fn seen(sequence: u64) -> Seen {
        Seen { sequence, closure: StorePath::parse("0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-host").unwrap() }
    }

    fn key(name: &str) -> PublicKey {
        SecretKey::generate(name).unwrap().0.public()
    }

    #[test]
    fn a_key_that_is_no_longer_trusted_counts_no_more() {
        let (old, new) = (key("web-1"), key("web-1"));
        let mut memory = SeenByKey::default();
        memory.migrate(&seen(900), std::slice::from_ref(&old), 1000);
        memory.migrate(&seen(500), std::slice::from_ref(&new), 1000);
        assert_eq!(memory.newest(&[new.clone(), old.clone()]), Some(&seen(900)));
        assert_eq!(memory.newest(&[new]), Some(&seen(500)));
        assert_eq!(memory.newest(&[old]), Some(&seen(900)));
        assert_eq!(memory.newest(&[key("web-1")]), None);
    }

    #[test]
    fn one_number_of_an_earlier_version_counts_for_all_keys_and_at_most_until_now() {
        let keys = [key("a"), key("b")];
        let clock = 1_795_000_000;
        for (old, expected) in [
            (clock - 5, clock - 5),
            // Within the bound a publisher's clock may have been ahead.
            (clock + 86_400, clock + 86_400),
            (clock + 86_401, clock),
            (u64::MAX, clock),
        ] {
            let mut memory = SeenByKey::default();
            memory.migrate(&seen(old), &keys, clock.cast_signed());
            for key in &keys {
                assert_eq!(memory.newest(std::slice::from_ref(key)), Some(&seen(expected)), "{old}");
            }
        }
    }
}
