//! `deploy plan image`: the graph of an image for other builders, such as the flake.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use cairn_formats::Platform;
use cairn_recipe::graph::Source;
use cairn_recipe::plan::{self, Planned};
use cairn_recipe::{NodeId, Step, Work};
use serde::Serialize;

use crate::arguments::PlanAction;
use crate::context::Context;

#[derive(Serialize)]
struct Graph<'a> {
    target: NodeId,
    nodes: Vec<Node<'a>>,
}

#[derive(Serialize)]
struct Node<'a> {
    name: &'a str,
    #[serde(flatten)]
    work: NodeWork<'a>,
}

#[derive(Serialize)]
#[serde(tag = "work", rename_all = "lowercase")]
enum NodeWork<'a> {
    Fetch {
        source: &'a Source,
    },
    /// Relative to the project.
    Add {
        path: String,
    },
    Run {
        step: &'a Step,
        inputs: &'a BTreeMap<String, Vec<NodeId>>,
    },
}

pub fn run(context: &Context, action: &PlanAction) -> Result<u8> {
    let PlanAction::Image { name, platform, output } = action;
    let project = context.project()?;
    let image = project.image(name)?;
    let lock = project.lock(&image)?;
    let native = [Platform::native()];
    let planned = plan::image(&image, &lock, if platform.is_empty() { &native } else { platform })?;
    let graph = describe(&planned, &project.root);
    if let Some(file) = output {
        std::fs::write(file, serde_json::to_vec(&graph)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
        return Ok(0);
    }
    context.display.result(&graph, || serde_json::to_string_pretty(&graph).unwrap_or_default())?;
    Ok(0)
}

fn describe<'a>(planned: &'a Planned, root: &std::path::Path) -> Graph<'a> {
    let nodes = planned.nodes().iter().map(|node| Node {
        name: node.name.as_str(),
        work: match &node.work {
            Work::Fetch(source) => NodeWork::Fetch { source },
            Work::Add { path } => NodeWork::Add { path: path.strip_prefix(root).unwrap_or(path).display().to_string() },
            Work::Run { step, inputs } => NodeWork::Run { step, inputs },
        },
    });
    Graph { target: planned.target, nodes: nodes.collect() }
}
