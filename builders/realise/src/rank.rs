//! What to begin first of all that could begin: that which the longest work waits for, so that no long
//! step is left to run alone at the end, on one of the processors.
//!
//! Nothing is known of a step's time before it has run, but its archives' sizes are. Measured on the
//! image of an API (two cores of an EPYC, processor seconds for a megabyte of archive): a wheel takes
//! 0.05 to 0.6, the most where all of it is Python to be compiled; a Debian package 0.05; a layer 0.03.

use cairn_recipe::step::Step;
use cairn_recipe::{Graph, NodeId, Work};

/// By node: the estimated work on the longest way from its beginning to a target.
pub fn ranks(graph: &Graph) -> Vec<u64> {
    let nodes = graph.nodes();
    // Bytes of archives that are in a node's output.
    let mut content = vec![0_u64; nodes.len()];
    for (n, node) in nodes.iter().enumerate() {
        content[n] = match &node.work {
            Work::Fetch(source) => source.size,
            Work::Add { .. } => 0,
            Work::Run { inputs, .. } => {
                let parts = inputs.iter().filter(|(label, _)| *label != INTERPRETER).flat_map(|(_, ids)| ids);
                parts.fold(0, |sum, id| sum.saturating_add(content[id.0]))
            }
        };
    }
    let mut ranks: Vec<u64> =
        nodes.iter().zip(&content).map(|(node, bytes)| bytes.saturating_mul(weight(&node.work))).collect();
    let own = ranks.clone();
    // Inputs stand before those that need them.
    for (n, node) in nodes.iter().enumerate().rev() {
        for NodeId(input) in node.work.inputs() {
            ranks[input] = ranks[input].max(own[input].saturating_add(ranks[n]));
        }
    }
    ranks
}

/// The label of what runs a step and leaves nothing in its output.
const INTERPRETER: &str = "python";

fn weight(work: &Work) -> u64 {
    match work {
        Work::Run { step: Step::Wheel { .. } | Step::DebPyc { .. }, .. } => 8,
        Work::Run { step: Step::Deb { .. }, .. } => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use cairn_formats::Sha256;
    use cairn_recipe::graph::{Origin, Source};

    use super::*;

    fn archive(graph: &mut Graph, name: &str, size: u64) -> NodeId {
        let origin = Origin::Pypi { package: name.to_owned(), version: "1".to_owned() };
        graph.fetch(Source { origin, file: format!("{name}.whl"), size, sha256: Sha256::of(name.as_bytes()) })
    }

    fn run(graph: &mut Graph, name: &str, step: Step, inputs: &[(&str, &[NodeId])]) -> NodeId {
        let inputs: BTreeMap<_, _> = inputs.iter().map(|(label, ids)| ((*label).to_owned(), ids.to_vec())).collect();
        graph.run(name, step, inputs)
    }

    #[test]
    fn the_longest_way_begins_first() {
        let mut graph = Graph::default();
        let wheel = || Step::Wheel { interpreter: String::new(), native: true, site: String::new() };
        let layer = || Step::Layer { compression: String::new() };
        let python = archive(&mut graph, "python", 1_000);
        let root = run(&mut graph, "root", Step::Rootfs {}, &[("trees", &[python])]);
        let archives = [("small-1", 10), ("small-2", 20), ("large", 500)].map(|(name, size)| {
            let source = archive(&mut graph, name, size);
            run(&mut graph, name, wheel(), &[("wheel", &[source]), ("python", &[root])])
        });
        let [first, second, large] = archives;
        let together = run(&mut graph, "together", layer(), &[("trees", &[first, second])]);
        let alone = run(&mut graph, "alone", layer(), &[("trees", &[large])]);
        let image = Step::Image { platforms: Vec::new(), annotations: BTreeMap::new() };
        let image = run(&mut graph, "image", image, &[("layers.0", &[together, alone])]);
        let ranks = ranks(&graph);
        let rank = |id: NodeId| ranks[id.0];
        // The interpreter is in no wheel, and everything waits for it.
        assert_eq!([rank(image), rank(together), rank(alone)], [530, 560, 1_030]);
        assert_eq!([rank(first), rank(second), rank(large)], [640, 720, 5_030]);
        assert_eq!([rank(root), rank(python)], [6_030, 7_030]);
    }
}
