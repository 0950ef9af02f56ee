//! What was built from which recipe: `nix/var/cairn/realisations/<recipe hash>` holds the base
//! name of the output.
//!
//! It is a cache. An entry that cannot be read, or whose path is not valid, is no entry; so
//! nothing here is flushed, and nothing here keeps a path alive.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use cairn_formats::{Sha256, StorePath};

use crate::db::Db;
use crate::error::{At as _, Result};
use crate::store::Store;

impl Store {
    /// The valid output of a recipe. It is kept from collection until this store is dropped.
    pub fn realisation(&self, recipe: &Sha256) -> Result<Option<StorePath>> {
        let Some(path) = read(&self.layout().realisations().join(recipe.hex()))? else { return Ok(None) };
        // First protected, then looked at: the other way round a collector could come between.
        self.add_temp_root(&path)?;
        Ok(self.present(&path)?.map(|info| info.path))
    }

    pub fn set_realisation(&self, recipe: &Sha256, output: &StorePath) -> Result<()> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let dir = self.layout().realisations();
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let new = dir.join(format!(".new-{}-{next}", std::process::id()));
        let file = dir.join(recipe.hex());
        std::fs::write(&new, format!("{output}\n")).at("write", &new)?;
        std::fs::rename(&new, &file).at("replace", &file)
    }
}

fn read(file: &Path) -> Result<Option<StorePath>> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(text.strip_suffix('\n').and_then(|base| StorePath::parse(base).ok())),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => Ok(None),
        Err(e) => Err(e).at("read", file),
    }
}

/// Removes the entries that lead to no valid path, and what interrupted writers left. Gives how many.
pub(crate) fn sweep(dir: &Path, db: &Db, dead: impl Fn(&StorePath) -> bool, dry_run: bool) -> Result<usize> {
    let mut swept = 0;
    for entry in std::fs::read_dir(dir).at("list", dir)? {
        let file = entry.at("list", dir)?.path();
        let alive = match read(&file)? {
            Some(path) => !dead(&path) && db.is_valid(&path)?,
            None => false,
        };
        if !alive {
            swept += 1;
            if !dry_run {
                crate::links::remove_if_there(&file)?;
            }
        }
    }
    Ok(swept)
}
