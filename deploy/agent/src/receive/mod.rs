//! The host's side of a copy.
//!
//! The manifests of all paths arrive first and are kept in a file, so that memory does not grow
//! with them; every later pass reads that file again:
//!
//! 1. [`survey`]: is what is announced acceptable, and which file contents does the store lack?
//! 2. [`contents`]: each arriving file is hashed and becomes `.links/HASH` at once, so that an
//!    interrupted copy goes on where it stopped; in the middle of a file by [`begun`].
//! 3. [`build`], beside that: trees are hard links to `.links` and to the base; the NAR of each is
//!    hashed when its last file has [`arrived`].
//! 4. [`place`]: all trees are moved to their names and registered in one transaction.
//!
//! A path becomes valid only in the last step, or not at all. The sender is not trusted: a path
//! must be content-addressed, its name must follow from the announced hash, and the tree must have
//! that hash.

mod arrived;
pub mod begun;
mod build;
mod contents;
mod error;
mod place;
mod spool;
mod survey;

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::sync::mpsc;
use std::thread;

use cairn_formats::StorePath;
use cairn_protocol::frame::{self, DataReader, DataWriter, Kind};
use cairn_protocol::{CopyEvent, CopyRequest, CopyResult, Event};
use cairn_store::Store;

use arrived::Arrived;
pub use error::ReceiveError;
use spool::Spool;
pub use survey::free_bytes;

/// A copy that failed.
#[derive(Debug)]
pub struct Stopped {
    pub error: ReceiveError,
    /// Whether the connection is read up to where the next request begins, so that the session can
    /// go on. Not so when contents are still on their way.
    pub in_sync: bool,
}

/// Receives what `request` announces. `hello` is the list of paths that the hello named.
pub fn receive(
    store: &Store,
    request: &CopyRequest,
    hello: &[StorePath],
    from: &mut impl Read,
    to: &mut impl Write,
) -> Result<CopyResult, Stopped> {
    let broken = |error| Stopped { error, in_sync: false };
    let refused = |error| Stopped { error, in_sync: true };
    let dir = store.build_dir().map_err(|e| broken(e.into()))?;
    let mut data = DataReader::new(&mut *from);
    let spool = Spool::fill(&dir.path().join("manifests"), &mut data).map_err(broken)?;
    data.finish().map_err(|e| broken(ReceiveError::Connection(e)))?;
    hold(store, request, hello).map_err(refused)?;
    let survey = survey::survey(store, &spool).map_err(refused)?;
    survey.check_space(&store.links_dir()).map_err(refused)?;

    answer(&survey, to).map_err(|e| broken(ReceiveError::Connection(e)))?;
    let mut event = |event| frame::write_message(to, Kind::Event, &Event::Copy(event));
    let (arrived, (checked, checks)) = (Arrived::default(), mpsc::channel());
    let (received, trees) = thread::scope(|scope| {
        let builder = scope.spawn(|| {
            // Who is told has gone when the thread is, and not before.
            let mut told = |path: &StorePath| drop(checked.send(path.clone()));
            let trees = build::build(store, dir.path(), &spool, &survey.wanted, &arrived, &mut told);
            drop(checked);
            trees
        });
        let stream = DataReader::new(&mut *from);
        let arriving = arrived.until_dropped();
        let received = contents::receive(store, dir.path(), &spool, &survey, &arrived, stream);
        drop(arriving);
        if let Ok(bytes) = received {
            // Registering flushes the file system; what has arrived can go to disk while trees are
            // built, so that little is left to wait for then.
            scope.spawn(|| File::open(dir.path()).map(rustix::fs::syncfs));
            // An event that cannot be sent is no reason to throw away what has arrived.
            let _ = event(CopyEvent::Received { files: survey.wanted.count(), bytes });
            for path in checks {
                let _ = event(CopyEvent::Checked { path });
            }
        }
        (received, builder.join())
    });
    let in_sync = received.is_ok();
    // Only a defect of the builder makes it panic, and that ends here as well.
    let trees = trees.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let finished = received.and_then(|_| place::place(store, dir.path(), trees?));
    match finished {
        Ok(paths) => Ok(CopyResult {
            paths,
            files_received: survey.wanted.count(),
            files_present: survey.wanted.len() - survey.wanted.count(),
        }),
        Err(error) if error.is_disk_full() => {
            drop(dir);
            contents::forget(store, &spool, &survey);
            Err(Stopped { error: survey.no_space(&store.links_dir(), &error), in_sync })
        }
        Err(error) => Err(Stopped { error, in_sync }),
    }
}

fn answer(survey: &survey::Survey, to: &mut impl Write) -> std::io::Result<()> {
    let mut answer = DataWriter::new(to);
    survey.wanted.write(&mut answer)?;
    answer.finish().map(|_| ())
}

/// Keeps what the client relies on from collection, and says what is gone already.
fn hold(store: &Store, request: &CopyRequest, hello: &[StorePath]) -> Result<(), ReceiveError> {
    let announced = request.announced.iter().filter_map(|n| hello.get(usize::try_from(*n).ok()?));
    let held: Vec<&StorePath> = announced.chain(&request.named).collect();
    store.add_temp_roots(held.iter().copied())?;
    let mut gone = Vec::new();
    for path in held {
        if !store.is_valid(path)? {
            gone.push(path.clone());
        }
    }
    if gone.is_empty() { Ok(()) } else { Err(ReceiveError::Gone { paths: gone }) }
}

/// Contents arrive compressed; larger windows than 8 MiB are refused, as they cost memory.
const WINDOW_LOG: u32 = 23;

fn decompressed<R: Read>(from: R) -> std::io::Result<zstd::Decoder<'static, BufReader<R>>> {
    let mut decoder = zstd::Decoder::new(from)?;
    decoder.window_log_max(WINDOW_LOG)?;
    Ok(decoder)
}
