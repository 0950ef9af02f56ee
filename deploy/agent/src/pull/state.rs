//! What a host remembers of its pulls, in `/nix/var/cairn/pull.json`: the newest pointer that it has
//! accepted from each key, so that no earlier one is taken, and what became of it, so that what has
//! failed is not tried for ever.

use cairn_cache::{OpenedPointer, Pointer, PublicKey, Revision, Seen, SeenByKey};
use cairn_protocol::{ActivationId, Ending, PullConfig};
use serde::{Deserialize, Serialize};

use crate::activation::record::{self, Record};
use crate::error::Result;
use crate::files;
use crate::paths::Paths;
use crate::private;

#[cfg(test)]
#[path = "../fixtures/pull.rs"]
mod fixtures;

/// So often an activation may come to no end by itself (a host that was switched off meanwhile)
/// before its closure is taken for the cause.
const INTERRUPTIONS: u32 = 3;
/// Seconds after the first refusal, doubled with each, up to an hour.
const FIRST_PAUSE: i64 = 60;
const LONGEST_PAUSE: i64 = 3600;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    pub host: String,
    pub cache: String,
    /// The server's `ETag` of `pointer`.
    pub tag: Option<String>,
    /// The newest pointer as it was signed.
    pub pointer: Option<String>,
    /// The newest pointer accepted. Agents of earlier versions know this one number, whatever the key;
    /// it is written for them too, as they read this file when an earlier generation is live.
    pub seen: Option<Newest>,
    /// The newest pointer accepted from each key. Empty when an earlier version has written the file.
    pub seen_by_key: SeenByKey,
    pub attempt: Option<Attempt>,
    /// Seconds since 1970.
    pub checked: Option<i64>,
    pub problem: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Newest {
    #[serde(flatten)]
    pub pointer: Seen,
    /// Seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<i64>,
}

/// At making live what a pointer names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    pub sequence: u64,
    /// Begun, with an end that is not known yet.
    pub activation: Option<ActivationId>,
    pub interrupted: u32,
    /// Refused before anything was touched: so often, and the last time.
    pub refused: u32,
    pub refused_at: i64,
    /// It has failed and was reverted: not again.
    pub failed: Option<String>,
}

impl State {
    /// Of another host's pulls nothing holds; of another cache's everything but the server's word.
    pub fn load(paths: &Paths, config: &PullConfig) -> Result<Self> {
        let mut state: Self = files::read_json(&paths.pull_state())?.unwrap_or_default();
        if state.host != config.host {
            state = Self { host: config.host.clone(), ..Self::default() };
        }
        if state.cache != config.cache {
            state.cache.clone_from(&config.cache);
            state.tag = None;
        }
        Ok(state)
    }

    pub fn save(&self, paths: &Paths) -> Result<()> {
        private::make_state_dir(paths)?;
        files::replace_json(&paths.pull_state(), self)
    }

    /// Takes over what an earlier version has written, for the keys that are trusted now; gives
    /// whether there was anything to take over.
    pub fn migrate(&mut self, trusted: &[PublicKey], now: i64) -> bool {
        let (true, Some(seen)) = (self.seen_by_key.is_empty(), &mut self.seen) else { return false };
        // A host that boots without the right time has been later than it now believes.
        let clock = self.checked.map_or(now, |checked| checked.max(now));
        self.seen_by_key.migrate(&seen.pointer, trusted, clock);
        if let Some(believed) = self.seen_by_key.newest(trusted) {
            seen.pointer = believed.clone();
        }
        true
    }

    /// Checks a pointer whose signature holds, and remembers it: no earlier one is taken from here on.
    /// An error if it is refused; then nothing is remembered.
    pub fn accept(&mut self, opened: &OpenedPointer, trusted: &[PublicKey], now: i64, url: &str) -> Result<()> {
        let pointer = &opened.pointer;
        pointer.check_fresh(self.seen_by_key.newest(trusted), now, url)?;
        self.seen_by_key.record(opened);
        self.seen = Some(Newest {
            pointer: Seen { sequence: pointer.sequence, closure: pointer.closure.clone() },
            published: Some(pointer.published),
            expires: pointer.expires,
        });
        Ok(())
    }

    pub fn revision(&self) -> Revision {
        match (&self.tag, &self.pointer) {
            (Some(tag), Some(_)) => Revision::Tag(tag.clone()),
            _ => Revision::Unknown,
        }
    }

    /// The attempt at this pointer, a new one if the pointer has moved.
    pub fn attempt(&mut self, pointer: &Pointer) -> &mut Attempt {
        let sequence = pointer.sequence;
        if self.attempt.as_ref().is_some_and(|attempt| attempt.sequence != sequence) {
            self.attempt = None;
        }
        self.attempt.get_or_insert_with(|| Attempt { sequence, ..Attempt::default() })
    }
}

impl Attempt {
    /// Why it is not the time for another one.
    pub fn waits(&self, now: i64) -> Option<String> {
        if let Some(failed) = &self.failed {
            return Some(format!(
                "what the pointer names failed here and was reverted; it is not tried again until the pointer moves. \
                 The cause: {failed}"
            ));
        }
        let doubled = FIRST_PAUSE << self.refused.saturating_sub(1).min(10);
        let until = self.refused_at.saturating_add(doubled.min(LONGEST_PAUSE));
        // A time after now is that of a clock that was wrong: it would be waited for as long as it was off.
        (self.refused > 0 && self.refused_at <= now && now < until).then(|| {
            format!("it was refused {} times before anything changed; again in {} s", self.refused, until - now)
        })
    }

    /// Finds out how an activation ended whose end nobody here has seen.
    pub fn settle(&mut self, paths: &Paths) {
        let Some(id) = self.activation.take() else { return };
        let Ok(record) = Record::load(paths, &id) else { return };
        if record.boot_id == record::boot_id(paths) {
            let message = record.problem.as_ref().map(|problem| problem.message.clone());
            self.ended(record.ending(), message, record::seconds());
        } else {
            // It says reverted, but that was the reboot.
            self.interrupted += 1;
            if self.interrupted >= INTERRUPTIONS {
                self.failed = Some(format!("the host went down {INTERRUPTIONS} times in the middle of it"));
            }
        }
    }

    pub fn ended(&mut self, ending: Ending, message: Option<String>, now: i64) {
        self.activation = None;
        match ending {
            Ending::Reverted | Ending::Broken => {
                self.failed = Some(message.unwrap_or_else(|| "it did not say why".to_owned()));
            }
            Ending::Refused => {
                self.refused += 1;
                self.refused_at = now;
            }
            Ending::Committed | Ending::UnderWay => {}
        }
    }
}

#[cfg(test)]
mod tests;
