//! The files that one host's definition is made of.
//!
//! ```text
//! hosts/local.toml                       the host `local`
//! hosts/staging/fleet.toml               what all hosts of the fleet `staging` have
//! hosts/staging/web.toml                 the host `staging-web`, over it
//! include = ["../shared/api.toml"]       in any of them: a file to lie under this one
//! ```
//!
//! Tables are merged key by key, and whatever else two files say, the later one counts: included
//! files in their order, then the file that includes them; the fleet's before the host's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cairn_config::{Layer, Settings};
use cairn_formats::report::Position;
use serde::Deserialize;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use crate::error::DefinitionError;
use crate::files::{ProjectFiles, plain};
use crate::parse;

/// The fleet's own file in its folder.
pub const FLEET_FILE: &str = "fleet.toml";
const INCLUDE: &str = "include";
/// Files that include each other are found by their number.
const MOST_FILES: usize = 64;

/// What one host's definition is made of.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Path and text of each file, the one that counts most last.
    parts: Vec<(PathBuf, String)>,
    files: ProjectFiles,
}

impl Sources {
    /// Reads a host's file and all that lie under it. `fleet` is its fleet's folder.
    pub fn read(files: &ProjectFiles, file: &Path, fleet: Option<&Path>) -> Result<Self, DefinitionError> {
        let mut sources = Self { files: files.clone(), ..Self::default() };
        if let Some(folder) = fleet.map(|fleet| fleet.join(FLEET_FILE)).filter(|file| file.exists()) {
            sources.add(&folder)?;
        }
        sources.add(file)?;
        Ok(sources)
    }

    /// One file in memory.
    pub fn of(file: &Path, text: &str) -> Self {
        Self { parts: vec![(file.to_owned(), text.to_owned())], ..Self::default() }
    }

    /// Reads what the definition names.
    pub fn files(&self) -> &ProjectFiles {
        &self.files
    }

    fn add(&mut self, file: &Path) -> Result<(), DefinitionError> {
        if self.parts.iter().any(|(known, _)| known == file) {
            return Ok(());
        }
        let text = self.files.read(file)?;
        let table: Table = parse::toml(file, &text)?;
        let refuse = |message: String, help: &str| DefinitionError::Value {
            file: file.to_owned(),
            at: INCLUDE.to_owned(),
            message,
            help: Some(help.to_owned()),
        };
        if self.parts.len() >= MOST_FILES {
            return Err(refuse("more files than a definition can be made of".to_owned(), "do two include each other?"));
        }
        let included = match table.get(INCLUDE) {
            None => &[][..],
            Some(Value::Array(files)) => files,
            Some(_) => return Err(refuse("it is no list".to_owned(), "write it as in [\"../shared/api.toml\"]")),
        };
        // Known from here on, so that a circle ends.
        let place = self.parts.len();
        self.parts.push((file.to_owned(), String::new()));
        for included in included {
            let Some(path) = included.as_str() else {
                return Err(refuse(format!("{included} is no path"), "write paths relative to this file"));
            };
            let path = plain(&file.parent().unwrap_or(Path::new(".")).join(path));
            if !path.exists() {
                let message = format!("there is no file {}", path.display());
                return Err(refuse(message, "name it relative to this file"));
            }
            self.add(&path)?;
        }
        let (file, _) = self.parts.remove(place);
        self.parts.push((file, text));
        Ok(())
    }

    /// The definition as a whole.
    pub fn parse<T: serde::de::DeserializeOwned>(&self) -> Result<T, DefinitionError> {
        if let [(file, text)] = self.parts.as_slice() {
            // The parser knows better where a fault is than we do.
            let mut table: Table = parse::toml(file, text)?;
            if table.remove(INCLUDE).is_none() {
                return parse::toml(file, text);
            }
        }
        let mut merged = Table::new();
        for (file, text) in &self.parts {
            lay_over(&mut merged, parse::toml(file, text)?);
        }
        merged.remove(INCLUDE);
        parse::merged(merged, |key| self.place(key))
    }

    /// What is wrong with a key, where it stands.
    pub fn fault(&self, key: &[&str], message: String, help: Option<String>) -> DefinitionError {
        let (file, Position { line, column }) = self.place(key);
        DefinitionError::Syntax { file, line, column, message, help }
    }

    /// The file that says a key, or the nearest table around it, and where: of those that do, the
    /// one that counts.
    fn place(&self, key: &[&str]) -> (PathBuf, Position) {
        let found = (0..=key.len()).rev().find_map(|depth| {
            let said = |(file, text): &(PathBuf, String)| {
                Some((file.clone(), Position::of(text, offset(text, &key[..depth])?)))
            };
            self.parts.iter().rev().find_map(said)
        });
        found.unwrap_or_else(|| (self.main().to_owned(), Position { line: 1, column: 1 }))
    }

    /// The folder of the file that says a key: what it names is relative to that.
    pub fn folder_of(&self, key: &[&str]) -> PathBuf {
        self.place(key).0.parent().unwrap_or(Path::new(".")).to_owned()
    }

    /// The host's own file.
    pub fn main(&self) -> &Path {
        self.parts.last().map_or(Path::new(""), |(file, _)| file)
    }

