//! What the command and the agent on a host say to each other.
//!
//! One session is one connection (SSH's stdin and stdout). After the agent's [`PREAMBLE`] line both
//! sides speak in [`frame`]s: the agent's [`Hello`] comes first and unasked, so that a client that
//! finds the wanted closure live already knows it after the first round trip. Then the client sends
//! one [`Request`] at a time; the agent answers with any number of [`Event`]s and exactly one
//! [`Response`]. A copy sends raw data frames in between, which [`manifest`] describes.
//!
//! Everything that arrives is taken for hostile: frames are bounded, names and identifiers are
//! checked when they are parsed, trees are strictly ordered.
//!
//! ```
//! use cairn_protocol::{Request, frame};
//!
//! let mut wire = Vec::new();
//! frame::write_message(&mut wire, frame::Kind::Request, &Request::Status)?;
//! let (kind, payload) = frame::read(&mut &wire[..])?;
//! assert_eq!(kind, frame::Kind::Request);
//! assert_eq!(frame::parse::<Request>(kind, &payload)?, Request::Status);
//! # Ok::<(), frame::FrameError>(())
//! ```

mod activation;
mod failure;
pub mod frame;
mod hello;
mod history;
mod host;
pub mod manifest;
mod message;
mod operate;
mod pull;
pub mod reading;
mod status;
pub mod wanted;

pub use activation::{
    ActivationEvent, ActivationId, ActivationRequest, Goal, IdError, Outcome, Problem, ServiceState, Stamped, Step,
};
pub use failure::{Failure, FailureKind};
pub use hello::{Generation, Hello, HostSummary};
pub use history::{Attempt, Changes, Ending, Expected, LockHolder, Retention, Source};
pub use host::{
    AdoptRequest, Adopted, AdoptedContent, AdoptedFile, AdoptedUnit, Examination, Examined, Finding, Level, Part,
    PartKind, UninstallRequest, Uninstalled,
};
pub use message::{
    CollectReport, CopyEvent, CopyRequest, CopyResult, Event, Request, Response, RollbackTarget, SealedSecret,
    SwitchEnd,
};
pub use operate::{
    Condition, Disk, Drift, LogLine, LogRequest, Maintained, MaintenanceRequest, RestartReport, RestartRequest, Until,
    decode_word, encode_word,
};
pub use pull::{PullConfig, PullStatus, StalePointer, WARN_AFTER, span};
pub use status::{Endpoint, Health, ServiceStatus, StatusReport};

/// Version of the conversation; both sides must have the same. The client brings its own agent,
/// so that they differ only when an old agent is called by hand.
pub const VERSION: u32 = 1;

/// The line the agent prints before its first frame. The newline in front separates it from what
/// a login script may have printed.
pub const PREAMBLE: &str = "\ncairn-serve 1\n";

/// Begins the line that the bootstrap script prints when the host lacks the agent; the host's
/// `uname -m` follows.
pub const BOOTSTRAP: &str = "cairn-bootstrap 1 ";
