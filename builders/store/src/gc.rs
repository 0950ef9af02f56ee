//! Collecting garbage: mark what the roots reach, sweep the rest.
//!
//! The collector holds `gc.lock` alone, as Nix's does, so no process can declare a new temporary
//! root while it works; everyone who adds a path declares it, and what it refers to, first. Rows
//! go before trees: a crash in between leaves unregistered trees, which the next run sweeps.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use cairn_formats::StorePath;
use rustix::fs::FlockOperation;

use crate::error::{At as _, Result};
use crate::lock::{PathLock, open_lock_file};
use crate::remove::remove_tree;
use crate::roots::{Stale, find_roots};
use crate::store::Store;
use crate::{build_dir, realisation, runtime, temp_roots, walk};

/// What a collection removed, or would remove.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcReport {
    /// The dead paths, referrers first.
    pub deleted: Vec<StorePath>,
    /// Valid paths that stay.
    pub kept: usize,
    /// Leftovers in the store's directory that were never valid.
    pub leftovers: Vec<PathBuf>,
    /// Shared files that no path holds any more. A dry run cannot tell and says 0.
    pub links: usize,
    /// Build directories of dead processes.
    pub build_dirs: usize,
    /// Build directories of dead processes that could not be removed, and why.
    pub problems: Vec<String>,
    /// Entries of the realisation cache that lead to no valid path.
    pub realisations: usize,
    /// Bytes on disk that were freed; in a dry run the sum of the dead paths' NAR sizes, which is
    /// more than will be freed where files are shared.
    pub bytes: u64,
}

impl Store {
    /// Deletes every path that no root reaches, or only says which.
    pub fn collect_garbage(&self, dry_run: bool) -> Result<GcReport> {
        self.collect(dry_run, &[])
    }

    /// As a dry run, and as if these links were no roots any more.
    pub fn would_collect(&self, without: &[PathBuf]) -> Result<GcReport> {
        self.collect(true, without)
    }

    fn collect(&self, dry_run: bool, without: &[PathBuf]) -> Result<GcReport> {
        let _lock = self.lock_for_collection()?;
        let stale = if dry_run { Stale::Keep } else { Stale::Remove };
        let mut roots: BTreeSet<StorePath> = find_roots(self.layout(), stale)?
            .into_iter()
            .filter(|r| !without.contains(&r.link))
            .map(|r| r.path)
            .collect();
        let temporary = temp_roots::read_all(&self.layout().temp_roots())?;
        roots.extend(temporary.iter().cloned());

        let valid = self.valid_paths()?;
        if self.root() == Path::new("/") {
            roots.extend(runtime::in_use(Path::new("/proc"), &valid.iter().cloned().collect()));
        }

        let live = self.mark(roots)?;
        let dead: Vec<StorePath> = valid.iter().filter(|path| !live.contains(*path)).cloned().collect();
        let kept = valid.len() - dead.len();
        // References first, reversed: the database refuses to forget what is referred to.
        let closure = self.closure(&dead)?;
        let deleted: Vec<StorePath> = closure.into_iter().rev().filter(|path| !live.contains(path)).collect();

        let mut report = GcReport { deleted, kept, ..GcReport::default() };
        if dry_run {
            for path in &report.deleted {
                report.bytes += self.query(path)?.map_or(0, |info| info.nar_size);
            }
        } else if !report.deleted.is_empty() {
            self.db().release_reserve();
            self.db().invalidate(&report.deleted)?;
            for path in &report.deleted {
                tracing::info!(%path, "deleting");
                report.bytes += remove_tree(&self.physical(path))?;
            }
            self.db().restore_reserve();
        }
        self.sweep_leftovers(&temporary, dry_run, &mut report)?;
        if !dry_run {
            self.sweep_locks()?;
            self.sweep_links(&mut report)?;
        }
        (report.build_dirs, report.problems) = build_dir::sweep(&self.layout().builds(), dry_run)?;
        let dead: BTreeSet<&StorePath> = report.deleted.iter().collect();
        let realisations = self.layout().realisations();
        report.realisations = realisation::sweep(&realisations, self.db(), |path| dead.contains(path), dry_run)?;
        Ok(report)
    }

    /// All valid paths that `roots` reach. Roots may name paths that are not (yet) valid. The
    /// derivations of live paths live as well, which is Nix's default (`keep-derivations`).
    fn mark(&self, roots: BTreeSet<StorePath>) -> Result<BTreeSet<StorePath>> {
        let mut live = BTreeSet::new();
        let mut waiting: Vec<StorePath> = roots.into_iter().collect();
        while let Some(path) = waiting.pop() {
            if live.contains(&path) {
                continue;
            }
            if let Some(info) = self.query(&path)? {
                waiting.extend(info.references);
                waiting.extend(info.deriver);
                live.insert(path);
            }
        }
        Ok(live)
    }

    fn sweep_leftovers(&self, temporary: &BTreeSet<StorePath>, dry_run: bool, report: &mut GcReport) -> Result<()> {
        for physical in self.unregistered()? {
            // Somebody who is alive is about to register it.
            let name = physical.file_name().and_then(|name| name.to_str());
            if name.and_then(|name| StorePath::parse(name).ok()).is_some_and(|path| temporary.contains(&path)) {
                continue;
            }
            if !dry_run {
                report.bytes += remove_tree(&physical)?;
            }
            report.leftovers.push(physical);
        }
        Ok(())
    }

    /// Lock files that nobody holds; whoever waits for one starts over.
    fn sweep_locks(&self) -> Result<()> {
        let dir = self.layout().store_dir();
        for name in walk::sorted_names(&dir)? {
            if name.to_str().is_some_and(|name| name.ends_with(".lock") && StorePath::parse(name).is_ok()) {
                drop(PathLock::try_existing(&dir.join(name))?);
            }
        }
        Ok(())
    }

    fn sweep_links(&self, report: &mut GcReport) -> Result<()> {
        let dir = self.links_dir();
        for entry in std::fs::read_dir(&dir).at("list", &dir)? {
            let link = entry.at("list", &dir)?.path();
            let meta = match link.symlink_metadata() {
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                other => other.at("read", &link)?,
            };
            if meta.nlink() == 1 {
                crate::links::remove_if_there(&link)?;
                report.links += 1;
                report.bytes += meta.blocks() * 512;
            }
        }
        Ok(())
    }

    fn lock_for_collection(&self) -> Result<File> {
        let path = self.layout().gc_lock();
        let lock = open_lock_file(&path)?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive).at("lock", &path)?;
        // A Nix that wants to declare a temporary root now connects to the collector's socket
        // and gives up when there is none. Refused, it tries again until the lock is free.
        let socket = self.layout().gc_socket();
        let refuse = || -> io::Result<()> {
            std::fs::create_dir_all(socket.parent().unwrap_or(&socket))?;
            if socket.symlink_metadata().is_ok() {
                std::fs::remove_file(&socket)?;
            }
            std::os::unix::net::UnixListener::bind(&socket).map(drop)
        };
        if let Err(error) = refuse() {
            tracing::debug!(%error, "no socket for a Nix that runs at the same time");
        }
        Ok(lock)
    }
}
