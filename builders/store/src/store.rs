//! The open store: a root, its database, and what this process protects from collection.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use cairn_formats::{Sha256, StorePath};

use crate::db::Db;
use crate::error::{At as _, Result, StoreError};
use crate::group::Group;
use crate::info::PathInfo;
use crate::layout::Layout;
use crate::temp_roots::TempRoots;

/// A handle on a store; clones share it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    layout: Layout,
    db: Db,
    temp_roots: TempRoots,
    flushing: Group<()>,
    registering: Group<PathInfo>,
}

impl Store {
    /// Opens the store under `root`, creating what is missing.
    pub fn open(root: &Path) -> Result<Self> {
        std::fs::create_dir_all(root).at("create the store's root", root)?;
        let root = root.canonicalize().at("resolve the store's root", root)?;
        let layout = Layout::new(root);
        layout.create()?;
        let db = Db::open(&layout)?;
        let temp_roots = TempRoots::new(&layout);
        let (flushing, registering) = (Group::new(), Group::new());
        Ok(Self { inner: Arc::new(Inner { layout, db, temp_roots, flushing, registering }) })
    }

    /// The store of this user: `$XDG_DATA_HOME/cairn`, else `~/.local/share/cairn`.
    pub fn default_root() -> Result<PathBuf> {
        let var = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        if let Some(data) = var("XDG_DATA_HOME") {
            return Ok(data.join("cairn"));
        }
        var("HOME").map(|home| home.join(".local/share/cairn")).ok_or(StoreError::NoHome)
    }

    pub fn root(&self) -> &Path {
        self.layout().root()
    }

    /// Where a path lies on disk: `ROOT/nix/store/<base>`. Says nothing about its validity.
    pub fn physical(&self, path: &StorePath) -> PathBuf {
        self.layout().physical(path)
    }

    /// `ROOT/nix/store/.links`: every regular file of the store, once.
    pub fn links_dir(&self) -> PathBuf {
        self.layout().links()
    }

    /// Where the file with this hash (see [`cairn_formats::nar::file_hash`]) lies if it is there.
    pub fn link_file(&self, hash: &Sha256) -> PathBuf {
        self.links_dir().join(hash.nix32())
    }

    pub fn query(&self, path: &StorePath) -> Result<Option<PathInfo>> {
        self.db().query(path)
    }

    pub fn is_valid(&self, path: &StorePath) -> Result<bool> {
        self.db().is_valid(path)
    }

    /// Every valid path, in order of its name.
    pub fn valid_paths(&self) -> Result<Vec<StorePath>> {
        self.db().valid_paths()
    }

    /// Makes a path valid whose tree is in place, canonical, and checked by the caller.
    pub fn register(&self, info: &PathInfo) -> Result<()> {
        self.register_all(std::slice::from_ref(info))
    }

    /// Like [`Store::register`] for many, in any order, all or none.
    pub fn register_all(&self, infos: &[PathInfo]) -> Result<()> {
        for info in infos {
            let physical = self.physical(&info.path);
            if physical.symlink_metadata().is_err() {
                return Err(StoreError::MissingTree { path: info.path.clone(), physical });
            }
        }
        self.flush_data()?;
        self.flush_names()?;
        self.register_placed(infos)
    }

    /// Makes a path valid that is in place and whose bytes are on disk, together with others that come
    /// at the same time.
    pub(crate) fn register_with_others(&self, info: PathInfo) -> Result<()> {
        self.inner.registering.join(info, |infos| {
            self.flush_names()?;
            self.register_placed(infos)
        })
    }

    /// Registers what is on disk and flushed.
    pub(crate) fn register_placed(&self, infos: &[PathInfo]) -> Result<()> {
        let infos: Vec<PathInfo> = infos.iter().cloned().map(with_time).collect();
        if let Some(own) = infos.iter().find(|info| info.references.contains(&info.path)) {
            return Err(StoreError::SelfReference { path: own.path.clone() });
        }
        self.db().register(&infos)
    }

    /// Keeps a path from collection until this store and its clones are dropped, valid or not.
    pub fn add_temp_root(&self, path: &StorePath) -> Result<()> {
        self.add_temp_roots(std::slice::from_ref(path))
    }

    /// Like [`Store::add_temp_root`] for many.
    pub fn add_temp_roots<'a>(&self, paths: impl IntoIterator<Item = &'a StorePath>) -> Result<()> {
        self.inner.temp_roots.add(paths)
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.inner.layout
    }

    pub(crate) fn db(&self) -> &Db {
        &self.inner.db
    }

    /// Puts everything written so far on disk: one call for the file system, not one a file.
    pub(crate) fn flush_data(&self) -> Result<()> {
        let dir = self.layout().store_dir();
        self.inner.flushing.join((), |_| {
            let handle = std::fs::File::open(&dir).at("open", &dir)?;
            rustix::fs::syncfs(&handle).at("flush the file system of", &dir)
        })
    }

    /// Makes renames into the store durable.
    pub(crate) fn flush_names(&self) -> Result<()> {
        sync_dir(&self.layout().store_dir())
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("root", &self.root()).finish_non_exhaustive()
    }
}

pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    std::fs::File::open(dir).and_then(|dir| dir.sync_all()).at("flush the directory", dir)
}

fn with_time(mut info: PathInfo) -> PathInfo {
    if info.registered == 0 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        info.registered = since.as_secs().cast_signed();
    }
    info
}
