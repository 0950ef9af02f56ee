//! The whole way for one image: all suites, all platforms.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::SystemTime;

use cairn_fetch::{Fetcher, Mirrors, Progress};
use cairn_formats::{Platform, Sha256};
use cairn_recipe::image::DebianSection;
use cairn_recipe::lock::{Accepted, Lock, LockedDeb, LockedIndex};
use cairn_recipe::nearest;

use super::archive::{Reader, Suite};
use super::error::DebianError;
use super::inspect::Inspector;
use super::keys::KeyFiles;
use super::layers::{self, SourceFacts};
use super::packages::{Index, Pool};
use super::requirement::Requirement;
use super::resolver::{Chosen, resolve};
use crate::memory::{Accept, changed_debs, judge};

/// What to lock, and with what.
pub struct DebianRequest<'a> {
    pub section: &'a DebianSection,
    /// The image's folder, which `keyring` is relative to.
    pub folder: &'a Path,
    pub platforms: &'a [Platform],
    pub mirrors: &'a Mirrors,
    pub fetcher: &'a Fetcher,
    pub progress: &'a dyn Progress,
    /// Keeps packages in the layers where they were, and is what suites and packages are compared
    /// with.
    pub previous: Option<&'a Lock>,
    pub accept: &'a Accept,
    /// Folder for what is remembered between runs.
    pub cache: PathBuf,
    pub now: SystemTime,
}

/// The Debian part of a lock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DebianLock {
    pub indexes: Vec<LockedIndex>,
    /// By platform and name.
    pub debs: Vec<LockedDeb>,
    /// Hash of the definition's keyring file.
    pub keyring: Option<Sha256>,
    /// Differences from the lock before that were accepted.
    pub accepted: Vec<Accepted>,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

impl DebianLock {
    /// The version of a package on a platform.
    pub fn version(&self, name: &str, platform: Platform) -> Option<&str> {
        let found = self.debs.iter().find(|deb| deb.name == name && deb.platforms.contains(&platform));
        found.map(|deb| deb.version.as_str())
    }
}

/// Resolves, fetches and inspects.
pub fn lock_debs(request: &DebianRequest) -> Result<DebianLock, DebianError> {
    let requirements = requirements(&request.section.packages)?;
    let own_keys = request
        .section
        .keyring
        .as_ref()
        .map(|path| KeyFiles::read(&request.section.suites.join(", "), vec![request.folder.join(path)]));
    let own_keys = own_keys.transpose()?;
    let keyring = own_keys.as_ref().map(|keys| keys.sha256);
    let mut warnings: Vec<String> = of_keyring(request.previous, own_keys.as_ref()).into_iter().collect();
    let reader = Reader {
        mirrors: request.mirrors,
        fetcher: request.fetcher,
        progress: request.progress,
        own_keys,
        previous: request.previous,
        accept: request.accept,
        now: request.now,
    };
    let names: BTreeSet<&String> = request.section.suites.iter().collect();
    let suites = in_parallel(names.into_iter(), |name| reader.suite(name))?;

    let mut debs: Vec<LockedDeb> = Vec::new();
    let mut unknown_excludes: BTreeMap<&str, Option<String>> =
        request.section.exclude.keys().map(|name| (name.as_str(), None)).collect();
    let platforms: BTreeSet<Platform> = request.platforms.iter().copied().collect();
    // One platform after the other, since the indexes of one fill 50 MB of memory.
    for platform in platforms {
        let arch = platform.debian();
        let texts = in_parallel(suites.iter(), |suite| reader.packages(suite, arch))?;
        let pool = Pool::new(arch, &indexes(&suites, &texts));
        unknown_excludes.retain(|name, near| {
            let exists = !pool.named(name).is_empty() || !pool.providers(name).is_empty();
            if !exists && near.is_none() {
                *near = nearest_name(name, &pool);
            }
            !exists
        });
        for chosen in resolve(&pool, &requirements, &request.section.exclude)? {
            add(&mut debs, locked(&pool, &chosen, platform)?);
        }
    }
    if let Some((name, near)) = unknown_excludes.into_iter().next() {
        let suites = request.section.suites.join(", ");
        return Err(DebianError::UnknownExclude { name: name.to_owned(), suites, near });
    }
    let changed = request.previous.map(|previous| changed_debs(previous, &debs)).unwrap_or_default();
    let mut accepted = judge(changed, request.accept)?;
    assign_layers(&mut debs, request.previous);
    debs.sort_by(|a, b| (&a.name, &a.arch, &a.platforms).cmp(&(&b.name, &b.arch, &b.platforms)));
    Inspector {
        mirrors: request.mirrors,
        fetcher: request.fetcher,
        progress: request.progress,
        acknowledged: &request.section.acknowledge,
        cache: request.cache.join("maintainer-scripts"),
    }
    .inspect(&debs)?;
    let mut indexes = Vec::new();
    for suite in suites {
        indexes.push(suite.locked);
        accepted.extend(suite.accepted);
        warnings.extend(suite.warnings);
    }
    Ok(DebianLock { indexes, debs, keyring, accepted, warnings })
}

