//! The sender's side of a copy.
//!
//! 1. What the host has is known from its hello ([`plan`]); the rest is described by manifests
//!    ([`describe`]), sent in one compressed stream without waiting for anything.
//! 2. The host answers with the file contents it lacks, one bit each, and how much it has of the one
//!    at which an earlier copy was interrupted.
//! 3. Those are sent in one compressed stream ([`contents`]); the host builds the trees, checks
//!    every hash and registers all paths at once.
//!
//! So a copy takes two round trips, however many paths and files it has. Memory holds the names of
//! the files to send, never their contents.
//!
//! Should the host find another hash than announced, the copy is tried again without the shortcuts
//! that rest on the state of a store: without bases, then once more because the host has dropped
//! the damaged files that it found by then. So damage on a host is repaired on the way.

mod contents;
mod describe;
mod links;
mod plan;

use std::time::Instant;

use cairn_formats::StorePath;
use cairn_protocol::wanted::Wanted;
use cairn_protocol::{CopyEvent, CopyRequest, Event, FailureKind, Request, Response, manifest};
use cairn_store::Store;

use crate::limits::TimeLimit;
use crate::session::WriteFault;
use crate::{Session, TransportError};
use plan::Plan;

/// What a copy did.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CopyReport {
    /// All bytes of the copy that went to the host: after compression, before that of SSH.
    pub bytes_sent: u64,
    /// File contents that were sent.
    pub files_sent: u64,
    /// Store paths that the host lacked.
    pub paths_sent: u64,
    pub seconds: f64,
}

/// Hears how a copy goes on. `()` hears nothing.
pub trait CopyProgress {
    /// The host has said what it lacks: `files` contents of `bytes` bytes, before compression.
    fn planned(&self, _paths: u64, _files: u64, _bytes: u64) {}
    /// So many of those bytes have been sent.
    fn sent(&self, _bytes: u64) {}
    /// The host has all contents and checks `paths` paths.
    fn received(&self) {}
    /// The host has built and checked this path.
    fn checked(&self, _path: &StorePath) {}
}

impl CopyProgress for () {}

/// Copies what the host lacks of `paths`, which must be a closure: everything a path refers to is
/// among them, dependencies first ([`Store::closure`]).
pub fn copy_closure(
    session: &mut Session,
    store: &Store,
    paths: &[StorePath],
    progress: &dyn CopyProgress,
) -> Result<CopyReport, TransportError> {
    let (started, before) = (Instant::now(), session.bytes_sent());
    let limit = session.limits().of_copy(0);
    session.limit_time(limit);
    let plan = Plan::make(session, store, paths)?;
    let mut files_sent = 0;
    let mut result = send(session, store, &plan, progress, &mut files_sent);
    for _ in 0..2 {
        if !result.as_ref().is_err_and(is_mismatch) {
            break;
        }
        result = send(session, store, &plan.without_shortcuts(), progress, &mut files_sent);
    }
    session.limit_time(TimeLimit::default());
    result?;
    Ok(CopyReport {
        bytes_sent: session.bytes_sent() - before,
        files_sent,
        paths_sent: plan.missing.len() as u64,
        seconds: started.elapsed().as_secs_f64(),
    })
}

fn is_mismatch(error: &TransportError) -> bool {
    error.failure().is_some_and(|failure| matches!(failure.kind, FailureKind::Mismatch { .. }))
}

/// The compressed manifests are mostly hashes, so that a higher level finds nothing more.
const MANIFEST_LEVEL: i32 = 3;

fn send(
    session: &mut Session,
    store: &Store,
    plan: &Plan,
    progress: &dyn CopyProgress,
    files_sent: &mut u64,
) -> Result<(), TransportError> {
    if plan.missing.is_empty() {
        return Ok(());
    }
    // Sizes before compression: more than is sent in the end.
    let described = plan.missing.iter().map(|missing| missing.nar_size).sum();
    session.limit_time(session.limits().of_copy(described));
    let request = Request::Copy(CopyRequest { announced: plan.announced.clone(), named: plan.named.clone() });
    session.send(&request)?;
    let contents = session.write_data("the list of files was sent", |data| {
        let compressed = zstd::Encoder::new(data, MANIFEST_LEVEL)?;
        let mut describer = describe::Describer::new(store, manifest::Writer::new(compressed), plan.shortcuts);
        for missing in &plan.missing {
            describer.path(missing)?;
        }
        let (writer, contents) = describer.finish();
        writer.finish()?.finish()?;
        Ok::<_, WriteFault>(contents)
    })?;
    let count = contents.len() as u64;
    let wanted = session.data("the host looked up what it lacks", |data| Wanted::read(data, count))?;
    let chosen = || {
        let lacking = (0..count).zip(&contents).filter(|(n, _)| wanted.contains(*n));
        lacking.map(|(n, content)| (content, wanted.begun(n)))
    };
    let total = chosen().map(|(content, from)| content.size.saturating_sub(from)).sum();
    progress.planned(plan.missing.len() as u64, wanted.count(), total);
    session.write_data("files were sent", |data| contents::send(data, chosen(), total, progress))?;
    *files_sent += wanted.count();
    let bound = session.limits().of(&request);
    let response = session.response("the host checked what it received", &bound, &mut |event| match event {
        Event::Copy(CopyEvent::Received { .. }) => progress.received(),
        Event::Copy(CopyEvent::Checked { path }) => progress.checked(&path),
        Event::Activation { .. } | Event::Log(_) | Event::Progress { .. } => {}
    })?;
    match response {
        Response::Copied(_) => Ok(()),
        other => Err(session.unexpected(&other)),
    }
}
