//! An agent that came over the connection takes its place in the store.
//!
//! Otherwise it would come again with every connection, until a closure is there that has it among
//! its paths, and with that closure once more. Its path follows from its bytes, so that it is the
//! one that closures name. As nothing refers to it yet, the next collection may take it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use cairn_closure::layout::AGENT_PROGRAM;
use cairn_formats::StoreName;
use cairn_store::Store;

use crate::error::{AgentError, Result, file};

/// The name of its path, as builders give it.
const NAME: &str = "cairn-agent";

/// Adds this program, whether or not its file still has a name.
pub fn settle(store: &Store) -> Result<()> {
    let name = StoreName::parse(NAME).map_err(|e| AgentError::Unsupported(e.to_string()))?;
    let dir = store.build_dir()?;
    let tree = dir.path().join(NAME);
    let place = tree.join(AGENT_PROGRAM);
    let folder = place.parent().unwrap_or(&tree);
    fs::create_dir_all(folder).map_err(file("cannot create", folder))?;
    fs::copy(Path::new("/proc/self/exe"), &place).map_err(file("cannot write", &place))?;
    store.add_output(&tree, &name, &BTreeSet::new())?;
    Ok(())
}
