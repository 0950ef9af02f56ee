//! Why a host could not be worked on.

use std::path::PathBuf;

use cairn_machine::MachineError;
use cairn_protocol::Problem;
use cairn_store::StoreError;
use cairn_transport::{SshFault, TransportError};

#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error(transparent)]
    Machine(#[from] MachineError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("host `{host}` is not running\n  help: start it with `deploy machine start {host}`")]
    NotRunning { host: String },
    #[error(
        "host `{host}` pulls what it is to run, and has no way to it from here\n  help: `deploy publish {host}` changes what it runs; to reach it as well, give it an [ssh] section"
    )]
    Pulls { host: String },
    #[error("the host closure {} does not read: {message}\n  help: build it again with `deploy build hosts`", file.display())]
    Closure { file: PathBuf, message: String },
    #[error("{host}: {}", problem.message)]
    Refused { host: String, problem: Box<Problem> },
    #[error("{host}: {} — back on {}", problem.message, generation.map_or("no generation".to_owned(), |g| format!("generation {g}")))]
    Reverted { host: String, generation: Option<u64>, problem: Box<Problem> },
    #[error("{host}: {} — and going back failed as well\n  help: log in and look: `journalctl -u 'cairn-*'`", problem.message)]
    Broken { host: String, problem: Box<Problem> },
    #[error("{host}: not switched: the plan was not agreed to")]
    Declined { host: String },
    #[error("{host}: left as it is, because of {because}, which goes before it")]
    Skipped { host: String, because: String },
    #[error("{host}: left as it is, because of the interruption")]
    Interrupted { host: String },
    #[error("{host}: switched, and not healthy after that: {message}")]
    Unhealthy { host: String, message: String },
    #[error("{host}: taken back to generation {generation}, because {why}")]
    TakenBack { host: String, generation: u64, why: String },
    #[error("{host}: it should be taken back, because {why}, and was not: {error}")]
    NotTakenBack { host: String, why: String, error: Box<FleetError> },
    #[error("{host}: it ran nothing before, so there is no generation to go back to")]
    NothingBefore { host: String },
    #[error(
        "{first} and {second}, of the fleet `{fleet}`, say different things in [rollout]\n  help: say it once, in hosts/{fleet}/fleet.toml"
    )]
    Rollouts { fleet: String, first: String, second: String },
    #[error("--{option}: {message}\n  help: {help}")]
    Option { option: String, message: &'static str, help: &'static str },
    #[error("{host}: left as it is, because somebody else works on the fleet, as {at} says")]
    Elsewhere { host: String, at: String },
    #[error("these hosts wait for one another: {}\n  help: take one of them out of `after`", hosts.join(", "))]
    Circle { hosts: Vec<String> },
    #[error("{host}: the plan was made against {}, and {} is live now: nothing was changed\n  help: make the plan again with `deploy plan {host} --out FILE`", generation(*.planned), generation(*.live))]
    MovedOn { host: String, planned: Option<u64>, live: Option<u64> },
    #[error("{host}: cannot compare: {message}")]
    Compare { host: String, message: String },
    #[error("cannot read {}: {source}", file.display())]
    Local { file: PathBuf, source: std::io::Error },
    #[error("{}: {message}", file.display())]
    Kept { file: PathBuf, message: String },
    #[error("{host}: {message}")]
    Secrets { host: String, message: String },
    #[error("{host}: the agent answered something else than was asked: {answer}")]
    Answer { host: String, answer: String },
}

/// Characters of an answer that an error repeats.
const SHOWN: usize = 200;

impl FleetError {
    /// Of a host that answered another question. The answer may be of any length.
    pub fn answer(host: &str, answer: &impl std::fmt::Debug) -> Self {
        let answer = format!("{answer:?}").chars().take(SHOWN).collect();
        Self::Answer { host: host.to_owned(), answer }
    }

    /// The host's own account of what went wrong, with log lines.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused { problem, .. } | Self::Reverted { problem, .. } | Self::Broken { problem, .. } => {
                Some(problem)
            }
            Self::NotTakenBack { error, .. } => error.problem(),
            _ => None,
        }
    }

    /// There is no way to the host.
    pub const fn is_unreachable(&self) -> bool {
        match self {
            Self::NotRunning { .. } => true,
            Self::Transport(error) => error.unreachable(),
            _ => false,
        }
    }

    /// The host's key is neither pinned nor known.
    pub const fn is_unknown_host(&self) -> bool {
        matches!(self, Self::Transport(TransportError::Ssh { fault: SshFault::HostKeyUnknown, .. }))
    }

    pub fn is_locked(&self) -> bool {
        match self {
            Self::Transport(TransportError::Refused { failure, .. }) => failure.is_locked(),
            Self::Elsewhere { .. } => true,
            _ => false,
        }
    }
}

fn generation(number: Option<u64>) -> String {
    number.map_or("no generation".to_owned(), |n| format!("generation {n}"))
}
