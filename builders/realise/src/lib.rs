//! Makes a graph real: each node becomes a valid store path.
//!
//! First every node is *evaluated*: a locked archive's path follows from its hash, a project
//! file's from its content, and a step's from the realisation cache if the same step over the same
//! inputs was run before. What remains unknown is *work*: archives it needs are fetched, several
//! at once, and steps run in the sandbox, as many at once as there are processors. An output is
//! content-addressed, so a step that gives the bytes it gave before leaves everything behind it
//! unchanged.

mod confinement;
mod error;
mod evaluate;
mod rank;
mod run;
mod schedule;
mod sources;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use cairn_fetch::Fetcher;
use cairn_formats::StorePath;
use cairn_recipe::{Graph, NodeId};
use cairn_store::Store;

pub use confinement::{Confinement, DEFAULT_TIMEOUT};
pub use error::RealiseError;
pub use sources::{FindWheel, Locate, Mirrored};

/// What happens meanwhile. Display is the listener's concern; events come from several threads.
#[derive(Debug, Clone)]
pub enum Event<'a> {
    /// So much is left to do: archives to fetch with their bytes, steps to run.
    Planned {
        fetches: usize,
        fetch_bytes: u64,
        steps: usize,
    },
    /// Steps run without a user namespace, because this system makes none: as the caller has
    /// allowed. Comes once.
    WeakSandbox {
        reason: &'a str,
    },
    FetchStarted {
        file: &'a str,
        size: u64,
    },
    FetchAdvanced {
        file: &'a str,
        bytes: u64,
    },
    FetchFinished {
        file: &'a str,
    },
    StepStarted {
        name: &'a str,
    },
    StepFinished {
        name: &'a str,
        took: Duration,
        path: &'a StorePath,
    },
}

/// Receives events.
pub type Listener<'a> = dyn Fn(Event<'_>) + Sync + 'a;

/// Everything that realising needs.
pub struct Realiser<'a> {
    pub store: &'a Store,
    pub fetcher: &'a Fetcher,
    /// Where locked archives are to be had.
    pub locate: &'a dyn Locate,
    /// The builder program, static.
    pub builder: PathBuf,
    pub confinement: &'a Confinement,
    /// Steps at once; 0 means one more than there are processors.
    pub jobs: usize,
}

/// One realised target.
#[derive(Debug, Clone)]
pub struct Realised {
    pub path: StorePath,
    /// Nothing had to be run or fetched for it.
    pub cached: bool,
    pub took: Duration,
}

/// A step that gave other bytes when it was run again.
#[derive(Debug, Clone)]
pub struct Difference {
    pub name: String,
    pub first: StorePath,
    /// Files that differ, below the output.
    pub files: Vec<String>,
}

impl Realiser<'_> {
    /// Realises `target` and whatever it needs.
    pub fn realise(&self, graph: &Graph, target: NodeId, listener: &Listener) -> Result<Realised, RealiseError> {
        let start = Instant::now();
        let evaluated = evaluate::evaluate(self, graph)?;
        if let Some(path) = evaluated.ready(self.store, target)? {
            self.store.add_temp_root(&path)?;
            return Ok(Realised { path, cached: true, took: start.elapsed() });
        }
        let path = schedule::run(self, graph, target, evaluated, listener)?;
        Ok(Realised { path, cached: false, took: start.elapsed() })
    }

    /// Runs every step behind `target` once more and compares. The target must be realised.
    pub fn check(&self, graph: &Graph, target: NodeId, listener: &Listener) -> Result<Vec<Difference>, RealiseError> {
        run::check(self, graph, target, listener)
    }

    /// One more than processors: a step also waits for what it reads.
    fn jobs(&self) -> usize {
        match self.jobs {
            0 => 1 + std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        }
    }
}
