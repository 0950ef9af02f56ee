//! Which store path each node has, as far as that can be known without running anything.

use std::collections::{BTreeMap, BTreeSet};

use cairn_formats::{StorePath, fixed_flat, fixed_recursive};
use cairn_recipe::step::recipe_hash;
use cairn_recipe::{Graph, Node, NodeId, Work};
use cairn_store::Store;
use rayon::prelude::*;

use crate::{RealiseError, Realiser};

/// Paths by node; `None` where a step must run to know.
pub struct Evaluated {
    paths: Vec<Option<StorePath>>,
}

impl Evaluated {
    pub fn path(&self, id: NodeId) -> Option<&StorePath> {
        self.paths[id.0].as_ref()
    }

    /// The path of a node, if it is known and valid.
    pub fn ready(&self, store: &Store, id: NodeId) -> Result<Option<StorePath>, RealiseError> {
        match self.path(id) {
            Some(path) if store.is_valid(path)? => Ok(Some(path.clone())),
            _ => Ok(None),
        }
    }
}

pub fn evaluate(realiser: &Realiser, graph: &Graph) -> Result<Evaluated, RealiseError> {
    let added = graph.nodes().par_iter().map(added).collect::<Result<Vec<Option<StorePath>>, _>>()?;
    let mut paths: Vec<Option<StorePath>> = Vec::with_capacity(graph.nodes().len());
    for (node, added) in graph.nodes().iter().zip(added) {
        let path = match &node.work {
            Work::Fetch(source) => Some(fixed_flat(&node.name, &source.sha256)),
            Work::Add { .. } => added,
            Work::Run { step, inputs } => match resolve(inputs, |id| paths[id.0].clone()) {
                Some(inputs) => realiser.store.realisation(&recipe_hash(node.name.as_str(), step, &inputs))?,
                None => None,
            },
        };
        paths.push(path);
    }
    Ok(Evaluated { paths })
}

/// The path of a file or folder of the project as it is now.
fn added(node: &Node) -> Result<Option<StorePath>, RealiseError> {
    let Work::Add { path } = &node.work else { return Ok(None) };
    let (hash, _) = cairn_store::tree::hash(path)?;
    Ok(Some(fixed_recursive(&node.name, &hash, &BTreeSet::new())))
}

/// The paths of a step's inputs, when all are known.
pub fn resolve(
    inputs: &BTreeMap<String, Vec<NodeId>>,
    path: impl Fn(NodeId) -> Option<StorePath>,
) -> Option<BTreeMap<String, Vec<StorePath>>> {
    inputs
        .iter()
        .map(|(label, ids)| Some((label.clone(), ids.iter().map(|id| path(*id)).collect::<Option<Vec<_>>>()?)))
        .collect()
}
