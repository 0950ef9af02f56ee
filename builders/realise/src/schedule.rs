//! The order of work: fetches first and several at once, steps as soon as their inputs are there, and of
//! those that could begin the one with the most work [behind it](rank).
//!
//! Only nodes that lead to the target and are not there yet are worked on. The first error stops
//! the start of anything new; what runs is waited for, so that nothing is left half-made.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use cairn_formats::StorePath;
use cairn_recipe::{Graph, NodeId, Work};

use crate::evaluate::{Evaluated, resolve};
use crate::{Event, Listener, RealiseError, Realiser, rank, run, sources};

/// Downloads at once. A mirror gives each connection a share, and latency hides behind others.
const FETCHES: usize = 8;

/// Finished steps at once that wait for the disk, which serves them together.
const SETTLING: usize = 8;

pub fn run(
    realiser: &Realiser,
    graph: &Graph,
    target: NodeId,
    evaluated: Evaluated,
    listener: &Listener,
) -> Result<StorePath, RealiseError> {
    let todo = todo(realiser, graph, target, &evaluated)?;
    announce(graph, &todo, listener);
    let known = graph.nodes().iter().enumerate().map(|(n, _)| evaluated.path(NodeId(n)).cloned()).collect();
    let board = Board {
        state: Mutex::new(State {
            waiting: todo.clone(),
            pending: todo,
            running: 0,
            fetching: 0,
            paths: known,
            failed: None,
        }),
        changed: Condvar::new(),
        ranks: rank::ranks(graph),
    };
    let threads = realiser.jobs() + FETCHES + SETTLING;
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| board.work(realiser, graph, listener));
        }
    });
    let state = board.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    match (state.failed, state.paths[target.0].clone()) {
        (Some(error), _) => Err(error),
        (None, Some(path)) => Ok(path),
        (None, None) => Err(RealiseError::Step {
            task: run::task(graph.node(target)),
            message: "a worker ended before its step was done".to_owned(),
        }),
    }
}

/// Nodes to work on: from the target down to what is there.
fn todo(
    realiser: &Realiser,
    graph: &Graph,
    target: NodeId,
    evaluated: &Evaluated,
) -> Result<BTreeSet<NodeId>, RealiseError> {
    let mut todo = BTreeSet::new();
    let mut seen = BTreeSet::from([target]);
    let mut open = vec![target];
    while let Some(id) = open.pop() {
        if let Some(path) = evaluated.ready(realiser.store, id)? {
            realiser.store.add_temp_root(&path)?;
            continue;
        }
        todo.insert(id);
        open.extend(graph.node(id).work.inputs().filter(|input| seen.insert(*input)));
    }
    Ok(todo)
}

fn announce(graph: &Graph, todo: &BTreeSet<NodeId>, listener: &Listener) {
    let sizes: Vec<u64> = (todo.iter())
        .filter_map(|id| match &graph.node(*id).work {
            Work::Fetch(source) => Some(source.size),
            Work::Add { .. } | Work::Run { .. } => None,
        })
        .collect();
    let steps = todo.iter().filter(|id| matches!(graph.node(**id).work, Work::Run { .. })).count();
    listener(Event::Planned { fetches: sizes.len(), fetch_bytes: sizes.iter().sum(), steps });
}

/// What all workers see.
struct Board {
    state: Mutex<State>,
    changed: Condvar,
    ranks: Vec<u64>,
}

struct State {
    /// Not begun.
    waiting: BTreeSet<NodeId>,
    /// Not done: waiting or under way.
    pending: BTreeSet<NodeId>,
    running: usize,
    fetching: usize,
    paths: Vec<Option<StorePath>>,
    failed: Option<RealiseError>,
}

impl State {
    /// The number of nodes of this kind under way.
    fn under_way(&mut self, work: &Work) -> &mut usize {
        match work {
            Work::Fetch(_) => &mut self.fetching,
            Work::Add { .. } | Work::Run { .. } => &mut self.running,
        }
    }
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, realiser: &Realiser, graph: &Graph, listener: &Listener) {
        while let Some(id) = self.take(graph, realiser.jobs()) {
            // A step that waits for the disk leaves its place to another one.
            let left = Cell::new(false);
            let leave = |state: &mut State| {
                if !left.replace(true) {
                    *state.under_way(&graph.node(id).work) -= 1;
                }
            };
            let computed = || {
                leave(&mut self.lock());
                self.changed.notify_all();
            };
            let result = self.perform(realiser, graph, id, listener, &computed);
            let mut state = self.lock();
            leave(&mut state);
            state.pending.remove(&id);
            match result {
                Ok(path) => state.paths[id.0] = Some(path),
                Err(error) => {
                    state.waiting.clear();
                    state.failed.get_or_insert(error);
                }
            }
            self.changed.notify_all();
        }
    }

    /// The next node whose inputs are there; waits for one; `None` when nothing is left to begin.
    fn take(&self, graph: &Graph, jobs: usize) -> Option<NodeId> {
        let mut state = self.lock();
        loop {
            if state.waiting.is_empty() {
                return None;
            }
            let (fetching, running) = (state.fetching, state.running);
            let ready = state.waiting.iter().copied().filter(|id| {
                let work = &graph.node(*id).work;
                let free = match work {
                    Work::Fetch(_) => fetching < FETCHES,
                    Work::Add { .. } | Work::Run { .. } => running < jobs,
                };
                free && work.inputs().all(|input| !state.pending.contains(&input))
            });
            if let Some(id) = ready.max_by_key(|id| (self.ranks[id.0], Reverse(*id))) {
                state.waiting.remove(&id);
                *state.under_way(&graph.node(id).work) += 1;
                return Some(id);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn perform(
        &self,
        realiser: &Realiser,
        graph: &Graph,
        id: NodeId,
        listener: &Listener,
        computed: &dyn Fn(),
    ) -> Result<StorePath, RealiseError> {
        let node = graph.node(id);
        match &node.work {
            Work::Fetch(source) => sources::fetch(realiser, node, source, listener),
            Work::Add { path } => Ok(realiser.store.add_source(path, &node.name)?.path),
            Work::Run { step, inputs } => {
                let inputs = {
                    let state = self.lock();
                    resolve(inputs, |id| state.paths[id.0].clone()).expect("a node is begun when its inputs are done")
                };
                run::step(realiser, node, step, &inputs, listener, computed)
            }
        }
    }
}
