//! The project on disk: where definitions and locks lie.

use std::fs;
use std::path::{Path, PathBuf};

use cairn_closure::HostName;
use serde::Deserialize;

use crate::configuration::Configuration;
use crate::error::{DefinitionError, nearest};
use crate::files::{FilesSection, ProjectFiles};
use crate::host::HostDefinition;
use crate::image::ImageDefinition;
use crate::lock::{Lock, lock_file};
use crate::notify::Notify;
use crate::sources::{FLEET_FILE, Sources};
use crate::{names, parse};

/// The file that marks a project's top folder and holds its policy.
pub const PROJECT_FILE: &str = "deploy.toml";

/// A folder with a `deploy.toml`.
#[derive(Debug, Clone)]
pub struct Project {
    pub root: PathBuf,
    pub config: ProjectConfig,
    /// Reads what definitions name.
    pub files: ProjectFiles,
}

/// The content of `deploy.toml`; every key is optional.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectConfig {
    #[serde(default)]
    pub mirrors: Mirrors,
    /// `[[notify]]`
    #[serde(default)]
    pub notify: Vec<Notify>,
    #[serde(default)]
    pub files: FilesSection,
}

/// `[mirrors]`: where to download from, as base URLs. What is absent comes from the environment or
/// from the machine's own apt and pip.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mirrors {
    #[serde(default)]
    pub debian: Vec<String>,
    #[serde(default, rename = "debian-security")]
    pub debian_security: Vec<String>,
    pub pypi: Option<String>,
}

/// An image's definition, and where it was read.
#[derive(Debug, Clone)]
pub struct Image {
    pub name: String,
    pub file: PathBuf,
    pub definition: ImageDefinition,
    /// Reads what the definition names.
    pub files: ProjectFiles,
}

impl Image {
    /// The folder that `files` entries are relative to.
    pub fn folder(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new("."))
    }
}

/// A host's definition, and where it was read.
#[derive(Debug, Clone)]
pub struct Host {
    pub name: String,
    pub file: PathBuf,
    /// The fleet it belongs to, if it lies in one's folder.
    pub fleet: Option<String>,
    pub sources: Sources,
    pub definition: HostDefinition,
}

/// Where a host's definition lies.
pub(crate) struct HostFile {
    pub name: String,
    pub file: PathBuf,
    /// The folder of its fleet.
    pub fleet: Option<PathBuf>,
}

/// What `deploy build` takes: `images`, `images.NAME`, `hosts`, `hosts.NAME`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    Image(String),
    Host(String),
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Image(name) => write!(f, "images.{name}"),
            Self::Host(name) => write!(f, "hosts.{name}"),
        }
    }
}

impl Project {
    /// The project at `dir`, or the one that holds the current folder.
    pub fn find(dir: Option<&Path>) -> Result<Self, DefinitionError> {
        let current =
            std::env::current_dir().map_err(|source| DefinitionError::Read { file: PathBuf::from("."), source })?;
        match dir {
            Some(dir) => Self::open(&current.join(dir)),
            None => {
                let root = current.ancestors().find(|d| d.join(PROJECT_FILE).is_file());
                root.map_or_else(|| Err(DefinitionError::NoProject { from: current.clone() }), Self::open)
            }
        }
    }

    pub fn open(root: &Path) -> Result<Self, DefinitionError> {
        let file = root.join(PROJECT_FILE);
        if !file.is_file() {
            return Err(DefinitionError::NoProject { from: root.to_owned() });
        }
        let config: ProjectConfig = parse::toml(&file, &ProjectFiles::new(root, &[]).read(&file)?)?;
        let files = ProjectFiles::new(root, &config.files.outside);
        Ok(Self { root: root.to_owned(), config, files })
    }

    /// The same, where an operator allows definitions to read these folders outside of it.
    #[must_use]
    pub fn allow_outside(self, folders: &[PathBuf]) -> Self {
        Self { files: self.files.allow(folders), ..self }
    }

