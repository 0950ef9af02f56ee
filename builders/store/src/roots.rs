//! Garbage-collection roots: the links that keep paths alive.
//!
//! As in Nix, a root is a symbolic link into the store anywhere below `gcroots` or `profiles`; a
//! link to such a link elsewhere (Nix's `auto` roots, made by `nix-build`'s `result`); or a plain
//! file below `gcroots` named like a store path. Roots set here are `gcroots/cairn/NAME`.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

use cairn_formats::StorePath;

use crate::error::{At as _, Result, StoreError};
use crate::layout::Layout;
use crate::links::remove_if_there;
use crate::store::{Store, sync_dir};

/// A path kept alive, and by what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Root {
    pub link: PathBuf,
    pub path: StorePath,
}

impl Store {
    /// Keeps `target` alive under `name`, parts separated by `/`, in place of what had the name.
    pub fn set_root(&self, name: &str, target: &StorePath) -> Result<()> {
        let link = self.named_root(name)?;
        self.add_temp_root(target)?;
        if !self.is_valid(target)? {
            return Err(StoreError::NotValid { path: target.clone() });
        }
        let target = target.absolute();
        // What is there already needs no flush.
        if std::fs::read_link(&link).is_ok_and(|now| now == Path::new(&target)) {
            return Ok(());
        }
        replace_link(&link, Path::new(&target))
    }

    pub fn remove_root(&self, name: &str) -> Result<()> {
        let link = self.named_root(name)?;
        remove_if_there(&link)?;
        match link.parent() {
            Some(dir) if dir.is_dir() => sync_dir(dir),
            _ => Ok(()),
        }
    }

    /// All permanent roots that point to valid paths, in order of their links.
    pub fn roots(&self) -> Result<Vec<Root>> {
        let mut valid = Vec::new();
        for root in find_roots(self.layout(), Stale::Keep)? {
            if self.is_valid(&root.path)? {
                valid.push(root);
            }
        }
        Ok(valid)
    }

    fn named_root(&self, name: &str) -> Result<PathBuf> {
        if !name.split('/').all(is_plain_name) {
            return Err(StoreError::BadName { what: "root", name: name.to_owned() });
        }
        Ok(self.layout().named_roots().join(name))
    }
}

/// A name that needs no quoting and cannot leave its directory.
pub(crate) fn is_plain_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-+".contains(&b);
    (1..=200).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(allowed)
}

/// Points `link` to `target` in one step, durably.
pub(crate) fn replace_link(link: &Path, target: &Path) -> Result<()> {
    let dir = link.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(dir).at("create the directory", dir)?;
    let name = link.file_name().unwrap_or_default().to_string_lossy();
    let mut attempt = 0;
    let new = loop {
        // A leftover of a killed process is no harm: it is not what anybody reads.
        let new = dir.join(format!(".{name}.new-{}-{attempt}", std::process::id()));
        match std::os::unix::fs::symlink(target, &new) {
            Ok(()) => break new,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => attempt += 1,
            Err(e) => return Err(StoreError::io("create the link", &new, e)),
        }
    };
    std::fs::rename(&new, link).at("replace the link", link)?;
    sync_dir(dir)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stale {
    Keep,
    /// Remove the `auto` links whose other end is gone.
    Remove,
}

/// Every root, whether its path is valid or not, in order of the links.
pub(crate) fn find_roots(layout: &Layout, stale: Stale) -> Result<Vec<Root>> {
    let mut finder = Finder { layout, stale, roots: Vec::new() };
    finder.visit(&layout.gc_roots())?;
    finder.visit(&layout.profiles())?;
    finder.roots.sort();
    finder.roots.dedup();
    Ok(finder.roots)
}

struct Finder<'l> {
    layout: &'l Layout,
    stale: Stale,
    roots: Vec<Root>,
}

impl Finder<'_> {
    fn visit(&mut self, path: &Path) -> Result<()> {
        let Some(meta) = lstat(path)? else { return Ok(()) };
        if meta.is_dir() {
            for entry in std::fs::read_dir(path).at("list", path)? {
                self.visit(&entry.at("list", path)?.path())?;
            }
        } else if meta.is_symlink() {
            self.link(path)?;
        } else if let Some(root) = path.file_name().and_then(|n| n.to_str()).and_then(|n| StorePath::parse(n).ok()) {
            self.roots.push(Root { link: path.to_path_buf(), path: root });
        }
        Ok(())
    }

    fn link(&mut self, link: &Path) -> Result<()> {
        let target = read_link(link)?;
        if let Some(path) = self.layout.store_path_of(&target) {
            self.roots.push(Root { link: link.to_path_buf(), path });
            return Ok(());
        }
        match lstat(&target)? {
            Some(meta) if meta.is_symlink() => {
                if let Some(path) = self.layout.store_path_of(&read_link(&target)?) {
                    self.roots.push(Root { link: target, path });
                }
            }
            Some(_) => {}
            None if self.stale == Stale::Remove && link.starts_with(self.layout.gc_roots().join("auto")) => {
                tracing::info!(link = %link.display(), target = %target.display(), "removing a stale root");
                remove_if_there(link)?;
            }
            None => {}
        }
        Ok(())
    }
}

/// `None` when it is gone. A link into a directory that we may not read is an error: what cannot
/// be read might be a root, and then its path must live.
fn lstat(path: &Path) -> Result<Option<Metadata>> {
    match path.symlink_metadata() {
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        other => other.at("read", path).map(Some),
    }
}

fn read_link(link: &Path) -> Result<PathBuf> {
    let target = std::fs::read_link(link).at("read the link", link)?;
    Ok(link.parent().unwrap_or(Path::new("/")).join(target))
}
