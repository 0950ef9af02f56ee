//! From definitions and locks to a graph of build steps.
//!
//! A project is a folder with `deploy.toml`, `images/NAME/image.toml` beside its `image.lock`, and
//! `hosts/NAME.toml`. This crate reads them ([`Project`]) and plans ([`plan`]): each target becomes
//! a [`Graph`] whose nodes are files to fetch, project files to add, and [`Step`]s to run. Nothing
//! here builds, fetches or asks the network, so planning is quick and the same everywhere.
//!
//! ```no_run
//! use cairn_recipe::{Project, plan};
//!
//! let project = Project::find(None)?;
//! let image = project.image("api")?;
//! let lock = project.lock(&image)?;
//! let graph = plan::image(&image, &lock, &[cairn_formats::Platform::native()])?;
//! println!("{} steps", graph.nodes().len());
//! # Ok::<(), cairn_recipe::DefinitionError>(())
//! ```

pub mod configuration;
pub mod duration;
mod error;
pub mod files;
pub mod graph;
pub mod host;
pub mod image;
pub mod lock;
mod names;
pub mod notify;
mod parse;
pub mod plan;
pub mod project;
pub mod pull;
pub mod rollout;
mod select;
pub mod sources;
pub mod step;
pub mod system;

pub use configuration::Configuration;
pub use error::{DefinitionError, nearest};
pub use files::ProjectFiles;
pub use graph::{Graph, Node, NodeId, Work};
pub use image::ImageDefinition;
pub use lock::Lock;
pub use project::{Image, Project};
pub use step::Step;
