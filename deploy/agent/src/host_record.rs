//! What a host was before we came: `/nix/var/cairn/host.json`, by which it is given back.
//!
//! Written before the store is made, by whatever comes first: `deploy bootstrap`, a copy, a switch.

use std::fs;

use cairn_closure::layout;
use serde::{Deserialize, Serialize};

use crate::activation::record;
use crate::error::Result;
use crate::files;
use crate::paths::Paths;
use crate::private;

/// Folders that we may make, the inner ones first. One that was there before stays.
pub const FOLDERS: [&str; 7] = [
    "/nix/store",
    "/nix/var/nix",
    "/nix/var",
    "/nix",
    "/etc/systemd/system-generators",
    "/var/lib/cairn",
    "/run/cairn",
];

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRecord {
    /// Those of [`FOLDERS`] that were there.
    pub found: Vec<String>,
    /// Why `/nix` is not ours alone.
    pub nix: Option<String>,
    /// Seconds since 1970.
    pub since: i64,
    /// Who made the host ours by `deploy bootstrap`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
}

/// `None` on a host that is not ours.
pub fn load(paths: &Paths) -> Result<Option<HostRecord>> {
    let record = files::read_json(&paths.host_record())?;
    // An agent from before such records made all that there is.
    let unrecorded = || paths.state_dir().is_dir().then(HostRecord::default);
    Ok(record.or_else(unrecorded))
}

pub fn save(paths: &Paths, record: &HostRecord) -> Result<()> {
    private::make_state_dir(paths)?;
    files::replace_json(&paths.host_record(), record)
}

/// Notes what there is, once, before we make anything.
pub fn note(paths: &Paths) -> Result<()> {
    if load(paths)?.is_some() {
        return Ok(());
    }
    save(paths, &before(paths))
}

/// What there is on a host that is not ours.
pub fn before(paths: &Paths) -> HostRecord {
    let found = FOLDERS.iter().filter(|folder| paths.at(folder).is_dir()).map(ToString::to_string).collect();
    let holds = || fs::read_dir(paths.at("/nix/store")).is_ok_and(|mut entries| entries.next().is_some());
    let nix = other_nix(paths).or_else(|| holds().then(|| "/nix/store is not empty".to_owned()));
    HostRecord { found, nix, since: record::seconds(), operator: None }
}

/// Whether the store is ours, and no other Nix works on it.
pub fn is_ours_alone(paths: &Paths) -> Result<bool> {
    Ok(load(paths)?.is_some_and(|record| record.nix.is_none()) && other_nix(paths).is_none())
}

/// What shows that a Nix of somebody else uses `/nix`.
pub fn other_nix(paths: &Paths) -> Option<String> {
    let signs =
        ["/nix/var/nix/daemon-socket", "/nix/var/nix/profiles/default", "/nix/receipt.json", "/etc/nix/nix.conf"];
    if let Some(sign) = signs.iter().find(|sign| paths.at(sign).symlink_metadata().is_ok()) {
        return Some(format!("{sign} is there"));
    }
    let others = |folder: &str, ours: fn(&str) -> bool| {
        let names = fs::read_dir(paths.at(folder)).into_iter().flatten().flatten();
        let mut names = names.filter_map(|entry| entry.file_name().into_string().ok());
        names.find(|name| !ours(name)).map(|name| format!("{folder}/{name} is there"))
    };
    let ours = |name: &str| name == "per-user" || name.starts_with(layout::PROFILE_NAME);
    others("/nix/var/nix/profiles", ours)
        .or_else(|| others("/nix/var/nix/profiles/per-user", |_| false))
        .or_else(|| others("/nix/var/nix/gcroots", |name| ["profiles", "per-user", "cairn", "auto"].contains(&name)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_was_there_is_noted_once_and_before_anything_is_made() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::new(root.path());
        assert_eq!(load(&paths).unwrap(), None);
        fs::create_dir_all(paths.at("/etc/systemd/system-generators")).unwrap();
        note(&paths).unwrap();
        cairn_store::Store::open(root.path()).unwrap();
        note(&paths).unwrap();
        let noted = load(&paths).unwrap().unwrap();
        assert_eq!((noted.found, noted.nix), (vec!["/etc/systemd/system-generators".to_owned()], None));
    }

    #[test]
    fn a_nix_of_somebody_else_is_seen() {
        for sign in
            ["nix/var/nix/profiles/system", "nix/var/nix/gcroots/booted", "nix/var/nix/daemon-socket", "nix/store/x"]
        {
            let root = tempfile::tempdir().unwrap();
            fs::create_dir_all(root.path().join(sign)).unwrap();
            let paths = Paths::new(root.path());
            note(&paths).unwrap();
            assert!(load(&paths).unwrap().unwrap().nix.is_some(), "{sign}");
        }
        let root = tempfile::tempdir().unwrap();
        cairn_store::Store::open(root.path()).unwrap();
        fs::create_dir_all(root.path().join("nix/var/nix/gcroots/cairn")).unwrap();
        assert_eq!(other_nix(&Paths::new(root.path())), None);
    }
}
