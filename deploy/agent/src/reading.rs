//! Text files of the host's store, for a comparison by somebody who has not got them.

use cairn_formats::RelPath;
use cairn_protocol::reading::{self, Reading, Texts};
use cairn_store::Store;

use crate::error::{AgentError, Result, file};
use crate::paths::Paths;

/// Nothing outside of a valid store path is read, whatever the request says.
pub fn read(store: &Store, wanted: &Reading) -> Result<Texts> {
    if !store.is_valid(&wanted.path)? {
        return Err(AgentError::Unsupported(format!("{} is not in this host's store", wanted.path.absolute())));
    }
    let below = RelPath::parse(wanted.below.as_bytes()).map_err(|e| AgentError::Unsupported(e.to_string()))?;
    let root = Paths::new(store.root()).store_path(&wanted.path);
    reading::read(&root, &below, wanted.what).map_err(file("cannot read below", &root))
}
