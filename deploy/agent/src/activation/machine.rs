//! The course of an activation as a pure state machine: which phase follows which, whatever
//! fails or dies.
//!
//! One rename decides: whoever finds the profile pointing at the new closure goes forward, whoever
//! does not goes back. Everything before that rename is undone as a whole, everything after it is
//! finished, by this process or by the one that systemd starts when this one dies.

use cairn_protocol::Step;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Recorded; the detached process has not begun.
    Queued,
    /// Looking only.
    Preflight,
    /// Units linked in the runtime directory.
    Stage,
    /// New instances started beside the old and healthy, group by group.
    Start,
    /// Traffic moved to the new instances.
    Flip,
    /// Asked again, by the way that traffic takes.
    Recheck,
    /// Waiting for a fresh connection.
    Confirm,
    /// The rename.
    Commit,
    /// Old instances drained and stopped; the generator's output takes over.
    Drain,
    /// Going back.
    Revert,
    // How it can end:
    Committed,
    Refused,
    Reverted,
    /// Going back failed as well. The next activation tries again.
    Broken,
}

/// What happened to the phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Failed,
    /// The process that was at it is gone.
    Died,
}

/// What the phases do to the host, if anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Changes nothing.
    Looking,
    /// Changes the running host only.
    Trial,
    Renaming,
    Finishing,
    GoingBack,
    Ended,
}

impl Phase {
    pub const ALL: [Self; 14] = [
        Self::Queued,
        Self::Preflight,
        Self::Stage,
        Self::Start,
        Self::Flip,
        Self::Recheck,
        Self::Confirm,
        Self::Commit,
        Self::Drain,
        Self::Revert,
        Self::Committed,
        Self::Refused,
        Self::Reverted,
        Self::Broken,
    ];

    const fn kind(self) -> Kind {
        match self {
            Self::Queued | Self::Preflight => Kind::Looking,
            Self::Stage | Self::Start | Self::Flip | Self::Recheck | Self::Confirm => Kind::Trial,
            Self::Commit => Kind::Renaming,
            Self::Drain => Kind::Finishing,
            Self::Revert => Kind::GoingBack,
            Self::Committed | Self::Refused | Self::Reverted | Self::Broken => Kind::Ended,
        }
    }

    /// The phase that follows. `committed` is the profile's own word, asked after the outcome.
    pub const fn after(self, outcome: Outcome, committed: bool) -> Self {
        match (self.kind(), outcome) {
            (Kind::Ended, _) => self,
            (_, Outcome::Done) => self.next(),
            (Kind::Looking, _) => Self::Refused,
            (Kind::Trial, _) => Self::Revert,
            (Kind::Renaming, _) if committed => Self::Drain,
            (Kind::Renaming, _) => Self::Revert,
            // What could not be stopped is noted; the new generation is live all the same.
            (Kind::Finishing, Outcome::Failed) => Self::Committed,
            (Kind::Finishing, Outcome::Died) => Self::Drain,
            (Kind::GoingBack, Outcome::Failed) => Self::Broken,
            (Kind::GoingBack, Outcome::Died) => Self::Revert,
        }
    }

    /// Where a process goes on that finds an activation which another one left in this phase.
    /// Unlike [`Phase::after`] it tries again what failed for good.
    pub const fn resume(self, committed: bool) -> Self {
        match self {
            Self::Broken => Self::Revert,
            other => other.after(Outcome::Died, committed),
        }
    }

    /// How it stands after the host rebooted: nothing of a trial is left, and the profile alone
    /// says what was started.
    pub const fn after_reboot(self, committed: bool) -> Self {
        match self.kind() {
            Kind::Ended if !matches!(self, Self::Broken) => self,
            Kind::Looking => Self::Refused,
            _ if committed => Self::Committed,
            _ => Self::Reverted,
        }
    }

    const fn next(self) -> Self {
        match self {
            Self::Queued => Self::Preflight,
            Self::Preflight => Self::Stage,
            Self::Stage => Self::Start,
            Self::Start => Self::Flip,
            Self::Flip => Self::Recheck,
            Self::Recheck => Self::Confirm,
            Self::Confirm => Self::Commit,
            Self::Commit => Self::Drain,
            Self::Drain => Self::Committed,
            Self::Revert => Self::Reverted,
            ended => ended,
        }
    }

    pub const fn has_ended(self) -> bool {
        matches!(self.kind(), Kind::Ended)
    }

    /// What is shown for it.
    pub const fn step(self) -> Step {
        match self {
            Self::Queued | Self::Preflight | Self::Refused => Step::Preflight,
            Self::Stage => Step::Stage,
            Self::Start => Step::Start,
            Self::Flip => Step::Flip,
            Self::Recheck => Step::Health,
            Self::Confirm => Step::Confirm,
            Self::Commit => Step::Commit,
            Self::Drain | Self::Committed => Step::Drain,
            Self::Revert | Self::Reverted | Self::Broken => Step::Revert,
        }
    }

    pub const fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Preflight => "checking",
            Self::Stage => "staging units",
            Self::Start => "starting services",
            Self::Flip => "moving traffic",
            Self::Recheck => "checking again",
            Self::Confirm => "waiting for confirmation",
            Self::Commit => "committing",
            Self::Drain => "draining the old services",
            Self::Revert => "going back",
            Self::Committed => "committed",
            Self::Refused => "refused",
            Self::Reverted => "reverted",
            Self::Broken => "broken",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_faults_every_phase_comes_once() {
        let mut phase = Phase::Queued;
        let mut seen = vec![phase];
        while !phase.has_ended() {
            phase = phase.after(Outcome::Done, false);
            seen.push(phase);
        }
        assert_eq!(
            seen,
            [
                Phase::Queued,
                Phase::Preflight,
                Phase::Stage,
                Phase::Start,
                Phase::Flip,
                Phase::Recheck,
                Phase::Confirm,
                Phase::Commit,
                Phase::Drain,
                Phase::Committed
            ]
        );
    }

    #[test]
    fn before_the_rename_every_fault_goes_back_and_after_it_none_does() {
        for phase in Phase::ALL.into_iter().filter(|phase| !phase.has_ended()) {
            for outcome in [Outcome::Failed, Outcome::Died] {
                let mut end = phase.after(outcome, false);
                while !end.has_ended() {
                    end = end.after(Outcome::Done, false);
                }
                let expected = match phase {
                    Phase::Queued | Phase::Preflight => Phase::Refused,
                    Phase::Drain => Phase::Committed,
                    Phase::Revert if outcome == Outcome::Failed => Phase::Broken,
                    _ => Phase::Reverted,
                };
                assert_eq!(end, expected, "{phase:?} {outcome:?}");
            }
        }
        assert_eq!(Phase::Commit.after(Outcome::Died, true), Phase::Drain);
        assert_eq!(Phase::Commit.after(Outcome::Failed, true), Phase::Drain);
    }

    #[test]
    fn a_reboot_ends_every_activation_by_what_the_profile_says() {
        for phase in Phase::ALL {
            assert!(phase.after_reboot(false).has_ended());
            assert!(phase.after_reboot(true).has_ended());
        }
        assert_eq!(Phase::Confirm.after_reboot(false), Phase::Reverted);
        assert_eq!(Phase::Commit.after_reboot(true), Phase::Committed);
        assert_eq!(Phase::Broken.after_reboot(false), Phase::Reverted);
    }
}
