//! Tells others what becomes of a switch or a rollback: a stream of events for programs, webhooks,
//! and Slack.
//!
//! What happens on hosts enters as [`cairn_fleet::Event`] and leaves as a [`Document`], whose form is
//! versioned and described in `docs/events.md`; a test compares the two. [`Announcer`] gives each run
//! one name, numbers its documents and hands them on: all of them to the [`Stream`], the few that
//! matter to people to each [`Target`].
//!
//! Nobody who listens can hold up a run: every listener has a thread of its own, and when the run is
//! over all of them together are waited for at most [`PATIENCE`].
//!
//! ```no_run
//! use cairn_notify::{Announcer, Facts, Stream};
//!
//! let facts = Facts { command: "switch".into(), operator: "alice@desk".into(), ..Facts::default() };
//! let stream = Stream::open("events.jsonl".as_ref(), || ())?;
//! let announcer = Announcer::new(facts, Vec::new(), Some(stream), Vec::new());
//! announcer.started();
//! announcer.ended(&[], 0);
//! assert!(announcer.finish().is_empty());
//! # Ok::<(), cairn_notify::StreamError>(())
//! ```

mod announcer;
mod document;
mod post;
mod signature;
mod slack;
mod stream;
mod target;

use std::time::Duration;

pub use announcer::Announcer;
pub use document::{Document, Event, Facts, HostOutcome, Member, VERSION, Verdict};
pub use signature::signature;
pub use stream::{Stream, StreamError};
pub use target::{Hidden, Target};

/// How long listeners are waited for when all else is done.
pub const PATIENCE: Duration = Duration::from_secs(10);
