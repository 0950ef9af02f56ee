//! Planning: a definition and its lock become a graph.
//!
//! ```text
//! deb ──▶ tree ──┬──▶ layer ──┐
//! wheel ─▶ tree ─┼──▶ layer ──┼──▶ image
//! files ─▶ tree ─┤            │
//!   generated  ──┴──▶ layer ──┘
//!                └──▶ root file system ──▶ host closure
//! ```

mod host;
mod image;
mod service;
mod verify;
mod volumes;

use cairn_closure::HostSpec;

pub use host::{Material, Materials, Programs, agent, host, images_of};
pub use image::{image, rootfs};
pub use service::resolved;

use crate::graph::{Graph, NodeId, Work};
use crate::step::Step;

/// A graph and the node that is the target in it.
#[derive(Debug)]
pub struct Planned {
    pub graph: Graph,
    pub target: NodeId,
}

impl Planned {
    /// What a host is to run; `None` for an image.
    pub fn host_spec(&self) -> Option<&HostSpec> {
        match &self.graph.node(self.target).work {
            Work::Run { step: Step::Host { spec }, .. } => Some(spec),
            _ => None,
        }
    }
}

impl std::ops::Deref for Planned {
    type Target = Graph;
    fn deref(&self) -> &Graph {
        &self.graph
    }
}
