//! A graph of work: what to fetch, add and run, inputs before their users.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use cairn_formats::{Sha256, StoreName};
use serde::Serialize;

use crate::step::Step;

/// Index of a node in its graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct NodeId(pub usize);

/// One output to make. `name` becomes the name part of its store path.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub name: StoreName,
    pub work: Work,
    /// What is being done, for people, where the name says too little.
    pub task: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// A locked archive, kept as it is.
    Fetch(Source),
    /// A file or folder of the project, or a program of ours.
    Add {
        path: PathBuf,
    },
    Run {
        step: Step,
        inputs: BTreeMap<String, Vec<NodeId>>,
    },
}

/// A locked archive.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Source {
    pub origin: Origin,
    pub file: String,
    pub size: u64,
    pub sha256: Sha256,
}

/// Where archives of this kind are to be had; which mirror is not the graph's concern.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Origin {
    Debian { archive: String, pool: String, package: String, version: String },
    Pypi { package: String, version: String },
}

/// Nodes in an order in which each stands behind its inputs. Equal nodes are one node.
#[derive(Debug, Default)]
pub struct Graph {
    nodes: Vec<Node>,
    known: HashMap<String, NodeId>,
}

impl Graph {
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    pub fn fetch(&mut self, source: Source) -> NodeId {
        let key = format!("fetch {}", source.sha256);
        let name = StoreName::resembling(&source.file);
        self.insert(key, Node { name, work: Work::Fetch(source), task: None })
    }

    pub fn add(&mut self, name: &str, path: PathBuf) -> NodeId {
        let key = format!("add {name} {}", path.display());
        self.insert(key, Node { name: StoreName::resembling(name), work: Work::Add { path }, task: None })
    }

    pub fn run(&mut self, name: &str, step: Step, inputs: BTreeMap<String, Vec<NodeId>>) -> NodeId {
        let step_json = serde_json::to_string(&(&step, &inputs)).expect("string keys only");
        let key = format!("run {name} {step_json}");
        self.insert(key, Node { name: StoreName::resembling(name), work: Work::Run { step, inputs }, task: None })
    }

    /// Says what a node does, which its result does not depend on.
    pub fn describe(&mut self, id: NodeId, task: String) {
        self.nodes[id.0].task.get_or_insert(task);
    }

    fn insert(&mut self, key: String, node: Node) -> NodeId {
        *self.known.entry(key).or_insert_with(|| {
            self.nodes.push(node);
            NodeId(self.nodes.len() - 1)
        })
    }
}

impl Work {
    /// The nodes that must be realised before this one.
    pub fn inputs(&self) -> impl Iterator<Item = NodeId> {
        let inputs = match self {
            Self::Run { inputs, .. } => Some(inputs),
            Self::Fetch(_) | Self::Add { .. } => None,
        };
        inputs.into_iter().flat_map(|inputs| inputs.values().flatten().copied())
    }
}
