//! How commands go over many hosts.

use std::num::NonZeroUsize;
use std::time::Duration;

use cairn_recipe::rollout::{Batch, OnFailure, RolloutEntry, Strategy};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use serde::Deserialize as _;
use serde::de::IntoDeserializer;
use serde::de::value::Error;

/// Of every command that works on hosts.
#[derive(Debug, Args)]
pub struct ReachOptions {
    /// Hosts that are worked on at once [default: 32]
    #[arg(long, value_name = "N")]
    pub parallel: Option<NonZeroUsize>,
    /// Hosts that cannot be reached are no failure, as long as another one can
    #[arg(long)]
    pub skip_unreachable: bool,
}

/// Each says it instead of the fleet's own `[rollout]`.
#[derive(Debug, Args)]
pub struct RolloutOptions {
    /// All at once, batch after batch, or some first
    #[arg(long, value_parser = PossibleValuesParser::new(["all", "rolling", "canary"])
        .try_map(|word| Strategy::deserialize(IntoDeserializer::<Error>::into_deserializer(word))))]
    pub strategy: Option<Strategy>,
    /// Hosts in a batch of `rolling`, or of what `canary` leaves: a number, or a percentage
    #[arg(long, value_name = "N|N%")]
    pub batch: Option<Batch>,
    /// Hosts that go first
    #[arg(long, value_name = "N")]
    pub canary: Option<NonZeroUsize>,
    /// How long health is asked before the next hosts begin: 30s, 5m
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub wait: Option<Duration>,
    /// When a host fails: begin no other one, go on, or take back those that were switched
    #[arg(long, value_name = "WHAT", value_parser = PossibleValuesParser::new(["stop", "continue", "revert"])
        .try_map(|word| OnFailure::deserialize(IntoDeserializer::<Error>::into_deserializer(word))))]
    pub on_failure: Option<OnFailure>,
}

pub(super) fn duration(text: &str) -> Result<Duration, &'static str> {
    cairn_recipe::duration::parse(text).ok_or("write a whole number and ms, s, m, h or d, as in 30s")
}

/// A duration that something can happen in.
pub(super) fn time(text: &str) -> Result<Duration, &'static str> {
    let time = duration(text)?;
    if time.is_zero() { Err("nothing ends in no time: write at least 1s") } else { Ok(time) }
}

impl RolloutOptions {
    /// As a fleet's definition would say it.
    pub fn entry(&self, reach: &ReachOptions) -> RolloutEntry {
        RolloutEntry {
            strategy: self.strategy,
            batch: self.batch,
            canary: self.canary,
            wait: self.wait,
            parallel: reach.parallel,
            on_failure: self.on_failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        rollout: RolloutOptions,
        #[command(flatten)]
        reach: ReachOptions,
    }

    #[test]
    fn the_command_line_says_what_a_fleet_can() {
        let line = "x --strategy canary --batch 25% --canary 2 --wait 5m --parallel 4 --on-failure revert";
        let Line { rollout, reach } = Line::try_parse_from(line.split(' ')).expect("a good line");
        let wanted = RolloutEntry {
            strategy: Some(Strategy::Canary),
            batch: Some(Batch::Percent(25)),
            canary: NonZeroUsize::new(2),
            wait: Some(Duration::from_secs(300)),
            parallel: NonZeroUsize::new(4),
            on_failure: Some(OnFailure::Revert),
        };
        assert_eq!(rollout.entry(&reach), wanted);
        for (bad, said) in [
            ("--strategy rollin", "rolling"),
            ("--batch 0%", "is not a batch"),
            ("--canary 0", "'0'"),
            ("--wait 5", "as in 30s"),
            ("--on-failure give-up", "revert"),
        ] {
            let error = Line::try_parse_from(format!("x {bad}").split(' ')).expect_err(bad).to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