    /// What the files say of the environment of a service, and before it of all that run its image.
    pub fn layers(&self, image: &str, service: &str) -> Result<Vec<Layer>, DefinitionError> {
        #[derive(Default, Deserialize)]
        struct Configs {
            #[serde(default)]
            config: BTreeMap<String, Settings>,
            #[serde(default)]
            services: BTreeMap<String, Config>,
        }
        #[derive(Default, Deserialize)]
        struct Config {
            #[serde(default)]
            config: Settings,
        }
        let (mut general, mut own) = (Vec::new(), Vec::new());
        for (file, text) in &self.parts {
            let said: Configs = parse::toml(file, text)?;
            general.extend(said.config.get(image).map(|settings| settings.layer(file, text)));
            let config = said.services.get(service).map(|service| &service.config);
            own.extend(config.filter(|config| !config.is_empty()).map(|config| config.layer(file, text)));
        }
        Ok(general.into_iter().chain(own).collect())
    }
}

/// Where a key stands in a file: the offset of what it is set to. An item of a list is named by its
/// number from 0.
fn offset(text: &str, key: &[&str]) -> Option<usize> {
    let document = DeTable::parse(text).ok()?;
    let mut table = document.get_ref();
    let mut at = 0;
    let mut parts = key.iter();
    while let Some(part) = parts.next() {
        let (name, value) = table.iter().find(|(name, _)| name.get_ref() == part)?;
        at = name.span().start;
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            DeValue::Array(items) => {
                let item = parts.next().and_then(|number| items.get(number.parse::<usize>().ok()?));
                return Some(item.map_or(value.span(), |item| item.span()).start);
            }
            _ => return Some(value.span().start),
        }
    }
    Some(at)
}

fn lay_over(below: &mut Table, over: Table) {
    for (key, value) in over {
        match (below.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(over)) => lay_over(below, over),
            (_, value) => {
                below.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use super::*;
    use crate::host::HostDefinition;

    fn write(dir: &Path, file: &str, text: &str) -> PathBuf {
        let path = dir.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    const SHARED: &str = "[services.api]\nimage = \"api\"\nreplicas = 3\nlisten = { unix = true }\n";

    #[test]
    fn a_host_says_what_differs_from_its_fleet() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "shared/api.toml", SHARED);
        write(dir.path(), "hosts/f/fleet.toml", "include = [\"../../shared/api.toml\"]\n[config.api]\nA = 1\n");
        let host = write(
            dir.path(),
            "hosts/f/web.toml",
            "[machine]\n[services.api]\nreplicas = 2\n[services.api.config]\nA = 2\n",
        );
        let sources =
            Sources::read(&ProjectFiles::new(dir.path(), &[]), &host, Some(&dir.path().join("hosts/f"))).unwrap();
        let definition: HostDefinition = sources.parse().unwrap();
        assert_eq!((definition.services["api"].image.as_str(), definition.services["api"].replicas), ("api", 2));
        assert_eq!(sources.layers("api", "api").unwrap().len(), 2);
        assert_eq!(sources.main(), host);
    }

    #[test]
    fn a_fault_is_found_in_the_file_that_says_it() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "shared/api.toml", &SHARED.replace("replicas = 3", "replicsa = 3"));
        let host = write(dir.path(), "hosts/x.toml", "include = [\"../shared/api.toml\"]\n[machine]\n");
        let error = Sources::read(&ProjectFiles::new(dir.path(), &[]), &host, None)
            .unwrap()
            .parse::<HostDefinition>()
            .unwrap_err()
            .to_string();
        assert!(error.contains("shared/api.toml:3:") && error.contains("did you mean `replicas`?"), "{error}");

        write(dir.path(), "shared/api.toml", &SHARED.replace("replicas = 3", "replicas = \"three\""));
        let error = Sources::read(&ProjectFiles::new(dir.path(), &[]), &host, None)
            .unwrap()
            .parse::<HostDefinition>()
            .unwrap_err()
            .to_string();
        assert!(error.contains("shared/api.toml:3:") && error.contains("services.api.replicas"), "{error}");

        write(dir.path(), "shared/api.toml", &format!("{SHARED}names = [\n  \"a.example\",\n  \"B.example\"]\n"));
        let error = Sources::read(&ProjectFiles::new(dir.path(), &[]), &host, None)
            .unwrap()
            .parse::<HostDefinition>()
            .unwrap_err()
            .to_string();
        assert!(error.contains("shared/api.toml:7:3: services.api.names[1]: the DNS name"), "{error}");

        let host = write(dir.path(), "hosts/y.toml", "include = [\"../shared/none.toml\"]\n[machine]\n");
        let error = Sources::read(&ProjectFiles::new(dir.path(), &[]), &host, None).unwrap_err().to_string();
        assert!(error.contains("there is no file") && error.contains("none.toml"), "{error}");
    }

    #[test]
    fn files_that_include_each_other_end() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "hosts/a.toml", "include = [\"b.toml\"]\n[machine]\n");
        let b = write(dir.path(), "hosts/b.toml", "include = [\"a.toml\"]\ndescription = \"b\"\n");
        let definition: HostDefinition =
            Sources::read(&ProjectFiles::new(dir.path(), &[]), &b, None).unwrap().parse().unwrap();
        assert_eq!(definition.description, "b");
    }
}
