//! Hosts: how each is reached, what a switch would change on it, and what became of it.
//!
//! [`Fleet::connect`] opens a session to a host of the project, starting its machine first when it
//! is one of this computer's. [`Plan`] compares the closure that is wanted with the one that is
//! live. [`Fleet::switch`] and [`Fleet::rollback`] carry a host through copy, trial and
//! confirmation; both end in a [`HostReport`], whatever happens.

mod error;
mod operate;
mod order;
mod plan;
mod reach;
mod report;
mod switch;

pub use error::FleetError;
pub use order::{Held, NotHeld, waves};
pub use plan::{Change, Plan, agent_of};
pub use reach::{Fleet, Reached, rfc3339};
pub use report::{CertificateStatus, Endpoint, HostReport, Outcome, StatusEntry, exit_code};
pub use switch::{Confirmation, Event, Listener, Sealer, Terms};
