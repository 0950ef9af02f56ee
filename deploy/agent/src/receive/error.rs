//! Why a copy was not taken in.

use std::io;
use std::path::{Path, PathBuf};

use cairn_formats::{Sha256, StorePath};
use cairn_protocol::manifest::ReadError;
use cairn_protocol::{Failure, FailureKind};
use cairn_store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    #[error("the connection broke in the middle of the copy: {0}")]
    Connection(io::Error),
    #[error(transparent)]
    Manifest(#[from] ReadError),
    #[error("the manifests are larger than {limit} bytes")]
    ManifestTooLong { limit: u64 },
    #[error("{path}: {reason}")]
    Refused { path: StorePath, reason: String },
    #[error("{path} is announced with NAR hash {announced}, which gives {computed}: its name does not follow from it")]
    Address { path: StorePath, announced: Sha256, computed: StorePath },
    /// Paths that the sender took for valid.
    #[error("no longer in the host's store: {}", list(.paths))]
    Gone { paths: Vec<StorePath> },
    #[error("a file of {path} arrived with other bytes than announced: expected {expected}, got {got}")]
    FileMismatch { path: StorePath, expected: Sha256, got: Sha256 },
    #[error(
        "{path} came out with other content than announced: expected NAR hash {expected}, got {got}{}",
        if *.dropped == 0 { String::new() } else { format!("; {} damaged files of the host's store were dropped", .dropped) }
    )]
    TreeMismatch { path: StorePath, expected: Sha256, got: Sha256, dropped: u64 },
    #[error(
        "needs {} MiB, has {} MiB free on {}{}",
        .needed.div_ceil(1 << 20), .free >> 20, .directory.display(),
        .during.as_ref().map(|d| format!(" ({d})")).unwrap_or_default()
    )]
    NoSpace { needed: u64, free: u64, directory: PathBuf, during: Option<String> },
    #[error("needs {needed} inodes, has {free} free on {}", .directory.display())]
    NoInodes { needed: u64, free: u64, directory: PathBuf },
    #[error("cannot {doing} {}: {source}", .path.display())]
    File { doing: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ReceiveError {
    /// For `map_err`: the file and what was being done with it.
    pub fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { doing, path: path.to_owned(), source }
    }

    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::File { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            Self::Store(StoreError::NoSpace { .. }) => true,
            _ => false,
        }
    }
}

impl From<ReceiveError> for Failure {
    fn from(error: ReceiveError) -> Self {
        let message = format!("the copy was not taken in: {error}");
        let (kind, advice) = match error {
            ReceiveError::Manifest(_) | ReceiveError::ManifestTooLong { .. } | ReceiveError::Address { .. } => {
                (FailureKind::Malformed, "the sender is faulty or hostile: use a released `deploy`")
            }
            ReceiveError::Refused { .. } => (FailureKind::Malformed, "build it again with this version of `deploy`"),
            ReceiveError::Gone { paths } => {
                (FailureKind::NotValid { paths }, "a collection ran meanwhile: run the command again")
            }
            ReceiveError::FileMismatch { path, expected, got } => (
                FailureKind::FileMismatch { path, expected, got },
                "a file of the local store may be damaged: `deploy store verify` finds it",
            ),
            ReceiveError::TreeMismatch { path, expected, got, .. } => (
                FailureKind::Mismatch { path, expected, got },
                "a store is damaged: `deploy store verify` here, `nix-store --verify --check-contents` on the host",
            ),
            ReceiveError::NoSpace { needed, free, directory, .. } => (
                FailureKind::NoSpace { needed, free, directory: directory.display().to_string() },
                "free space on the host (`deploy collect HOST` removes old generations); nothing was changed",
            ),
            ReceiveError::NoInodes { directory, .. } => (
                FailureKind::NoSpace { needed: 0, free: 0, directory: directory.display().to_string() },
                "the file system has too few inodes: remove files, or enlarge it; nothing was changed",
            ),
            ReceiveError::Connection(_) | ReceiveError::File { .. } | ReceiveError::Store(_) => {
                return Self::new(FailureKind::Other, message);
            }
        };
        Self::new(kind, message).advice(advice)
    }
}

fn list(paths: &[StorePath]) -> String {
    let names: Vec<&str> = paths.iter().take(3).map(StorePath::base).collect();
    let more = paths.len().saturating_sub(names.len());
    if more == 0 { names.join(", ") } else { format!("{} and {more} more", names.join(", ")) }
}
