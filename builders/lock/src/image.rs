//! Both kinds of packages of one image, joined into its lock.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cairn_fetch::{FetchError, Fetcher, Mirrors, Progress};
use cairn_recipe::image::{ImageDefinition, PythonSection};
use cairn_recipe::lock::{LOCK_VERSION, Lock};

use crate::debian::{DebianError, DebianLock, DebianRequest, lock_debs};
use crate::exclude_newer::{self, BadTime, ExcludeNewer};
use crate::memory::{Accept, kept};
use crate::pypi::{Glibc, PypiError, PypiLock, PypiRequest, PythonVersion, lock_wheels};

/// What to lock, and with what.
pub struct LockRequest<'a> {
    pub definition: &'a ImageDefinition,
    /// The image's folder.
    pub folder: &'a Path,
    pub mirrors: &'a Mirrors,
    /// Packages stay in its folder, so that the build finds them.
    pub fetcher: &'a Fetcher,
    /// The lock before: packages stay in their layers, and what goes back or was exchanged is an
    /// error.
    pub previous: Option<&'a Lock>,
    /// Such differences that the operator accepts; the lock records them.
    pub accept: &'a Accept,
    pub exclude_newer: ExcludeNewer,
    /// A folder for what is remembered between runs.
    pub cache_dir: &'a Path,
    /// A folder of this run.
    pub scratch: &'a Path,
    /// The time that signatures and indexes are judged by.
    pub now: SystemTime,
}

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error(transparent)]
    Debian(#[from] DebianError),
    #[error(transparent)]
    Pypi(Box<PypiError>),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("image.lock: exclude_newer: {0}\n  help: give the time again with `--exclude-newer`")]
    ExcludeNewer(#[from] BadTime),
    #[error(
        "package `{package}` is not in the image, so it is not known which wheels fit\n  help: add `{package}` to `debian.packages`"
    )]
    NoInterpreter { package: String },
    #[error("cannot use {}: {source}", path.display())]
    Scratch { path: PathBuf, source: io::Error },
}

impl From<PypiError> for LockError {
    fn from(error: PypiError) -> Self {
        Self::Pypi(Box::new(error))
    }
}

/// A new lock.
#[derive(Debug)]
pub struct Locked {
    pub lock: Lock,
    /// What the operator should know, a sentence each.
    pub warnings: Vec<String>,
}

/// Resolves everything. The result is sorted and depends on nothing but the definition, the
/// archives' content and the lock before: its layers, its files of the same version, its policy.
pub fn lock_image(request: &LockRequest, progress: &dyn Progress) -> Result<Locked, LockError> {
    let exclude_newer = request.exclude_newer.resolve(request.previous)?;
    let debian = match &request.definition.debian {
        None => DebianLock::default(),
        Some(section) => lock_debs(&DebianRequest {
            section,
            folder: request.folder,
            platforms: &request.definition.platforms,
            mirrors: request.mirrors,
            fetcher: request.fetcher,
            progress,
            previous: request.previous,
            accept: request.accept,
            cache: request.cache_dir.to_owned(),
            now: request.now,
        })?,
    };
    let python = match &request.definition.python {
        Some(python) if !python.requirements.is_empty() => wheels(request, python, &debian, exclude_newer)?,
        _ => PypiLock::default(),
    };
    let mut lock = Lock {
        version: LOCK_VERSION,
        definition: request.definition.lock_hash(),
        platforms: request.definition.platforms.clone(),
        keyring: debian.keyring,
        // Without Python packages there is nothing that it left out.
        exclude_newer: exclude_newer.filter(|_| !python.wheels.is_empty()).map(exclude_newer::shown),
        indexes: debian.indexes,
        debs: debian.debs,
        wheels: python.wheels,
        accepted: [debian.accepted, python.accepted].concat(),
    };
    lock.accepted.extend(kept(request.previous, &lock));
    lock.platforms.sort();
    lock.platforms.dedup();
    lock.sort();
    Ok(Locked { lock, warnings: [debian.warnings, python.warnings].concat() })
}

/// The oldest interpreter and C library of all platforms decide which wheels fit.
fn wheels(
    request: &LockRequest,
    section: &PythonSection,
    debian: &DebianLock,
    exclude_newer: Option<i64>,
) -> Result<PypiLock, LockError> {
    let missing = |package: &str| LockError::NoInterpreter { package: package.to_owned() };
    let versions = |package: &str| -> Result<Vec<&str>, LockError> {
        let versions = request.definition.platforms.iter().map(|platform| debian.version(package, *platform));
        versions.map(|version| version.ok_or_else(|| missing(package))).collect()
    };
    let interpreter = &section.interpreter;
    let pythons = versions(interpreter)?.into_iter().map(|version| PythonVersion::of_debian(interpreter, version));
    let pythons = pythons.collect::<Result<Vec<_>, _>>()?;
    let libraries = versions("libc6")?.into_iter().map(Glibc::of_debian).collect::<Result<Vec<_>, _>>()?;
    let scratch = Scratch::new(request.scratch)?;
    Ok(lock_wheels(&PypiRequest {
        python: pythons.into_iter().min().ok_or_else(|| missing(interpreter))?,
        glibc: libraries.into_iter().min().ok_or_else(|| missing("libc6"))?,
        platforms: &request.definition.platforms,
        requirements: &section.requirements,
        index_url: &request.mirrors.pypi()?,
        scratch: &scratch.0,
        fetcher: request.fetcher,
        locked: request.previous.map_or(&[], |lock| &lock.wheels),
        accept: request.accept,
        exclude_newer,
    })?)
}

/// A folder of this run, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(below: &Path) -> Result<Self, LockError> {
        let path = below.join("python");
        let fail = |source| LockError::Scratch { path: path.clone(), source };
        fs::create_dir_all(&path).map_err(fail)?;
        // uv runs in another folder.
        Ok(Self(std::path::absolute(&path).map_err(fail)?))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Best effort: the caller's folder goes at the end.
        let _ = fs::remove_dir_all(&self.0);
    }
}
