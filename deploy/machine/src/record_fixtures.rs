//! Records of machines that earlier versions wrote. `tests/fixtures/README.md` says how they are
//! written.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{MachineRecord, NetworkRecord, StateDir};
use crate::name::MachineName;

fn folder(version: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(version).join("machines")
}

/// A copy: the state directory makes folders of its own.
fn copied(from: &Path) -> (tempfile::TempDir, StateDir) {
    let root = tempfile::tempdir().unwrap();
    let state = StateDir::create(root.path().join("state")).unwrap();
    for file in ["network.json", "machines/full/machine.json", "machines/minimal/machine.json"] {
        let to = state.path().join(file);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from.join(file), to).unwrap();
    }
    (root, state)
}

fn name(text: &str) -> MachineName {
    MachineName::parse(text).unwrap()
}

fn supervisor() -> Value {
    json!({"pid": 4242, "started": 987_654, "boot_id": "5d8cdcb5-2a3f-4b9b-9a52-6d3d8cf5c1c9"})
}

fn full() -> MachineRecord {
    let supervisor = Some(serde_json::from_value(supervisor()).unwrap());
    MachineRecord { created: true, supervisor, ..MachineRecord::new(254, "bookworm-0f3c".to_owned()) }
}

#[test]
fn records_of_machines_of_fbaba72_are_read_as_they_were_written() {
    let (_root, state) = copied(&folder("fbaba72"));
    let read = state.load(&name("full")).unwrap().unwrap();
    assert_eq!((read.version, read.index, read.base.as_str(), read.created), (1, 254, "bookworm-0f3c", true));
    assert_eq!(serde_json::to_value(&read.supervisor).unwrap(), supervisor());
    let read = state.load(&name("minimal")).unwrap().unwrap();
    assert_eq!((read.index, read.base.as_str(), read.created, read.supervisor), (2, "b", false, None));
    assert_eq!(state.network().unwrap(), Some(NetworkRecord::new(7, 99)));
    assert_eq!(state.records().unwrap().len(), 2);
}

#[test]
fn the_record_of_a_machine_that_fbaba72_started_is_read() {
    let root = tempfile::tempdir().unwrap();
    let state = StateDir::create(root.path().join("state")).unwrap();
    let recorded = folder("fbaba72").join("recorded");
    std::fs::create_dir(state.machine(&name("host"))).unwrap();
    std::fs::copy(recorded.join("machine.json"), state.machine(&name("host")).join("machine.json")).unwrap();
    std::fs::copy(recorded.join("network.json"), state.path().join("network.json")).unwrap();
    let read = state.load(&name("host")).unwrap().unwrap();
    assert_eq!((read.index, read.created, read.supervisor.is_some()), (2, true, true));
    assert_eq!(read.base, "bookworm-759bbef2201e5cf7");
    // It ran before this computer's last boot, or long ago.
    assert_eq!(read.running(), None);
    assert_eq!(state.network().unwrap(), Some(NetworkRecord::new(0, 213)));
}

#[test]
#[ignore = "writes fixtures: see tests/fixtures/README.md"]
fn write_fixtures() {
    let version = std::env::var("CAIRN_FIXTURES").expect("CAIRN_FIXTURES: the version to write fixtures of");
    let state = StateDir::create(folder(&version)).unwrap();
    state.save(&name("full"), &full()).unwrap();
    state.save(&name("minimal"), &MachineRecord::new(2, "b".to_owned())).unwrap();
    state.save_network(&NetworkRecord::new(7, 99)).unwrap();
}
