//! What can go wrong in a store, with the facts to act on.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cairn_formats::nar::NarError;
use cairn_formats::{FormatError, Sha256, StorePath};

pub type Result<T, E = StoreError> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },

    #[error(
        "cannot {doing} {}: the file system at {} is full ({available} bytes free{}); free space there, or collect the store's garbage, and run the command again",
        path.display(), filesystem.display(), Needed(*needed)
    )]
    NoSpace { doing: &'static str, path: PathBuf, filesystem: PathBuf, available: u64, needed: Option<u64> },

    #[error(
        "cannot {doing} {}: {source}; run as the owner of that file, or, if it is the store's, name a store of your own with `--store ROOT` or DEPLOY_STORE",
        path.display()
    )]
    Denied { doing: &'static str, path: PathBuf, source: io::Error },

    #[error(
        "{} is on another file system than the store {}: a finished tree is moved, not copied; build it in the store's own build directory, and keep ROOT/nix on one file system",
        tree.display(), store.display()
    )]
    OtherFileSystem { tree: PathBuf, store: PathBuf },

    #[error("the store's database {} failed: {source}", path.display())]
    Database { path: PathBuf, source: Box<rusqlite::Error> },

    #[error(
        "the store's database {} was locked by another process for {} s; `fuser {}` shows which one: wait for it or stop it, then run the command again",
        path.display(), waited.as_secs(), path.display()
    )]
    DatabaseLocked { path: PathBuf, waited: Duration },

    #[error(
        "the store's database {} is damaged: {source}; keep a copy, then move ROOT/nix away and build or copy the paths again",
        path.display()
    )]
    DatabaseDamaged { path: PathBuf, source: Box<rusqlite::Error> },

    #[error(
        "{} says the store has schema {found}, which is newer than 10: another Nix upgraded it; use a store of our own with `--store ROOT` or DEPLOY_STORE",
        path.display()
    )]
    SchemaNewer { path: PathBuf, found: u32 },

    #[error(
        "{} says the store has schema {found}, which is older than 10: let Nix upgrade it with `nix-store --store {} --init`",
        path.display(), root.display()
    )]
    SchemaOlder { path: PathBuf, root: PathBuf, found: u32 },

    #[error("{} should hold the number of the store's schema but holds {found:?}; restore it (`10`) or use another store", path.display())]
    SchemaUnreadable { path: PathBuf, found: String },

    #[error("the database row of {path} has a bad {column}: {source}; run `deploy store verify`")]
    BadRow { path: String, column: &'static str, source: FormatError },

    #[error("{path} is not a valid path of the store; build or copy it first")]
    NotValid { path: StorePath },

    #[error("{path} refers to {reference}, which is not a valid path of the store; add that one first")]
    InvalidReference { path: StorePath, reference: StorePath },

    #[error(
        "{path} refers to itself, which the content-addressed store does not support; keep the output's own path out of its files"
    )]
    SelfReference { path: StorePath },

    #[error("{path} was to be registered but {} does not exist", physical.display())]
    MissingTree { path: StorePath, physical: PathBuf },

    #[error(
        "{path} arrived with other content than announced: expected NAR hash {expected}, found {found}; copy it again"
    )]
    HashMismatch { path: StorePath, expected: Sha256, found: Sha256 },

    #[error("the received file {} has other content than announced: expected NAR hash {expected}, found {found}; copy it again", path.display())]
    FileMismatch { path: PathBuf, expected: Sha256, found: Sha256 },

    #[error(
        "the announced path {announced} does not follow from its content, which belongs to {computed}; the sender is faulty or hostile"
    )]
    AddressMismatch { announced: StorePath, computed: StorePath },

    #[error(
        "{path} was announced without a content address, and nothing else vouches for it here; send content-addressed paths only"
    )]
    NoContentAddress { path: StorePath },

    #[error("{} is a {kind}: a store path holds only files, directories and symbolic links; remove it from the tree", path.display())]
    UnsupportedFile { path: PathBuf, kind: &'static str },

    #[error("{} is not a regular file", path.display())]
    NotAFile { path: PathBuf },

    #[error("{} is more than {limit} directories deep; nest fewer directories", Start(path))]
    TooDeep { path: PathBuf, limit: usize },

    #[error(
        "cannot {doing} {}: the path has {} bytes and a system call takes at most 4095; use shorter names or nest fewer directories",
        Start(path), path.as_os_str().len()
    )]
    TooLong { doing: &'static str, path: PathBuf },

    #[error("cannot restore the archive to {}: {source}", path.display())]
    Nar { path: PathBuf, source: NarError },

    #[error("`{name}` cannot name a {what}: use letters, digits, `.`, `_` and `-`, not starting with a dot{}", if *what == "root" { ", in parts separated by `/`" } else { "" })]
    BadName { what: &'static str, name: String },

    #[error("profile {profile} has no generation {number}; it has {}", Numbers(have))]
    NoGeneration { profile: String, number: u64, have: Vec<u64> },

    #[error("generation {number} of profile {profile} is the current one; switch to another one before you delete it")]
    GenerationInUse { profile: String, number: u64 },

    #[error("the profile link {} points to {}, which is not one of its generations; point it to one (`ln -sfn`)", link.display(), target.display())]
    BadProfileLink { link: PathBuf, target: PathBuf },

    #[error(
        "no place for a store: neither XDG_DATA_HOME nor HOME is set; name one with `--store ROOT` or DEPLOY_STORE"
    )]
    NoHome,
}