/// Says that other keys than before decide what counts as the archive.
fn of_keyring(previous: Option<&Lock>, now: Option<&KeyFiles>) -> Option<String> {
    let before = previous.and_then(|lock| lock.keyring);
    match (before, now) {
        (Some(before), None) => Some(format!(
            "`debian.keyring` (sha256 {before}) is no longer in the definition: Debian's own keys decide again"
        )),
        (before, Some(now)) if before != Some(now.sha256) => {
            let file = now.files.iter().map(|file| file.display().to_string()).collect::<String>();
            let was = before.map_or("is new".to_owned(), |before| format!("has changed, from sha256 {before}"));
            let keys = now.keyring.fingerprints().join(", ");
            Some(format!(
                "`debian.keyring` {was}: {file}, sha256 {}, decides in place of Debian's keys which archive is \
                 trusted; it holds {keys}",
                now.sha256
            ))
        }
        _ => None,
    }
}

fn requirements(texts: &[String]) -> Result<Vec<Requirement<'_>>, DebianError> {
    texts.iter().map(|text| Requirement::parse(text).map_err(|source| DebianError::Requirement { source })).collect()
}

fn indexes<'a>(suites: &'a [Suite], texts: &'a [String]) -> Vec<Index<'a>> {
    let index = |(suite, text): (&'a Suite, &'a String)| Index {
        archive: &suite.locked.archive,
        suite: &suite.locked.suite,
        text,
    };
    suites.iter().zip(texts).map(index).collect()
}

fn nearest_name(name: &str, pool: &Pool) -> Option<String> {
    let mut names: Vec<&str> = pool.names().collect();
    names.sort_unstable();
    nearest(name, names).map(str::to_owned)
}

fn locked(pool: &Pool, chosen: &Chosen, platform: Platform) -> Result<LockedDeb, DebianError> {
    let package = pool.get(chosen.package);
    let file = package.file()?;
    Ok(LockedDeb {
        name: package.name.to_owned(),
        version: package.version.to_owned(),
        arch: package.arch.to_owned(),
        source: file.source,
        size: file.size,
        sha256: file.sha256,
        archive: package.archive.to_owned(),
        pool: file.pool,
        depends: chosen.depends.iter().map(|name| (*name).to_owned()).collect(),
        platforms: vec![platform],
        layer: String::new(),
    })
}

/// One entry for a package that is the same on several platforms, edges included.
fn add(debs: &mut Vec<LockedDeb>, new: LockedDeb) {
    let same = |old: &&mut LockedDeb| {
        LockedDeb { platforms: Vec::new(), ..(*old).clone() } == LockedDeb { platforms: Vec::new(), ..new.clone() }
    };
    match debs.iter_mut().find(same) {
        Some(old) => old.platforms.extend(&new.platforms),
        None => debs.push(new),
    }
}

fn assign_layers(debs: &mut [LockedDeb], previous: Option<&Lock>) {
    let mut sources: BTreeMap<String, SourceFacts> = BTreeMap::new();
    for deb in debs.iter() {
        let facts = sources.entry(deb.source.clone()).or_default();
        facts.size += deb.size;
        facts.updated |= layers::is_updated(&deb.version);
    }
    let before = previous.into_iter().flat_map(|lock| &lock.debs);
    let before = before.map(|deb| (deb.source.clone(), deb.layer.clone())).collect();
    let layers = layers::assign(&sources, &before);
    for deb in debs {
        deb.layer = layers.get(&deb.source).cloned().unwrap_or_default();
    }
}

/// One thread each; the results in order, or the first error in order.
fn in_parallel<T: Send, R: Send>(
    items: impl Iterator<Item = T>,
    work: impl Fn(T) -> Result<R, DebianError> + Sync,
) -> Result<Vec<R>, DebianError> {
    thread::scope(|scope| {
        let threads: Vec<_> = items.map(|item| scope.spawn(|| work(item))).collect();
        let results = threads.into_iter().map(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        results.collect()
    })
}

#[cfg(test)]
#[path = "locking_tests.rs"]
mod tests;
