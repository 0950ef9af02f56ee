//! The way to a host: one SSH connection, an agent on its far end, closures copied through it.
//!
//! [`Session::open`] runs the system's `ssh` once (so the user's configuration, jump hosts and key
//! agent apply), brings the agent along when the host lacks it ([`bootstrap`]) and reads its hello.
//! After that a session is a conversation of [`cairn_protocol`]: [`Session::request`] asks,
//! [`copy_closure`] sends store paths. What `ssh` prints when it fails becomes a typed
//! [`TransportError`] with what to do about it ([`fault`]). What a host may take and answer is
//! bounded ([`Limits`]).
//!
//! ```no_run
//! use cairn_transport::{Agent, Options, Session, Target, copy_closure};
//!
//! # fn example(agent: &Agent, store: &cairn_store::Store, closure: &cairn_formats::StorePath)
//! #     -> Result<(), Box<dyn std::error::Error>> {
//! let mut target = Target::new("web-1", "web-1.example");
//! target.user = Some("deploy".into());
//! let mut session = Session::open(&target, agent, &Options::new("host-keys".into()))?;
//! if session.hello().current.as_ref().map(|g| &g.closure) != Some(closure) {
//!     let paths = store.closure(std::slice::from_ref(closure))?;
//!     let report = copy_closure(&mut session, store, &paths, &())?;
//!     println!("{} bytes sent", report.bytes_sent);
//! }
//! # Ok(()) }
//! ```

mod arguments;
mod bootstrap;
mod copy;
mod crowd;
mod error;
mod fault;
#[doc(hidden)]
pub mod fuzzing;
mod learn;
mod limits;
mod luggage;
mod pipe;
mod session;
mod silence;
mod ssh;

pub use copy::{CopyProgress, CopyReport, copy_closure};
pub use error::TransportError;
pub use fault::{SshFault, classify};
pub use learn::learn_host_key;
pub use limits::Limits;
pub use session::{Options, Session};
pub use ssh::{Agent, HostKey, Target, attended, interactive};