    /// Names of all images, sorted.
    pub fn image_names(&self) -> Result<Vec<String>, DefinitionError> {
        self.names("images", |path| {
            path.join("image.toml").is_file().then(|| path.file_name()?.to_str().map(str::to_owned))?
        })
    }

    /// Names of all hosts, sorted: `NAME` of `hosts/NAME.toml`, `FLEET-NAME` of
    /// `hosts/FLEET/NAME.toml`.
    pub fn host_names(&self) -> Result<Vec<String>, DefinitionError> {
        let mut names: Vec<String> = self.host_files()?.into_iter().map(|host| host.name).collect();
        names.sort();
        Ok(names)
    }

    pub(crate) fn host_files(&self) -> Result<Vec<HostFile>, DefinitionError> {
        let definition = |path: &Path| {
            let is_definition = path.extension().is_some_and(|e| e == "toml") && path.is_file();
            is_definition.then(|| path.file_stem()?.to_str().map(str::to_owned))?
        };
        let single = self.names("hosts", definition)?;
        let dir = self.root.join("hosts");
        let mut files: Vec<HostFile> = single
            .into_iter()
            .map(|name| HostFile { file: dir.join(format!("{name}.toml")), name, fleet: None })
            .collect();
        for fleet in
            self.names("hosts", |path| path.is_dir().then(|| path.file_name()?.to_str().map(str::to_owned))?)?
        {
            let folder = dir.join(&fleet);
            for name in self.names(&format!("hosts/{fleet}"), definition)? {
                let file = folder.join(format!("{name}.toml"));
                if !file.ends_with(FLEET_FILE) {
                    files.push(HostFile { name: format!("{fleet}-{name}"), file, fleet: Some(folder.clone()) });
                }
            }
        }
        Ok(files)
    }

