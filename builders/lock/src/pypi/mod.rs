//! Python requirements to locked wheels.
//!
//! The way through: [`requirement`] refuses what a lock cannot hold → `uv pip compile` resolves,
//! once per platform ([`uv`], the only place that runs a process) → [`pylock`] and [`edges`] read
//! what it wrote → [`tags`] and [`choose`] take the wheel that pip would install → the wheels of
//! all platforms are merged and sorted ([`merge`]).
//!
//! Resolving is uv's work: markers, extras, backtracking. Choosing the file is ours, because uv
//! lists every wheel that would do and the lock names exactly one. Nothing here depends on the
//! machine: uv gets an empty cache, no configuration and a bare environment, and the interpreter
//! it runs on only has to be a CPython of any version.
//!
//! No address is locked. When a wheel is fetched, [`simple`] asks the index of the day for it, by
//! file name and hash.

mod choose;
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

use std::path::Path;

use cairn_fetch::Fetcher;
use cairn_formats::Platform;
use cairn_recipe::lock::LockedWheel;
use serde::Deserialize;

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
    /// For indexes that do not say how long a file is.
    pub fetcher: &'a Fetcher,
}

/// The hashes of a file, as lock files and indexes both write them.
#[derive(Default, Deserialize)]
struct Hashes {
    sha256: Option<String>,
}

/// Resolves the requirements and locks one wheel per package and platform, sorted by name.
pub fn lock_wheels(request: &PypiRequest) -> Result<Vec<LockedWheel>, PypiError> {
    if request.requirements.is_empty() {
        return Ok(Vec::new());
    }
    for requirement in request.requirements {
        requirement::check(requirement)?;
    }
    let uv = uv::Uv::find()?;
    let mut merge = merge::Merge::default();
    for &platform in request.platforms {
        let resolved = resolve(&uv, request, platform)?;
        let supported = tags::Supported::new(request.python, request.glibc, platform);
        for package in &resolved.packages {
            let wheel = choose::choose(package, &supported, platform)?;
            let size = match wheel.size {
                Some(size) => size,
                None => download_for_size(request.fetcher, package, wheel)?,
            };
            merge.add(platform, package, wheel, size, resolved.edges.of(&package.name));
        }
    }
    Ok(merge.finish())
}

struct Resolved {
    packages: Vec<pylock::Package>,
    edges: edges::Edges,
}

/// Asks uv twice, as neither of its formats has it all: `pylock.toml` has files, sizes and hashes
/// but no dependencies, `requirements.txt` has who asked for what. The second run works from the
/// cache of the first.
fn resolve(uv: &uv::Uv, request: &PypiRequest, platform: Platform) -> Result<Resolved, PypiError> {
    let input = request.scratch.join("requirements.in");
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
mod index_tests;
