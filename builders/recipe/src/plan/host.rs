//! One host: the root file systems of its images, the agent, and the closure over them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cairn_closure::{self as closure, HostName, HostSpec, StoreDir};

use super::{Planned, image, service, verify};
use crate::configuration::Configuration;
use crate::error::DefinitionError;
use crate::graph::{Graph, NodeId};
use crate::host::HostDefinition;
use crate::lock::Lock;
use crate::project::{Host, Image};
use crate::step::{Step, placeholder};
use crate::system;

/// Programs of ours that go to hosts.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The agent's file for the host's platform.
    pub agent: PathBuf,
}

/// An image that a host runs, with all that its folder says.
#[derive(Debug, Clone)]
pub struct Material {
    pub image: Image,
    pub lock: Lock,
    pub configuration: Configuration,
}

/// What planning a host takes besides its definition.
#[derive(Debug)]
pub struct Materials {
    /// Every image that a service names.
    pub images: BTreeMap<String, Material>,
    /// The version of each secret of the project.
    pub secrets: BTreeMap<String, u64>,
    pub programs: Programs,
}

/// Plans a host closure.
pub fn host(host: &Host, materials: &Materials) -> Result<Planned, DefinitionError> {
    let platform = host.definition.platform;
    let mut graph = Graph::default();
    let mut inputs = BTreeMap::new();
    let mut services = BTreeMap::new();
    for (name, entry) in &host.definition.services {
        let material = &materials.images[&entry.image];
        let label = rootfs_label(&material.image.name);
        // Two services of one image share its nodes: the graph keeps equal nodes once.
        let rootfs = image::rootfs(&mut graph, &material.image, &material.lock, platform)?;
        inputs.insert(label, vec![rootfs]);
        let service = service::plan(host, name, entry, material, &materials.secrets)?;
        // In the place of what may change meanwhile, links, so that the rest stays the same path.
        let link = |file: &String| (file.clone(), format!("{}/{file}", closure::layout::LIVE_DIR));
        let links = service.live.iter().flat_map(BTreeMap::keys).map(link).collect();
        let live = service.live.map(|files| {
            let step = Step::Config { files, links: BTreeMap::new() };
            graph.run(&format!("{name}-live"), step, BTreeMap::new())
        });
        if let Some(live) = live {
            inputs.insert(live_label(name), vec![live]);
        }
        if let Some(files) = service.files {
            let config = graph.run(&format!("{name}-config"), Step::Config { files, links }, BTreeMap::new());
            inputs.insert(config_label(name), vec![config]);
            if let Some(verify) = verify::plan(material, &service.specification, platform) {
                let labels = [("rootfs", Some(rootfs)), ("config", Some(config)), ("live", live)];
                let needs =
                    labels.into_iter().filter_map(|(label, node)| Some((label.to_owned(), vec![node?]))).collect();
                let node = graph.run(&format!("{name}-verify"), Step::Verify(verify), needs);
                graph.describe(node, verify::task(host, name, &material.image.name));
                // The closure has nothing of it, but cannot be made without.
                inputs.insert(format!("verify.{name}"), vec![node]);
            }
        }
        services.insert(service.name, service.specification);
    }
    inputs.insert("agent".to_owned(), vec![agent_node(&mut graph, &materials.programs)]);
    let spec = Box::new(HostSpec {
        version: closure::VERSION,
        name: HostName::parse(&host.name).map_err(|e| fault(host, "name".to_owned(), e.to_string(), None))?,
        platform,
        agent: StoreDir(placeholder("agent")),
        services,
        system: system::plan(&host.name, &host.definition, &host.sources)?,
    });
    let target = graph.run(&format!("{}-host", host.name), Step::Host { spec }, inputs);
    Ok(Planned { graph, target })
}

pub(super) fn fault(host: &Host, at: String, message: String, help: Option<String>) -> DefinitionError {
    DefinitionError::Value { file: host.file.clone(), at, message, help }
}

/// Plans the agent alone: what talking to a host needs.
pub fn agent(programs: &Programs) -> Planned {
    let mut graph = Graph::default();
    let target = agent_node(&mut graph, programs);
    Planned { graph, target }
}

fn agent_node(graph: &mut Graph, programs: &Programs) -> NodeId {
    let file = graph.add("cairn-agent-program", programs.agent.clone());
    let step = Step::Program { name: "cairn-agent".to_owned() };
    graph.run("cairn-agent", step, BTreeMap::from([("program".to_owned(), vec![file])]))
}

/// Names of the images that a host's services run, each once.
pub fn images_of(definition: &HostDefinition) -> impl Iterator<Item = &str> {
    let names: std::collections::BTreeSet<&str> = definition.services.values().map(|s| s.image.as_str()).collect();
    names.into_iter()
}

pub(super) fn rootfs_label(image: &str) -> String {
    format!("rootfs.{image}")
}

pub(super) fn config_label(service: &str) -> String {
    format!("config.{service}")
}

pub(super) fn live_label(service: &str) -> String {
    format!("live.{service}")
}
