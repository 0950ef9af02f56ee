//! What a host remembers of its pulls, in `/nix/var/cairn/pull.json`: the newest pointer that it has
//! seen, so that no earlier one is taken, and what became of it, so that what has failed is not
//! tried for ever.

use cairn_cache::{Pointer, Revision};
use cairn_formats::StorePath;
use cairn_protocol::{ActivationId, Ending, PullConfig};
use serde::{Deserialize, Serialize};

use crate::activation::record::{self, Record};
use crate::error::Result;
use crate::files;
use crate::paths::Paths;

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
    pub seen: Option<Seen>,
    pub attempt: Option<Attempt>,
    /// Seconds since 1970.
    pub checked: Option<i64>,
    pub problem: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    pub sequence: u64,
    pub closure: StorePath,
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
        files::make_directories(&paths.state_dir())?;
        files::replace_json(&paths.pull_state(), self)
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
        let until = self.refused_at + doubled.min(LONGEST_PAUSE);
        (self.refused > 0 && now < until).then(|| {
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
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_was_reverted_waits_for_the_pointer_and_what_was_refused_for_its_time() {
        let mut attempt = Attempt::default();
        assert_eq!(attempt.waits(0), None);
        for (refusals, pause) in [(1, 60), (2, 120), (3, 240), (7, 3600), (60, 3600)] {
            attempt.refused = refusals - 1;
            attempt.ended(Ending::Refused, None, 1000);
            assert!(attempt.waits(1000 + pause - 1).is_some(), "{refusals}");
            assert_eq!(attempt.waits(1000 + pause), None, "{refusals}");
        }
        attempt.ended(Ending::Reverted, Some("ill".to_owned()), 0);
        assert!(
            attempt.waits(i64::MAX).is_some_and(|why| why.contains("until the pointer moves") && why.contains("ill"))
        );
    }

    #[test]
    fn another_host_forgets_and_another_cache_keeps_the_number() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::new(root.path());
        let config = |cache: &str, host: &str| PullConfig {
            cache: cache.to_owned(),
            host: host.to_owned(),
            trusted_public_keys: Vec::new(),
        };
        let closure = StorePath::parse("0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-host").unwrap();
        let mut state = State::load(&paths, &config("http://a", "web")).unwrap();
        assert_eq!(state.revision(), Revision::Unknown);
        state.seen = Some(Seen { sequence: 5, closure });
        state.tag = Some("\"x\"".to_owned());
        state.pointer = Some("{}".to_owned());
        state.save(&paths).unwrap();
        assert_eq!(State::load(&paths, &config("http://a", "web")).unwrap(), state);
        let elsewhere = State::load(&paths, &config("http://b", "web")).unwrap();
        assert_eq!((elsewhere.seen, elsewhere.tag), (state.seen.clone(), None));
        assert_eq!(State::load(&paths, &config("http://a", "db")).unwrap().seen, None);
    }
}
