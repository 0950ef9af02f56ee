//! Where to download from. Policy, so it never stands in a lock file.
//!
//! For each kind of mirror the first of these that says something wins: `[mirrors]` in
//! `deploy.toml`; the environment (`DEPLOY_MIRROR_DEBIAN`, `DEPLOY_MIRROR_DEBIAN_SECURITY`,
//! `DEPLOY_PYPI_INDEX`; several addresses with spaces between); what the machine's own apt or pip
//! is configured with. Each kind is looked up when it is first asked for: who builds without
//! Python packages never waits for pip.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::FetchError;
use crate::apt;
use crate::pip;

/// `[mirrors]` of `deploy.toml`: base addresses, empty where the project says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MirrorsConfig {
    pub debian: Vec<String>,
    pub debian_security: Vec<String>,
    pub pypi: Option<String>,
}

/// Finds mirrors, each kind once.
pub struct Mirrors {
    config: MirrorsConfig,
    machine: Machine,
    debian: Mutex<BTreeMap<String, Vec<String>>>,
    pypi: OnceLock<Option<String>>,
}

/// What is asked of the machine; tests have their own.
struct Machine {
    environment: fn(&str) -> Option<String>,
    apt: PathBuf,
    pip: fn() -> Option<String>,
}

impl Mirrors {
    /// Asks nobody yet.
    pub fn discover(config: &MirrorsConfig) -> Self {
        let machine =
            Machine { environment: |name| std::env::var(name).ok(), apt: PathBuf::from("/etc/apt"), pip: pip::index };
        Self::of(config.clone(), machine)
    }

    fn of(config: MirrorsConfig, machine: Machine) -> Self {
        Self { config, machine, debian: Mutex::default(), pypi: OnceLock::new() }
    }

    /// Base addresses of an archive (`debian`, `debian-security`), without a slash at the end.
    pub fn debian(&self, archive: &str) -> Result<Vec<String>, FetchError> {
        let mut known = self.debian.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.entry(archive.to_owned()).or_insert_with(|| self.find_debian(archive));
        if found.is_empty() {
            return Err(FetchError::NoMirror {
                what: format!("the Debian archive `{archive}`"),
                help: format!(
                    "set `{archive}` under [mirrors] in deploy.toml or {} in the environment to its address, \
                     as in \"http://mirror.example/{archive}\", or configure apt on this machine",
                    variable(archive)
                ),
            });
        }
        Ok(found.clone())
    }

    /// Addresses of one file of an archive, such as `pool/main/…/x.deb`.
    pub fn debian_urls(&self, archive: &str, path: &str) -> Result<Vec<String>, FetchError> {
        Ok(self.debian(archive)?.iter().map(|base| format!("{base}/{path}")).collect())
    }

    /// The Python index's simple API, without a slash at the end.
    pub fn pypi(&self) -> Result<String, FetchError> {
        self.pypi.get_or_init(|| self.find_pypi()).clone().ok_or_else(|| FetchError::NoMirror {
            what: "Python packages".to_owned(),
            help: "set `pypi` under [mirrors] in deploy.toml or DEPLOY_PYPI_INDEX in the environment to the \
                   address of a simple index, as in \"https://mirror.example/simple\", or install pip"
                .to_owned(),
        })
    }

    fn find_debian(&self, archive: &str) -> Vec<String> {
        let configured: &[String] = match archive {
            "debian" => &self.config.debian,
            "debian-security" => &self.config.debian_security,
            _ => &[],
        };
        if !configured.is_empty() {
            return distinct(configured.iter().cloned());
        }
        let environment = (self.machine.environment)(&variable(archive)).unwrap_or_default();
        let set = distinct(environment.split_whitespace().map(str::to_owned));
        if !set.is_empty() {
            return set;
        }
        distinct(apt::sources_below(&self.machine.apt).into_iter().filter(|s| s.serves(archive)).map(|s| s.uri))
    }

    fn find_pypi(&self) -> Option<String> {
        let configured = self.config.pypi.clone();
        let set = || (self.machine.environment)("DEPLOY_PYPI_INDEX").filter(|v| !v.trim().is_empty());
        configured.or_else(set).or_else(self.machine.pip).map(|url| without_slash(&url))
    }
}

fn variable(archive: &str) -> String {
    format!("DEPLOY_MIRROR_{}", archive.to_ascii_uppercase().replace('-', "_"))
}

fn without_slash(url: &str) -> String {
    url.trim().trim_end_matches('/').to_owned()
}

fn distinct(urls: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = Vec::new();
    for url in urls.map(|url| without_slash(&url)) {
        if !seen.contains(&url) {
            seen.push(url);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn machine(apt: &std::path::Path, environment: fn(&str) -> Option<String>) -> Machine {
        Machine { environment, apt: apt.to_owned(), pip: || Some("https://pip.example/simple/".to_owned()) }
    }

    #[test]
    fn the_project_goes_before_the_environment_and_that_before_apt() {
        let dir = tempfile::tempdir().unwrap();
        let list = "deb http://apt.example/debian/ s main\ndeb http://apt.example/debian s-updates main\n";
        std::fs::write(dir.path().join("sources.list"), list).unwrap();
        let quiet = |_: &str| None;
        let set =
            |name: &str| (name == "DEPLOY_MIRROR_DEBIAN").then(|| " http://a.example/d/ http://b.example/d".into());
        let config = MirrorsConfig { debian: vec!["http://project.example/debian/".into()], ..Default::default() };
        let none = MirrorsConfig::default();

        let find = |config: &MirrorsConfig, environment| {
            Mirrors::of(config.clone(), machine(dir.path(), environment)).debian("debian").unwrap()
        };
        assert_eq!(find(&config, set), ["http://project.example/debian"]);
        assert_eq!(find(&none, set), ["http://a.example/d", "http://b.example/d"]);
        assert_eq!(find(&none, quiet), ["http://apt.example/debian"]);
    }

    #[test]
    fn pip_answers_last() {
        let dir = tempfile::tempdir().unwrap();
        let config = MirrorsConfig { pypi: Some("https://project.example/simple/".into()), ..Default::default() };
        let find = |config: &MirrorsConfig, env| Mirrors::of(config.clone(), machine(dir.path(), env)).pypi().unwrap();
        assert_eq!(find(&config, |_| None), "https://project.example/simple");
        assert_eq!(find(&MirrorsConfig::default(), |_| Some("https://env.example/s".into())), "https://env.example/s");
        assert_eq!(find(&MirrorsConfig::default(), |_| None), "https://pip.example/simple");
    }

    #[test]
    fn without_any_mirror_the_error_says_what_to_set() {
        let dir = tempfile::tempdir().unwrap();
        let mirrors = Mirrors::of(
            MirrorsConfig::default(),
            Machine { environment: |_| None, apt: dir.path().to_owned(), pip: || None },
        );
        let error = mirrors.debian("debian-security").unwrap_err().to_string();
        assert!(error.contains("DEPLOY_MIRROR_DEBIAN_SECURITY") && error.contains("[mirrors]"), "{error}");
        assert!(mirrors.pypi().unwrap_err().to_string().contains("DEPLOY_PYPI_INDEX"));
    }
}
