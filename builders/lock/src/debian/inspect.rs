//! Fetching the chosen packages and judging their scripts, several at once.
//!
//! Packages are fetched while locking so that unknown scripts are found now and the build has
//! nothing left to fetch. What was found in a package is remembered by the package's hash: locking
//! again looks only at packages that are new.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use cairn_fetch::{Download, Fetcher, Mirrors, Progress};
use cairn_recipe::image::Acknowledged;
use cairn_recipe::lock::LockedDeb;

use super::deb::{self, Scripts};
use super::error::DebianError;
use super::scripts::{Script, UnknownScript, judge};
use cairn_formats::Sha256;

/// Downloads at once: enough to hide latency, few enough for a mirror not to mind.
const PARALLEL: usize = 8;

/// Position of a package, and what was found in it.
type Finding = (usize, Result<Vec<UnknownScript>, DebianError>);

pub struct Inspector<'a> {
    pub mirrors: &'a Mirrors,
    pub fetcher: &'a Fetcher,
    pub progress: &'a dyn Progress,
    pub acknowledged: &'a [Acknowledged],
    /// Folder of what was found in packages before.
    pub cache: PathBuf,
}

impl Inspector<'_> {
    /// Looks at every package. The error names all unknown scripts, not only the first.
    pub fn inspect(&self, debs: &[LockedDeb]) -> Result<(), DebianError> {
        fs::create_dir_all(&self.cache).map_err(|source| DebianError::Cache { path: self.cache.clone(), source })?;
        let next = AtomicUsize::new(0);
        let found: Mutex<Vec<Finding>> = Mutex::default();
        thread::scope(|scope| {
            for _ in 0..PARALLEL.min(debs.len()) {
                scope.spawn(|| {
                    loop {
                        let position = next.fetch_add(1, Ordering::Relaxed);
                        let Some(deb) = debs.get(position) else { break };
                        let result = self.unknown_scripts(deb);
                        if result.is_err() {
                            // Nobody needs the rest any more.
                            next.store(debs.len(), Ordering::Relaxed);
                        }
                        found.lock().unwrap_or_else(PoisonError::into_inner).push((position, result));
                    }
                });
            }
        });
        let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
        found.sort_by_key(|(position, _)| *position);
        let mut unknown = Vec::new();
        for (_, result) in found {
            unknown.extend(result?);
        }
        // One package for two platforms mostly has one and the same script.
        unknown
            .sort_by(|a: &UnknownScript, b| (&a.package, &a.script, a.sha256).cmp(&(&b.package, &b.script, b.sha256)));
        unknown.dedup_by(|a, b| (&a.package, &a.script, a.sha256) == (&b.package, &b.script, b.sha256));
        if unknown.is_empty() { Ok(()) } else { Err(DebianError::UnknownScripts(unknown)) }
    }

    fn unknown_scripts(&self, deb: &LockedDeb) -> Result<Vec<UnknownScript>, DebianError> {
        let scripts = match self.remembered(&deb.sha256) {
            Some(scripts) => scripts,
            None => self.read(deb)?,
        };
        let unknown = scripts.into_iter().filter(|(name, content)| {
            let script = Script { package: &deb.name, version: &deb.version, name, content };
            judge(script, self.acknowledged).is_none()
        });
        Ok(unknown
            .map(|(script, content)| UnknownScript {
                package: deb.name.clone(),
                version: deb.version.clone(),
                script,
                sha256: Sha256::of(&content),
                text: String::from_utf8_lossy(&content).into_owned(),
            })
            .collect())
    }

    fn read(&self, deb: &LockedDeb) -> Result<Scripts, DebianError> {
        let download = Download {
            what: format!("package {} {} ({})", deb.name, deb.version, deb.file_name()),
            urls: self.mirrors.debian_urls(&deb.archive, &deb.pool)?,
            sha256: deb.sha256,
            size: Some(deb.size),
            file_name: deb.file_name().to_owned(),
        };
        let path = self.fetcher.fetch(&download, self.progress)?;
        let scripts = deb::scripts(&path).map_err(|fault| DebianError::Deb {
            package: deb.name.clone(),
            version: deb.version.clone(),
            path,
            fault,
        })?;
        self.remember(&deb.sha256, &scripts);
        Ok(scripts)
    }

    fn memory(&self, sha256: &Sha256) -> PathBuf {
        self.cache.join(format!("{sha256}.json"))
    }

    fn remembered(&self, sha256: &Sha256) -> Option<Scripts> {
        serde_json::from_slice(&fs::read(self.memory(sha256)).ok()?).ok()
    }

    /// Best effort: what cannot be remembered is looked at again.
    fn remember(&self, sha256: &Sha256, scripts: &Scripts) {
        let path = self.memory(sha256);
        let _ = serde_json::to_vec(scripts).ok().map(|json| write_whole(&path, &json));
    }
}

fn write_whole(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let temporary = path.with_extension(format!("{}.new", std::process::id()));
    fs::write(&temporary, content)?;
    fs::rename(temporary, path)
}
