//! Python requirements to locked wheels.
//!
//! The way through: [`requirement`] refuses what a lock cannot hold → `uv pip compile` resolves,
//! once per platform ([`uv`], the only place that runs a process) → [`pylock`] and [`edges`] read
//! what it wrote → [`tags`] and [`choose`] take the wheel that was locked before or that pip would
//! install → the wheels of all platforms are merged and sorted ([`merge`]) → [`confirm`] asks an
//! encrypted index for their hashes once more.
//!
//! Resolving is uv's work: markers, extras, backtracking. Choosing the file is ours, because uv
//! lists every wheel that would do and the lock names exactly one. Nothing here depends on the
//! machine: uv gets an empty cache, no configuration and a bare environment, and the interpreter
//! it runs on only has to be a CPython of any version.
//!
//! No address is locked. When a wheel is fetched, [`simple`] asks the index of the day for it, by
//! file name and hash.

mod choose;
mod confirm;
mod edges;
mod error;
pub(crate) mod fuzzing;
mod merge;
mod pylock;
mod requirement;
mod simple;
mod tags;
mod uv;
mod version;
mod wheel_name;

use std::collections::BTreeSet;
use std::path::Path;

use cairn_fetch::{Fetcher, without_login};
use cairn_formats::Platform;
use cairn_recipe::lock::{Accepted, LockedWheel};
use serde::Deserialize;

use crate::memory::{Accept, judge};

pub use error::PypiError;
pub use requirement::normalise;
pub use simple::{locate_wheel, wheel_urls};
pub use version::{Glibc, PythonVersion};

/// What to lock, for which interpreter.
pub struct PypiRequest<'a> {
    /// With its patch level if it is known: some packages ask for it in their markers.
    pub python: PythonVersion,
    /// Of the image, the oldest of all platforms.
    pub glibc: Glibc,
    pub platforms: &'a [Platform],
    /// PEP 508, without direct references.
    pub requirements: &'a [String],
    /// The index's simple API, with credentials if it wants them.
    pub index_url: &'a str,
    /// A folder of this run alone; uv's cache and input go there.
    pub scratch: &'a Path,
    /// For indexes that do not say how long a file is, and to confirm the hashes.
    pub fetcher: &'a Fetcher,
    /// The wheels of the lock before.
    pub locked: &'a [LockedWheel],
    pub accept: &'a Accept,
    /// What was uploaded at this time (seconds since 1970) or later is left out.
    pub exclude_newer: Option<i64>,
}

/// The Python part of a lock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PypiLock {
    /// By name.
    pub wheels: Vec<LockedWheel>,
    /// Differences from the lock before that were accepted.
    pub accepted: Vec<Accepted>,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// The hashes of a file, as lock files and indexes both write them.
#[derive(Default, Deserialize)]
struct Hashes {
    sha256: Option<String>,
}

/// Resolves the requirements and locks one wheel per package and platform, sorted by name.
pub fn lock_wheels(request: &PypiRequest) -> Result<PypiLock, PypiError> {
    if request.requirements.is_empty() {
        return Ok(PypiLock::default());
    }
    for requirement in request.requirements {
        requirement::check(requirement)?;
    }
    let uv = uv::Uv::find()?;
    let mut merge = merge::Merge::default();
    let mut changed = BTreeSet::new();
    let terms = choose::Terms { locked: request.locked, accept: request.accept, exclude_newer: request.exclude_newer };
    for &platform in request.platforms {
        let resolved = resolve(&uv, request, platform)?;
        let supported = tags::Supported::new(request.python, request.glibc, platform);
        for package in &resolved.packages {
            let choice = choose::choose(package, &supported, platform, &terms)?;
            let size = match choice.wheel.size {
                Some(size) => size,
                None => download_for_size(request.fetcher, package, choice.wheel)?,
            };
            changed.extend(choice.changed);
            merge.add(platform, package, choice.wheel, size, resolved.edges.of(&package.name));
        }
    }
    let accepted = judge(changed.into_iter().collect(), request.accept)?;
    let wheels = merge.finish();
    let mut warnings = Vec::new();
    if confirm::has_scheme(request.index_url, "http") {
        warnings.push(format!(
            "the Python index {} is not encrypted: the hashes of wheels come from it alone, so anybody on the way to \
             it decides what is locked; use its https:// address",
            without_login(request.index_url)
        ));
    }
    if confirm::has_scheme(request.index_url, "https") {
        confirm::confirm(request.fetcher, request.index_url, &wheels)?;
    }
    Ok(PypiLock { wheels, accepted, warnings })
}

struct Resolved {
    packages: Vec<pylock::Package>,
    edges: edges::Edges,
}

/// Asks uv twice, as neither of its formats has it all: `pylock.toml` has files, sizes and hashes
/// but no dependencies, `requirements.txt` has who asked for what. The second run works from the
/// cache of the first.
fn resolve(uv: &uv::Uv, request: &PypiRequest, platform: Platform) -> Result<Resolved, PypiError> {
    let input = request.scratch.join(uv::INPUT);
    let lines: String = request.requirements.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(&input, lines).map_err(|source| PypiError::Scratch { path: input, source })?;

    let packages = pylock::parse(&uv.compile(request, platform, uv::Format::Pylock)?, platform)?;
    let edges = edges::parse(&uv.compile(request, platform, uv::Format::Annotated)?);
    let agree = packages.iter().all(|p| edges.version(&p.name) == Some(&p.version)) && packages.len() == edges.len();
    if !agree {
        return Err(PypiError::IndexChanged { platform });
    }
    Ok(Resolved { packages, edges })
}

/// An index in HTML alone gives no sizes. The wheel will be wanted anyway.
fn download_for_size(fetcher: &Fetcher, package: &pylock::Package, wheel: &pylock::Wheel) -> Result<u64, PypiError> {
    let download = cairn_fetch::Download {
        what: format!("wheel {} {}", package.name, package.version),
        urls: vec![wheel.url.clone()],
        sha256: wheel.sha256,
        size: None,
        file_name: wheel.file.clone(),
    };
    let path = fetcher.fetch(&download, &())?;
    Ok(std::fs::metadata(&path).map_err(|source| PypiError::Scratch { path, source })?.len())
}

#[cfg(test)]
mod again_tests;
#[cfg(test)]
mod index_tests;
#[cfg(test)]
mod test_index;