/// The start of a path that may have thousands of bytes.
struct Start<'a>(&'a Path);

impl fmt::Display for Start<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 200;
        let text = self.0.display().to_string();
        match text.char_indices().nth(SHOWN) {
            Some((end, _)) => write!(f, "{}…", &text[..end]),
            None => f.write_str(&text),
        }
    }
}

struct Needed(Option<u64>);

impl fmt::Display for Needed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |bytes| write!(f, ", {bytes} needed"))
    }
}

struct Numbers<'a>(&'a [u64]);

impl fmt::Display for Numbers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        let list: Vec<String> = self.0.iter().map(u64::to_string).collect();
        f.write_str(&list.join(", "))
    }
}

impl StoreError {
    pub(crate) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                let (filesystem, available) = filesystem_of(&path);
                Self::NoSpace { doing, path, filesystem, available, needed: None }
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::Denied { doing, path, source },
            io::ErrorKind::InvalidFilename => Self::TooLong { doing, path },
            _ => Self::Io { doing, path, source },
        }
    }

    pub(crate) fn database(path: &Path, source: rusqlite::Error, waited: Duration) -> Self {
        use rusqlite::ErrorCode::{
            CannotOpen, DatabaseBusy, DatabaseCorrupt, DatabaseLocked, DiskFull, NotADatabase, PermissionDenied,
            ReadOnly, SystemIoFailure,
        };
        let doing = "write the store's database";
        let path = path.to_path_buf();
        let code = source.sqlite_error_code();
        if matches!(code, Some(DiskFull | SystemIoFailure)) {
            let (filesystem, available) = filesystem_of(&path);
            // SQLite does not tell for want of what the index of its log cannot be made.
            if code == Some(DiskFull) || available < LOG_INDEX {
                return Self::NoSpace { doing, path, filesystem, available, needed: None };
            }
        }
        match code {
            Some(DatabaseBusy | DatabaseLocked) => Self::DatabaseLocked { path, waited },
            Some(PermissionDenied | ReadOnly | CannotOpen) => {
                Self::Denied { doing, path, source: io::Error::other(source) }
            }
            Some(DatabaseCorrupt | NotADatabase) => Self::DatabaseDamaged { path, source: Box::new(source) },
            _ => Self::Database { path, source: Box::new(source) },
        }
    }

    /// Adds to a full disk how much the whole operation was to write.
    pub(crate) fn needing(mut self, bytes: u64) -> Self {
        if let Self::NoSpace { needed, .. } = &mut self {
            *needed = Some(bytes);
        }
        self
    }
}

/// Bytes of the smallest index of SQLite's log.
const LOG_INDEX: u64 = 32 << 10;

/// Names what was being done to which path when a system call failed.
pub(crate) trait At<T> {
    fn at(self, doing: &'static str, path: &Path) -> Result<T>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, doing: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| StoreError::io(doing, path, source))
    }
}

impl<T> At<T> for rustix::io::Result<T> {
    fn at(self, doing: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| StoreError::io(doing, path, source.into()))
    }
}

/// The mount point above `path` and the bytes free there, as well as can be told.
fn filesystem_of(path: &Path) -> (PathBuf, u64) {
    let existing = path.ancestors().find(|p| p.symlink_metadata().is_ok()).unwrap_or(Path::new("/"));
    let available = rustix::fs::statvfs(existing).map_or(0, |fs| fs.f_bavail * fs.f_frsize);
    let device = existing.symlink_metadata().map_or(0, |m| m.dev());
    let mount = existing.ancestors().take_while(|p| p.symlink_metadata().is_ok_and(|m| m.dev() == device)).last();
    (mount.unwrap_or(existing).to_path_buf(), available)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn faults_of_the_system_get_a_remedy() {
        let table: &[(rustix::io::Errno, &[&str])] = &[
            (
                rustix::io::Errno::NOSPC,
                &["cannot write /nowhere/x", "the file system at /", "bytes free, 77 needed", "collect"],
            ),
            (rustix::io::Errno::DQUOT, &["is full"]),
            (rustix::io::Errno::ACCESS, &["cannot write /nowhere/x", "run as the owner", "--store ROOT"]),
            (rustix::io::Errno::ROFS, &["run as the owner"]),
            (rustix::io::Errno::NAMETOOLONG, &["cannot write /nowhere/x", "has 10 bytes", "shorter names"]),
            (rustix::io::Errno::IO, &["cannot write /nowhere/x"]),
        ];
        for (errno, parts) in table {
            let error = StoreError::io("write", Path::new("/nowhere/x"), (*errno).into()).needing(77).to_string();
            for part in *parts {
                assert!(error.contains(part), "{errno}: {error}");
            }
        }
    }

    #[test]
    fn faults_of_the_database_get_a_remedy() {
        use rusqlite::ffi;
        let table = [
            (ffi::SQLITE_BUSY, "was locked by another process for 60 s"),
            (ffi::SQLITE_FULL, "is full"),
            (ffi::SQLITE_READONLY, "run as the owner"),
            (ffi::SQLITE_CANTOPEN, "run as the owner"),
            (ffi::SQLITE_CORRUPT, "is damaged"),
            (ffi::SQLITE_NOTADB, "is damaged"),
            (ffi::SQLITE_MISUSE, "failed"),
        ];
        for (code, part) in table {
            let source = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            let error = StoreError::database(Path::new("/x/db.sqlite"), source, Duration::from_secs(60)).to_string();
            assert!(error.contains(part) && error.contains("/x/db.sqlite"), "{code}: {error}");
        }
    }
}
