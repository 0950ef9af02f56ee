//! Where things lie under a root: Nix's own places, and ours in `nix/var/cairn`.

use std::path::{Path, PathBuf};

use cairn_formats::{STORE_DIR, StorePath};

use crate::error::{At as _, Result};

#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn store_dir(&self) -> PathBuf {
        self.root.join("nix/store")
    }

    pub fn physical(&self, path: &StorePath) -> PathBuf {
        self.store_dir().join(path.base())
    }

    pub fn links(&self) -> PathBuf {
        self.store_dir().join(".links")
    }

    fn state(&self) -> PathBuf {
        self.root.join("nix/var/nix")
    }

    pub fn db_dir(&self) -> PathBuf {
        self.state().join("db")
    }

    pub fn gc_roots(&self) -> PathBuf {
        self.state().join("gcroots")
    }

    /// Roots set by name through this crate.
    pub fn named_roots(&self) -> PathBuf {
        self.gc_roots().join("cairn")
    }

    pub fn profiles(&self) -> PathBuf {
        self.state().join("profiles")
    }

    pub fn temp_roots(&self) -> PathBuf {
        self.state().join("temproots")
    }

    pub fn gc_lock(&self) -> PathBuf {
        self.state().join("gc.lock")
    }

    pub fn gc_socket(&self) -> PathBuf {
        self.state().join("gc-socket/socket")
    }

    pub fn builds(&self) -> PathBuf {
        self.root.join("nix/var/cairn/build")
    }

    pub fn realisations(&self) -> PathBuf {
        self.root.join("nix/var/cairn/realisations")
    }

    pub fn create(&self) -> Result<()> {
        for dir in [
            self.links(),
            self.db_dir(),
            self.gc_roots().join("per-user"),
            self.profiles().join("per-user"),
            self.temp_roots(),
            self.builds(),
            self.realisations(),
        ] {
            std::fs::create_dir_all(&dir).at("create the directory", &dir)?;
        }
        // Nix finds profiles through this link when it prints roots, and creates it if missing.
        let link = self.gc_roots().join("profiles");
        if link.symlink_metadata().is_err() {
            match std::os::unix::fs::symlink(self.profiles(), &link) {
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                other => other.at("create the link", &link)?,
            }
        }
        Ok(())
    }

    /// The store path that `target` lies in, when it lies in this store by its logical or its
    /// physical name.
    pub fn store_path_of(&self, target: &Path) -> Option<StorePath> {
        let below = target.strip_prefix(STORE_DIR).or_else(|_| target.strip_prefix(self.store_dir())).ok()?;
        StorePath::parse(below.components().next()?.as_os_str().to_str()?).ok()
    }
}