    fn names(&self, folder: &str, name: impl Fn(&Path) -> Option<String>) -> Result<Vec<String>, DefinitionError> {
        let dir = self.root.join(folder);
        let fail = |source| DefinitionError::Read { file: dir.clone(), source };
        let entries = match fs::read_dir(&dir) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(fail)?,
        };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(name(&entry.map_err(fail)?.path()));
        }
        names.sort();
        Ok(names)
    }

    pub fn image(&self, name: &str) -> Result<Image, DefinitionError> {
        let file = self.root.join("images").join(name).join("image.toml");
        self.known("image", name, "images", self.image_names()?)?;
        let definition = ImageDefinition::parse(&file, &self.files.read(&file)?)?;
        Ok(Image { name: name.to_owned(), file, definition, files: self.files.clone() })
    }

    pub fn host(&self, name: &str) -> Result<Host, DefinitionError> {
        let names = self.host_names()?;
        self.known("host", name, "hosts", names.clone())?;
        let found = self.host_files()?.into_iter().find(|host| host.name == name);
        let HostFile { file, fleet: folder, .. } = found.unwrap_or_else(|| HostFile {
            name: name.to_owned(),
            file: self.root.join("hosts").join(format!("{name}.toml")),
            fleet: None,
        });
        // It becomes part of unit names, paths and scripts.
        HostName::parse(name).map_err(|error| DefinitionError::Value {
            file: file.clone(),
            at: "the host's name, which its file and its fleet's folder give it".to_owned(),
            message: error.to_string(),
            help: Some("rename the file".to_owned()),
        })?;
        let sources = Sources::read(&self.files, &file, folder.as_deref())?;
        let definition = HostDefinition::of(&sources)?;
        for image in definition.config.keys() {
            self.known("image", image, "images", self.image_names()?)?;
        }
        if let Some((number, before)) = definition.after.iter().enumerate().find(|(_, name)| !names.contains(name)) {
            let help = nearest(before, names.iter().map(String::as_str)).map(|near| format!("did you mean `{near}`?"));
            return Err(sources.fault(&["after", &number.to_string()], format!("there is no host `{before}`"), help));
        }
        if folder.is_none() && definition.rollout.is_some() {
            let help = "it says how a fleet is switched: write it in hosts/FLEET/fleet.toml".to_owned();
            return Err(sources.fault(&["rollout"], "this host belongs to no fleet".to_owned(), Some(help)));
        }
        let others = || {
            let of_fleet = |other: &HostFile| folder.is_some() && other.fleet == folder && other.file != file;
            let read =
                |other: HostFile| HostDefinition::of(&Sources::read(&self.files, &other.file, folder.as_deref())?);
            self.host_files()?.into_iter().filter(of_fleet).map(read).collect()
        };
        names::check(&definition, &sources, others)?;
        let fleet = folder.as_ref().and_then(|folder| Some(folder.file_name()?.to_str()?.to_owned()));
        Ok(Host { name: name.to_owned(), file, fleet, sources, definition })
    }

    /// What a host may set of an image.
    pub fn configuration(&self, image: &Image) -> Result<Configuration, DefinitionError> {
        Configuration::read(&self.files, image.folder())
    }

    /// The lock of an image, checked against its definition. An image that locks nothing (only
    /// files of the project) needs none.
    pub fn lock(&self, image: &Image) -> Result<Lock, DefinitionError> {
        let file = lock_file(&image.file);
        if !file.exists() {
            return Err(DefinitionError::NoLock { image: image.name.clone(), file });
        }
        let lock = Lock::parse(&file, &self.files.read(&file)?)?;
        lock.check(&image.name, &file, &image.definition)?;
        Ok(lock)
    }

    /// Spells out targets; a group name stands for all its members.
    pub fn targets(&self, texts: &[String]) -> Result<Vec<Target>, DefinitionError> {
        let mut targets = Vec::new();
        for text in texts {
            match text.split_once('.') {
                None if text == "images" => targets.extend(self.image_names()?.into_iter().map(Target::Image)),
                None if text == "hosts" => targets.extend(self.host_names()?.into_iter().map(Target::Host)),
                Some(("images", name)) => {
                    self.known("image", name, "images", self.image_names()?)?;
                    targets.push(Target::Image(name.to_owned()));
                }
                Some(("hosts", name)) => {
                    targets.extend(self.hosts_named(&[name.to_owned()])?.into_iter().map(Target::Host));
                }
                _ => return Err(DefinitionError::Target { target: text.clone() }),
            }
        }
        let mut seen = std::collections::BTreeSet::new();
        targets.retain(|t| seen.insert(t.clone()));
        Ok(targets)
    }

    fn known(&self, kind: &'static str, name: &str, folder: &str, names: Vec<String>) -> Result<(), DefinitionError> {
        if names.iter().any(|n| n == name) {
            return Ok(());
        }
        let help = match nearest(name, names.iter().map(String::as_str)) {
            Some(near) => Some(format!("did you mean `{near}`?")),
            None if names.is_empty() => None,
            None => Some(format!("there are: {}", names.join(", "))),
        };
        Err(DefinitionError::Unknown { kind, name: name.to_owned(), dir: self.root.join(folder), help })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn project() -> (tempfile::TempDir, Project) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(PROJECT_FILE), "").unwrap();
        for image in ["api", "proxy"] {
            fs::create_dir_all(dir.path().join("images").join(image)).unwrap();
            fs::write(dir.path().join("images").join(image).join("image.toml"), "").unwrap();
        }
        let project = Project::open(dir.path()).unwrap();
        (dir, project)
    }

    #[test]
    fn groups_and_names_are_targets() {
        let (_dir, project) = project();
        let targets = |texts: &[&str]| project.targets(&texts.iter().map(|t| t.to_string()).collect::<Vec<_>>());
        let all = vec![Target::Image("api".into()), Target::Image("proxy".into())];
        assert_eq!(targets(&["images"]).unwrap(), all);
        assert_eq!(targets(&["images.api", "images"]).unwrap(), all);
        assert_eq!(targets(&["hosts"]).unwrap(), vec![]);
        let typo = targets(&["images.apo"]).unwrap_err().to_string();
        assert!(typo.contains("no image `apo`") && typo.contains("did you mean `api`?"), "{typo}");
        assert!(targets(&["api"]).unwrap_err().to_string().contains("`api` is not a target"));
        assert!(targets(&["images.../x"]).is_err());
    }

    #[test]
    fn a_host_comes_after_hosts_that_there_are() {
        let (dir, project) = project();
        let hosts = dir.path().join("hosts/staging");
        fs::create_dir_all(&hosts).unwrap();
        fs::write(hosts.join("data.toml"), "[machine]\n").unwrap();
        fs::write(hosts.join("web.toml"), "after = [\n  \"staging-dota\",\n]\n[machine]\n").unwrap();
        let error = project.host("staging-web").unwrap_err().to_string();
        for said in ["web.toml:2:3", "there is no host `staging-dota`", "did you mean `staging-data`?"] {
            assert!(error.contains(said), "{error}");
        }
        assert_eq!(project.host("staging-data").unwrap().fleet.as_deref(), Some("staging"));
    }

    #[test]
    fn hosts_of_a_fleet_have_its_tags_and_its_rollout() {
        let (dir, project) = project();
        let hosts = dir.path().join("hosts/web");
        fs::create_dir_all(&hosts).unwrap();
        let fleet = "tags = [\"web\"]\n[machine]\n[rollout]\nbatch = 1\non_failure = \"revert\"\n";
        fs::write(hosts.join("fleet.toml"), fleet).unwrap();
        fs::write(hosts.join("1.toml"), "").unwrap();
        fs::write(hosts.join("2.toml"), "tags = [\"web\", \"canary\"]\n").unwrap();
        fs::write(dir.path().join("hosts/alone.toml"), "tags = [\"web\"]\n[machine]\n").unwrap();
        let named = |text: &str| project.hosts_named(&[text.to_owned()]).unwrap();
        assert_eq!(named("@web"), ["alone", "web-1", "web-2"]);
        assert_eq!(named("@canary"), ["web-2"]);
        let first = project.host("web-1").unwrap();
        assert_eq!(first.definition.tags, ["web"]);
        assert_eq!(first.definition.rollout, project.host("web-2").unwrap().definition.rollout);
        assert_eq!(project.targets(&["hosts.@canary".to_owned()]).unwrap(), [Target::Host("web-2".into())]);

        fs::write(hosts.join("fleet.toml"), fleet.replace("batch = 1", "strategy = \"all\"\nbatch = 1")).unwrap();
        let error = project.host("web-1").unwrap_err().to_string();
        assert!(error.contains("rollout.batch: the strategy `all` has no batches"), "{error}");
        fs::write(dir.path().join("hosts/alone.toml"), "[machine]\n[rollout]\nbatch = 1\n").unwrap();
        let error = project.host("alone").unwrap_err().to_string();
        assert!(error.contains("alone.toml:2:2") && error.contains("belongs to no fleet"), "{error}");
    }

    #[test]
    fn a_hosts_file_name_is_checked_when_its_definition_is_read() {
        let (dir, project) = project();
        fs::create_dir_all(dir.path().join("hosts/Fleet")).unwrap();
        for (file, name) in [
            ("a$(touch x).toml", "a$(touch x)"),
            ("a\"; touch x; \".toml", "a\"; touch x; \""),
            ("@CONFIG@.toml", "@CONFIG@"),
            ("Web.toml", "Web"),
            ("-web.toml", "-web"),
            ("Fleet/web.toml", "Fleet-web"),
        ] {
            fs::write(dir.path().join("hosts").join(file), "[machine]\n").unwrap();
            let error = project.host(name).unwrap_err().to_string();
            assert!(error.contains(file) && error.contains("lower-case letters"), "{error}");
            assert!(error.ends_with("help: rename the file"), "{error}");
        }
        fs::write(dir.path().join("hosts/web-1.toml"), "[machine]\n").unwrap();
        assert_eq!(project.host("web-1").unwrap().name, "web-1");
    }

    #[test]
    fn an_image_without_a_lock_says_how_to_lock() {
        let (_dir, project) = project();
        let error = project.lock(&project.image("api").unwrap()).unwrap_err().to_string();
        assert!(error.contains("deploy lock images.api"), "{error}");
    }
}
