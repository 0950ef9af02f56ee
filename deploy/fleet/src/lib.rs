//! Hosts: how each is reached, what a switch would change on it, and what became of it.
//!
//! [`Fleet::connect`] opens a session to a host of the project, starting its machine first when it
//! is one of this computer's. [`Plan`] compares the closure that is wanted with the one that is
//! live. [`Fleet::switch`] and [`Fleet::rollback`] carry a host through copy, trial and
//! confirmation; both end in a [`HostReport`], whatever happens. [`Run`] takes many hosts through
//! them, in the order and the portions that their definitions say.

mod ahead;
mod ask;
mod contents;
mod diff;
mod error;
mod event;
#[doc(hidden)]
pub mod fuzzing;
mod host;
mod kept;
mod needs;
mod operate;
mod order;
mod parallel;
mod plan;
mod reach;
mod report;
mod rollout;
mod switch;

pub use ahead::Ahead;
pub use ask::retention;
pub use cairn_closure::Change;
pub use cairn_formats::time::rfc3339;
pub use contents::{Contents, Origin, Reader};
pub use diff::{Difference, File, Package, Secret, Service};
pub use error::FleetError;
pub use event::{Event, Listener};
pub use host::examination;
pub use kept::{Kept, Plans};
pub use needs::Needs;
pub use order::{Held, NotHeld, waves};
pub use parallel::{AT_ONCE, in_parallel};
pub use plan::{Plan, agent_of, manifest_of};
pub use reach::{Fleet, Reached};
pub use report::{CertificateStatus, Endpoint, HostReport, Outcome, StatusEntry, exit_code};
pub use rollout::{Actions, OnHosts, Rollout, Run};
pub use switch::{Confirmation, Sealer, Terms};
