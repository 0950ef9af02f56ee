//! What can go wrong on the way to a host. Each message says what to do.

use std::io;
use std::path::PathBuf;

use cairn_formats::StorePath;
use cairn_protocol::Failure;

use crate::SshFault;

#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// `ssh` did not get us to a running agent.
    #[error("{host} ({address}): {fault}")]
    Ssh { host: String, address: String, fault: SshFault },
    /// `ssh` itself could not be run.
    #[error("cannot run `{program}`: {source}; install the OpenSSH client")]
    NoSsh { program: PathBuf, source: io::Error },
    #[error(
        "{host} is an {machine} machine and the agent at hand is for {agent}: correct the host's `platform` in its definition"
    )]
    WrongPlatform { host: String, machine: String, agent: String },
    #[error("{host} speaks version {theirs} of the protocol and this program {ours}: use one version of both")]
    Version { host: String, ours: u32, theirs: u32 },
    /// The connection was there and is gone.
    #[error("lost the connection to {host} while {during}: {detail}")]
    Lost { host: String, during: String, detail: String },
    /// It is there, and nothing comes from it.
    #[error("nothing came from {host} for {seconds} s while {during}: log in and look what hangs there")]
    Silent { host: String, during: String, seconds: u64 },
    /// Something comes from it, and there is no end of it.
    #[error(
        "{host} was not done within {seconds} s while {during}, and the connection was closed: log in and look what it does"
    )]
    TooLong { host: String, during: String, seconds: u64 },
    /// It sends more than it may.
    #[error("{host} answered the request `{request}` with more than {limit}, and the connection was closed: {advice}")]
    TooMuch { host: String, request: &'static str, limit: String, advice: &'static str },
    #[error("{host} does not keep to the protocol: {detail}")]
    Protocol { host: String, detail: String },
    /// The agent answered that it could not.
    #[error("{host}: {failure}{}", .failure.advice.as_ref().map(|a| format!("; {a}")).unwrap_or_default())]
    Refused { host: String, failure: Box<Failure> },
    #[error(
        "`{value}` is not a host key: expected one line `KIND BASE64`, as `ssh-keyscan` prints behind the host's name"
    )]
    HostKeyForm { value: String },
    #[error("cannot read the agent {file}: {source}; build it again with `deploy build`")]
    AgentFile { file: PathBuf, source: io::Error },
    /// A file of a valid path of the local store does not read.
    #[error("cannot read {file} of the local store: {source}; `deploy store verify` finds and repairs such paths")]
    LocalFile { file: PathBuf, source: io::Error },
    #[error("{path} is not in the local store: build it before it is copied")]
    NotLocal { path: StorePath },
    #[error("local store: {0}")]
    Store(#[from] cairn_store::StoreError),
    #[error("cannot prepare the connection: {0}")]
    Local(io::Error),
}

impl TransportError {
    /// The agent's answer, when that is what failed.
    pub const fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Refused { failure, .. } => Some(&**failure),
            _ => None,
        }
    }

    /// Whether there was no way to the host, as opposed to one that it refused.
    pub const fn unreachable(&self) -> bool {
        matches!(
            self,
            Self::Ssh { fault: SshFault::Unreachable { .. } | SshFault::Silent { .. } | SshFault::TooLong { .. }, .. }
        )
    }

    /// Whether the server had too many logins under way.
    pub fn is_crowded(&self) -> bool {
        matches!(self, Self::Ssh { fault, .. } if fault.is_crowded())
    }

    /// Whether the host could not be reached at all, so that nothing can have changed on it.
    pub const fn before_contact(&self) -> bool {
        matches!(
            self,
            Self::Ssh { .. }
                | Self::NoSsh { .. }
                | Self::WrongPlatform { .. }
                | Self::AgentFile { .. }
                | Self::Local(_)
        )
    }
}
