//! Why a node could not be realised.

use std::io;
use std::path::PathBuf;

use cairn_fetch::FetchError;
use cairn_store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum RealiseError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot fetch {what}: {source}{}", advice(source))]
    Fetch { what: String, source: Box<FetchError> },
    #[error("cannot read {}: {source}", path.display())]
    Source { path: PathBuf, source: io::Error },
    #[error("{task} failed: {message}")]
    Step { task: String, message: String },
    #[error("cannot start the builder {}: {source}\n  help: it belongs beside the `deploy` program; install both, or name it with DEPLOY_BUILDER", program.display())]
    Builder { program: PathBuf, source: io::Error },
    #[error("cannot work in {}: {source}", path.display())]
    Scratch { path: PathBuf, source: io::Error },
}

fn advice(error: &FetchError) -> &'static str {
    match error {
        FetchError::Gone { .. } => {
            "\n  help: the mirror keeps only current versions; run `deploy lock` to take those, or add a snapshot mirror to [mirrors] in deploy.toml"
        }
        _ => "",
    }
}
