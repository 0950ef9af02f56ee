//! Where to download from. Policy, so it never stands in a lock file.
//!
//! For each kind of mirror the first of these that says something wins: `[mirrors]` in
//! `deploy.toml`; the environment (`DEPLOY_MIRROR_DEBIAN`, `DEPLOY_MIRROR_DEBIAN_SECURITY`,
//! `DEPLOY_PYPI_INDEX`; several addresses with spaces between); what the machine's own apt or pip
//! is configured with. Each kind is looked up when it is first asked for: who builds without
//! Python packages never waits for pip.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
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

/// A place that may have an archive. What it is, its signed InRelease file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveSource {
    /// Address without a slash at the end.
    pub base: String,
    /// Suites of the apt stanza that names it; empty for an address of the project or environment.
    pub suites: Vec<String>,
    /// Keyring files of that stanza. They belong to this address and verify no other.
    pub signed_by: Vec<PathBuf>,
}

impl ArchiveSource {
    /// Whether the stanza names keys that are not Debian's by the name of their file.
    pub fn has_foreign_keys(&self) -> bool {
        self.signed_by.iter().any(|file| !apt::is_debian_keyring(file))
    }
}

/// Finds mirrors, each kind once.
pub struct Mirrors {
    config: MirrorsConfig,
    machine: Machine,
    debian: Mutex<BTreeMap<String, Vec<ArchiveSource>>>,
    pypi: OnceLock<Option<String>>,
}

/// What is asked of the machine; tests have their own.
struct Machine {
    environment: fn(&str) -> Option<String>,
    /// Where `etc/apt` and the keyrings lie.
    root: PathBuf,
    pip: fn() -> Option<String>,
}

impl Mirrors {
    /// Asks nobody yet.
    pub fn discover(config: &MirrorsConfig) -> Self {
        let root = PathBuf::from("/");
        Self::of(config.clone(), Machine { environment: |name| std::env::var(name).ok(), root, pip: pip::index })
    }

    /// With apt's configuration and the keyrings below another root, whatever the environment says.
    pub fn of_root(config: &MirrorsConfig, root: &Path) -> Self {
        Self::of(config.clone(), Machine { environment: |_| None, root: root.to_owned(), pip: pip::index })
    }

    fn of(config: MirrorsConfig, machine: Machine) -> Self {
        Self { config, machine, debian: Mutex::default(), pypi: OnceLock::new() }
    }

    /// Base addresses of an archive (`debian`, `debian-security`), without a slash at the end.
    pub fn debian(&self, archive: &str) -> Result<Vec<String>, FetchError> {
        Ok(distinct(self.archive_sources(archive)?.into_iter().map(|source| source.base)))
    }

    /// Where Debian's own keys are on this machine: one file, or several parts of it, or none.
    pub fn debian_keyrings(&self) -> Vec<PathBuf> {
        apt::debian_keyrings(&self.machine.root)
    }

    /// The places that may have an archive, in the order to try. Sources of apt that name keys of
    /// their own come last: most of them are another vendor's archive.
    pub fn archive_sources(&self, archive: &str) -> Result<Vec<ArchiveSource>, FetchError> {
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

    fn find_debian(&self, archive: &str) -> Vec<ArchiveSource> {
        let configured: &[String] = match archive {
            "debian" => &self.config.debian,
            "debian-security" => &self.config.debian_security,
            _ => &[],
        };
        let named = |bases: Vec<String>| -> Vec<ArchiveSource> {
            let source = |base| ArchiveSource { base, suites: Vec::new(), signed_by: Vec::new() };
            bases.into_iter().map(source).collect()
        };
        if !configured.is_empty() {
            return named(distinct(configured.iter().cloned()));
        }
        let environment = (self.machine.environment)(&variable(archive)).unwrap_or_default();
        let set = distinct(environment.split_whitespace().map(str::to_owned));
        if !set.is_empty() {
            return named(set);
        }
        self.find_debian_of_apt(archive)
    }

    fn find_debian_of_apt(&self, archive: &str) -> Vec<ArchiveSource> {
        let mut stanzas = apt::sources_below(&self.machine.root.join("etc/apt"));
        stanzas.retain(|stanza| stanza.may_serve(archive));
        let mut sources: Vec<ArchiveSource> = Vec::new();
        for stanza in stanzas {
            let base = without_slash(&stanza.uri);
            match sources.iter_mut().find(|known| known.base == base && known.signed_by == stanza.signed_by) {
                Some(known) => known.suites.extend(stanza.suites),
                None => sources.push(ArchiveSource { base, suites: stanza.suites, signed_by: stanza.signed_by }),
            }
        }
        sources.sort_by_key(ArchiveSource::has_foreign_keys);
        sources
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

    fn machine(root: &Path, environment: fn(&str) -> Option<String>) -> Machine {
        Machine { environment, root: root.to_owned(), pip: || Some("https://pip.example/simple/".to_owned()) }
    }

    #[test]
    fn the_project_goes_before_the_environment_and_that_before_apt() {
        let dir = tempfile::tempdir().unwrap();
        let list = "deb http://apt.example/debian/ s main\ndeb http://apt.example/debian s-updates main\n";
        std::fs::create_dir_all(dir.path().join("etc/apt")).unwrap();
        std::fs::write(dir.path().join("etc/apt/sources.list"), list).unwrap();
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
    fn keys_stay_with_the_address_of_their_stanza() {
        let dir = tempfile::tempdir().unwrap();
        let apt = dir.path().join("etc/apt");
        std::fs::create_dir_all(apt.join("sources.list.d")).unwrap();
        let list = "deb http://mirror.example/debian s main\ndeb http://mirror.example/debian/ s-updates main\n";
        std::fs::write(apt.join("sources.list"), list).unwrap();
        let docker = "deb [signed-by=/etc/apt/keyrings/docker.asc] https://docker.example/linux/debian s stable\n";
        std::fs::write(apt.join("sources.list.d/a-docker.list"), docker).unwrap();
        let own = "Types: deb\nURIs: http://b.example/debian\nSuites: s\nSigned-By: /debian-archive-keyring.gpg\n";
        std::fs::write(apt.join("sources.list.d/b.sources"), own).unwrap();
        let mirrors = Mirrors::of(MirrorsConfig::default(), machine(dir.path(), |_| None));
        let source = |base: &str, suites: &[&str], keys: &[&str]| ArchiveSource {
            base: base.to_owned(),
            suites: suites.iter().map(|suite| suite.to_string()).collect(),
            signed_by: keys.iter().map(PathBuf::from).collect(),
        };
        let expected = [
            source("http://mirror.example/debian", &["s", "s-updates"], &[]),
            source("http://b.example/debian", &["s"], &["/debian-archive-keyring.gpg"]),
            source("https://docker.example/linux/debian", &["s"], &["/etc/apt/keyrings/docker.asc"]),
        ];
        assert_eq!(mirrors.archive_sources("debian").unwrap(), expected);
        assert!(mirrors.archive_sources("debian-security").is_err());
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
            Machine { environment: |_| None, root: dir.path().to_owned(), pip: || None },
        );
        let error = mirrors.debian("debian-security").unwrap_err().to_string();
        assert!(error.contains("DEPLOY_MIRROR_DEBIAN_SECURITY") && error.contains("[mirrors]"), "{error}");
        assert!(mirrors.pypi().unwrap_err().to_string().contains("DEPLOY_PYPI_INDEX"));
    }
}
