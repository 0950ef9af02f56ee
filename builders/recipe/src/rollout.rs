//! `[rollout]` of a fleet: in which portions its hosts are switched, and what a failure leads to.
//!
//! The command line says the same things; what it says lies over the fleet's
//! ([`RolloutEntry::over`]).

use std::num::NonZeroUsize;
use std::str::FromStr;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::duration;

/// What was said; everything is optional.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutEntry {
    pub strategy: Option<Strategy>,
    /// Of `rolling`, and of what `canary` leaves.
    pub batch: Option<Batch>,
    /// How many hosts go first.
    pub canary: Option<NonZeroUsize>,
    /// How long health is asked after a portion, before the next one begins.
    #[serde(default, deserialize_with = "pause")]
    pub wait: Option<Duration>,
    /// Hosts that are worked on at once.
    pub parallel: Option<NonZeroUsize>,
    pub on_failure: Option<OnFailure>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// No portions.
    All,
    /// One batch after the other.
    Rolling,
    /// Some first, and when they are well the rest.
    Canary,
}

/// What happens to the other hosts of the fleet when one fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// No further host is begun.
    #[default]
    Stop,
    /// They are switched all the same.
    Continue,
    /// As `stop`, and those that were switched already go back.
    Revert,
}

/// How many hosts make a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batch {
    Hosts(NonZeroUsize),
    /// From 1 to 100, of the hosts that could go at once.
    Percent(usize),
}

impl Batch {
    /// At least one, of `total`.
    pub const fn of(self, total: usize) -> usize {
        match self {
            Self::Hosts(number) => number.get(),
            Self::Percent(percent) => {
                let share = (total * percent).div_ceil(100);
                if share == 0 { 1 } else { share }
            }
        }
    }
}

impl FromStr for Batch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = match text.strip_suffix('%') {
            Some(percent) => percent.parse().ok().filter(|p| (1..=100).contains(p)).map(Self::Percent),
            None => text.parse().ok().map(Self::Hosts),
        };
        found.ok_or_else(|| format!("`{text}` is not a batch; write a number of hosts, or a percentage as in \"25%\""))
    }
}

impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(deserializer)? {
            toml::Value::String(text) => text.parse(),
            other => other.to_string().parse(),
        }
        .map_err(D::Error::custom)
    }
}

fn pause<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration::deserialize(deserializer).map(Some)
}

/// A key that does not go with the strategy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misplaced {
    pub key: &'static str,
    pub message: &'static str,
    pub help: &'static str,
}

impl RolloutEntry {
    /// The strategy, also when only its size is given.
    pub fn strategy(&self) -> Option<Strategy> {
        let implied = if self.canary.is_some() { Strategy::Canary } else { Strategy::Rolling };
        self.strategy.or((self.canary.is_some() || self.batch.is_some()).then_some(implied))
    }

    /// These words, and those of `below` where there are none. Another strategy than that of
    /// `below` leaves its sizes behind.
    #[must_use]
    pub fn over(&self, below: &Self) -> Self {
        let strategy = match (self.strategy, below.strategy()) {
            // A batch alone is that of the rest, for a canary.
            (None, Some(Strategy::Canary)) => Some(Strategy::Canary),
            _ => self.strategy().or(below.strategy()),
        };
        let kept = strategy == below.strategy();
        Self {
            strategy,
            batch: self.batch.or(below.batch.filter(|_| kept)),
            canary: self.canary.or(below.canary.filter(|_| kept)),
            wait: self.wait.or(below.wait.filter(|_| kept)),
            parallel: self.parallel.or(below.parallel),
            on_failure: self.on_failure.or(below.on_failure),
        }
    }

    pub fn check(&self) -> Result<(), Misplaced> {
        let fail = |key, message, help| Err(Misplaced { key, message, help });
        let portions = matches!(self.strategy(), Some(Strategy::Rolling | Strategy::Canary));
        if self.canary.is_some() && self.strategy() != Some(Strategy::Canary) {
            return fail("canary", "it goes with the strategy `canary` alone", "take it away, or the strategy");
        }
        if self.batch.is_some() && !portions {
            return fail("batch", "the strategy `all` has no batches", "write the strategy `rolling`");
        }
        if self.wait.is_some() && !portions {
            return fail(
                "wait",
                "there is nothing to wait for between hosts that go at once",
                "write the strategy `rolling` or `canary`",
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn entry(text: &str) -> RolloutEntry {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn sizes_are_numbers_or_percentages() {
        for (text, total, wanted) in
            [("3", 10, 3), ("25%", 10, 3), ("25%", 1, 1), ("1%", 10, 1), ("100%", 7, 7), ("50%", 0, 1)]
        {
            assert_eq!(text.parse::<Batch>().unwrap().of(total), wanted, "{text} of {total}");
        }
        for bad in ["0", "0%", "101%", "-1", "", "%", "half", "1.5"] {
            assert!(bad.parse::<Batch>().unwrap_err().contains("is not a batch"), "{bad}");
        }
        assert_eq!(entry("batch = 2").batch, "2".parse().ok());
        assert_eq!(entry("batch = \"20%\"").batch, Some(Batch::Percent(20)));
        assert!(toml::from_str::<RolloutEntry>("batch = true").is_err());
        assert!(toml::from_str::<RolloutEntry>("canary = 0").is_err());
    }

    #[test]
    fn a_size_says_the_strategy_and_may_not_contradict_it() {
        assert_eq!(entry("").strategy(), None);
        assert_eq!(entry("batch = 1").strategy(), Some(Strategy::Rolling));
        assert_eq!(entry("canary = 1\nbatch = 2").strategy(), Some(Strategy::Canary));
        for (text, key) in [
            ("strategy = \"all\"\nbatch = 1", Some("batch")),
            ("strategy = \"rolling\"\ncanary = 1", Some("canary")),
            ("strategy = \"all\"\nwait = \"1s\"", Some("wait")),
            ("wait = \"1s\"", Some("wait")),
            ("strategy = \"rolling\"\nwait = \"1s\"", None),
            ("strategy = \"canary\"\nbatch = 1", None),
            ("on_failure = \"revert\"\nparallel = 2", None),
        ] {
            assert_eq!(entry(text).check().err().map(|misplaced| misplaced.key), key, "{text}");
        }
    }

    #[test]
    fn the_command_line_lies_over_the_fleet() {
        for (line, fleet, wanted) in [
            ("", "canary = 2\nwait = \"5s\"", "strategy = \"canary\"\ncanary = 2\nwait = \"5s\""),
            ("canary = 1", "batch = 3\nparallel = 4", "strategy = \"canary\"\ncanary = 1\nparallel = 4"),
            ("strategy = \"all\"", "batch = 3\non_failure = \"revert\"", "strategy = \"all\"\non_failure = \"revert\""),
            ("batch = 2", "canary = 1", "strategy = \"canary\"\ncanary = 1\nbatch = 2"),
            ("strategy = \"rolling\"", "canary = 1\nbatch = 2\nwait = \"5s\"", "strategy = \"rolling\""),
            ("batch = \"50%\"", "batch = 1\nwait = \"5s\"", "strategy = \"rolling\"\nbatch = \"50%\"\nwait = \"5s\""),
        ] {
            assert_eq!(entry(line).over(&entry(fleet)), entry(wanted), "{line} over {fleet}");
        }
    }
}
