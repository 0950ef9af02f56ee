//! The state directory: where things lie, what is written about them, and its lock.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::at;
use crate::files::replace;
use crate::name::MachineName;
use crate::supervisor::Supervisor;
use crate::{MachineError, Result};

#[cfg(test)]
#[path = "record_fixtures.rs"]
mod fixtures;

const VERSION: u32 = 1;

/// `machine.json`. Written before what it speaks of is made, so that whatever exists can be found.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MachineRecord {
    version: u32,
    /// Last part of the address, 2 to 254, and the number of the bridge's port.
    pub index: u8,
    /// Name of the folder in `bases`.
    pub base: String,
    /// The root is whole. If not, it is made again.
    pub created: bool,
    pub supervisor: Option<Supervisor>,
}

impl MachineRecord {
    pub fn new(index: u8, base: String) -> Self {
        Self { version: VERSION, index, base, created: false, supervisor: None }
    }

    pub fn running(&self) -> Option<&Supervisor> {
        self.supervisor.as_ref().filter(|supervisor| supervisor.alive())
    }
}

/// `network.json`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NetworkRecord {
    version: u32,
    /// The bridge is `cairnN` and the network 10.BLOCK.N.0/24.
    pub number: u8,
    pub block: u8,
}

impl NetworkRecord {
    pub const fn new(number: u8, block: u8) -> Self {
        Self { version: VERSION, number, block }
    }
}

/// The folder that everything lies in.
#[derive(Debug, Clone)]
pub(crate) struct StateDir(PathBuf);

impl StateDir {
    /// Readable by root alone: it holds private keys.
    pub fn create(path: PathBuf) -> Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(at("create", &path))?;
        let path = path.canonicalize().map_err(at("read", &path))?;
        for folder in ["bases", "machines"] {
            let folder = path.join(folder);
            fs::create_dir_all(&folder).map_err(at("create", &folder))?;
        }
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn bases(&self) -> PathBuf {
        self.0.join("bases")
    }

    pub fn machine(&self, name: &MachineName) -> PathBuf {
        self.0.join("machines").join(name.as_str())
    }

    /// Held until dropped; freed by the kernel if we are killed.
    pub fn lock(&self) -> Result<File> {
        let path = self.0.join("lock");
        let file = File::create(&path).map_err(at("open", &path))?;
        file.lock().map_err(at("lock", &path))?;
        Ok(file)
    }

    pub fn names(&self) -> Result<Vec<MachineName>> {
        let folder = self.0.join("machines");
        let entries = fs::read_dir(&folder).map_err(at("list", &folder))?;
        let mut names: Vec<_> =
            entries.flatten().filter_map(|e| MachineName::parse(e.file_name().to_str()?).ok()).collect();
        names.sort();
        Ok(names)
    }

    /// None if there is no such machine.
    pub fn load(&self, name: &MachineName) -> Result<Option<MachineRecord>> {
        read(&self.machine(name).join("machine.json"))
    }

    pub fn save(&self, name: &MachineName, record: &MachineRecord) -> Result<()> {
        let folder = self.machine(name);
        fs::create_dir_all(&folder).map_err(at("create", &folder))?;
        write(&folder.join("machine.json"), record)
    }

    pub fn network(&self) -> Result<Option<NetworkRecord>> {
        read(&self.0.join("network.json"))
    }

    pub fn save_network(&self, record: &NetworkRecord) -> Result<()> {
        write(&self.0.join("network.json"), record)
    }

    /// Records of all machines. One that cannot be read is left out: it can still be removed.
    pub fn records(&self) -> Result<Vec<(MachineName, MachineRecord)>> {
        let load = |name: MachineName| self.load(&name).ok().flatten().map(|record| (name, record));
        Ok(self.names()?.into_iter().filter_map(load).collect())
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at("read", path)(error)),
    };
    let faulty = |reason: String| MachineError::Record { path: path.to_owned(), reason };
    // The version first: a later one may have other fields.
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| faulty(error.to_string()))?;
    if value["version"] != VERSION {
        return Err(faulty(format!("it has version {}, this program knows {VERSION}", value["version"])));
    }
    serde_json::from_value(value).map(Some).map_err(|error| faulty(error.to_string()))
}

fn write<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let bytes = serde_json::to_vec_pretty(value)
        .map_err(|error| MachineError::Record { path: path.to_owned(), reason: error.to_string() })?;
    replace(path, &bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Version 1 as it was first written. It must stay readable.
    const V1: &str = r#"{"version":1,"index":2,"base":"b","created":true,
        "supervisor":{"pid":4,"started":5,"boot_id":"x"}}"#;

    #[test]
    fn records_are_read_back_and_unknown_versions_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::create(dir.path().join("state")).unwrap();
        let name = MachineName::parse("a").unwrap();
        assert!(state.load(&name).unwrap().is_none());
        state.save(&name, &MachineRecord::new(7, "base".into())).unwrap();
        assert_eq!(state.load(&name).unwrap().unwrap().index, 7);

        let file = state.machine(&name).join("machine.json");
        fs::write(&file, V1).unwrap();
        let record = state.load(&name).unwrap().unwrap();
        assert_eq!((record.index, record.created, record.running()), (2, true, None));
        fs::write(&file, V1.replace("\"version\":1", "\"version\":2")).unwrap();
        let error = state.load(&name).unwrap_err().to_string();
        assert!(error.contains("it has version 2, this program knows 1"), "{error}");
        assert_eq!(state.names().unwrap(), [name]);
        assert!(state.records().unwrap().is_empty());
    }
}
