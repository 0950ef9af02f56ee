//! Which store path each node has, as far as that can be known without running anything.

use std::collections::{BTreeMap, BTreeSet};

use cairn_formats::{StorePath, fixed_flat, fixed_recursive};
use cairn_recipe::step::recipe_hash;
use cairn_recipe::{Graph, NodeId, Work};
use cairn_store::Store;

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
    let mut paths: Vec<Option<StorePath>> = Vec::with_capacity(graph.nodes().len());
    for node in graph.nodes() {
        let path = match &node.work {
            Work::Fetch(source) => Some(fixed_flat(&node.name, &source.sha256)),
            Work::Add { path } => {
                let (hash, _) = cairn_store::tree::hash(path)?;
                Some(fixed_recursive(&node.name, &hash, &BTreeSet::new()))
            }
            Work::Run { step, inputs } => match resolve(inputs, |id| paths[id.0].clone()) {
                Some(inputs) => realiser.store.realisation(&recipe_hash(node.name.as_str(), step, &inputs))?,
                None => None,
            },
        };
        paths.push(path);
    }
    Ok(Evaluated { paths })
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
