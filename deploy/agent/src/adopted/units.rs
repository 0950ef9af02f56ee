//! Units of the host in whose place generations come, such as a web server of the distribution.
//!
//! An activation stops them just before its own sockets open, and starts them again if it goes
//! back. From the commit on the boot generator masks them: whether they are masked follows from the
//! same rename of the profile that decides everything else, so nothing is disabled that a power cut
//! could leave disabled, and they come back with the generator's end.

use std::os::unix::fs::symlink;
use std::path::Path;

use cairn_protocol::AdoptedUnit;
use serde::{Deserialize, Serialize};

use crate::activation::record;
use crate::error::{Fault, Result, file};
use crate::paths::Paths;
use crate::{files, process, systemd};

#[cfg(test)]
#[path = "../fixtures/adopted_units.rs"]
mod fixtures;

/// A line of `units.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    unit: AdoptedUnit,
    /// It ran when we took its place, so it runs again when we give it back.
    #[serde(default)]
    ran: bool,
}

impl Entry {
    fn is_replaced_by(&self, generation: Option<u64>) -> bool {
        self.unit.from.is_some_and(|from| generation.is_some_and(|generation| generation >= from))
    }
}

pub fn list(paths: &Paths) -> Result<Vec<AdoptedUnit>> {
    Ok(load(paths)?.into_iter().map(|entry| entry.unit).collect())
}

fn load(paths: &Paths) -> Result<Vec<Entry>> {
    Ok(files::read_json(&paths.adopted_units())?.unwrap_or_default())
}

fn save(paths: &Paths, entries: &[Entry]) -> Result<()> {
    files::make_directories(&paths.adopted())?;
    files::replace_json(&paths.adopted_units(), &entries)
}

/// Refuses what is no unit of the host.
pub fn check(unit: &str) -> Result<()> {
    let refuse = |why: String| {
        Err(Fault::new(format!("{unit} cannot be adopted: {why}"))
            .advice("name a service or socket by its full name, such as nginx.service")
            .into())
    };
    let named = unit.ends_with(".service") || unit.ends_with(".socket");
    if !named || unit.starts_with('-') || unit.contains('/') {
        return refuse("it is no name of a service or socket".to_owned());
    }
    if unit.starts_with("cairn") {
        return refuse("it is Cairn's own".to_owned());
    }
    let output = process::run("systemctl", &["--no-ask-password", "show", "--property=LoadState", "--", unit])?;
    match String::from_utf8_lossy(&output.stdout).trim() {
        "LoadState=loaded" | "LoadState=masked" => Ok(()),
        other => refuse(format!("systemd does not know it ({other})")),
    }
}

pub fn adopt(paths: &Paths, units: &[String], operator: &str) -> Result<()> {
    let mut entries = load(paths)?;
    for unit in units {
        if !entries.iter().any(|entry| entry.unit.unit == *unit) {
            let (operator, since) = (operator.to_owned(), record::seconds());
            entries.push(Entry { unit: AdoptedUnit { unit: unit.clone(), from: None, operator, since }, ran: false });
        }
    }
    if units.is_empty() { Ok(()) } else { save(paths, &entries) }
}

/// Stops those in whose place `generation` comes. One that `claims` takes the place of all.
pub fn stop(paths: &Paths, generation: u64, claims: bool) -> Result<()> {
    let mut entries = load(paths)?;
    let mut stopped = Vec::new();
    for entry in &mut entries {
        if claims && entry.unit.from.is_none() {
            entry.unit.from = Some(generation);
        }
        if entry.is_replaced_by(Some(generation)) && systemd::is_live(&entry.unit.unit)? {
            entry.ran = true;
            stopped.push(entry.unit.unit.clone());
        }
    }
    if entries.is_empty() {
        return Ok(());
    }
    // Before they stop: whoever goes on from here must know that they ran.
    save(paths, &entries)?;
    systemctl("stop", &stopped)
}

/// Starts those in whose place `generation` (`None`: none of ours) does not stand. A claim above
/// `last`, the highest generation that there is, was that of an activation which went back.
pub fn start(paths: &Paths, generation: Option<u64>, last: Option<u64>) -> Result<()> {
    let mut entries = load(paths)?;
    let back = |entry: &&Entry| entry.ran && !entry.is_replaced_by(generation);
    let units: Vec<String> = entries.iter().filter(back).map(|entry| entry.unit.unit.clone()).collect();
    systemctl("start", &units)?;
    let mut changed = false;
    for entry in entries.iter_mut().filter(|entry| !entry.is_replaced_by(generation)) {
        let void = last.is_some_and(|last| entry.unit.from.is_some_and(|from| from > last));
        changed |= entry.ran || void;
        entry.ran = false;
        if void {
            entry.unit.from = None;
        }
    }
    if changed { save(paths, &entries) } else { Ok(()) }
}

fn systemctl(verb: &str, units: &[String]) -> Result<()> {
    if units.is_empty() {
        return Ok(());
    }
    let mut arguments = vec!["--no-ask-password", "--quiet", verb, "--"];
    arguments.extend(units.iter().map(String::as_str));
    process::run("systemctl", &arguments).map(drop)
}

/// Masks those in whose place the committed generation stands, in the directory of generators that
/// goes before `/etc`.
pub fn mask(paths: &Paths, generation: u64, early: &Path) -> Result<()> {
    for entry in load(paths)?.iter().filter(|entry| entry.is_replaced_by(Some(generation))) {
        let link = early.join(&entry.unit.unit);
        symlink("/dev/null", &link).map_err(file("cannot link", &link))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use super::*;

    #[test]
    fn the_generator_masks_what_the_committed_generation_stands_in_place_of() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::new(root.path());
        let entry = |unit: &str, from: Option<u64>| Entry {
            unit: AdoptedUnit { unit: unit.to_owned(), from, operator: "alice".to_owned(), since: 0 },
            ran: false,
        };
        save(&paths, &[entry("old.service", Some(2)), entry("new.service", Some(4)), entry("not.service", None)])
            .unwrap();
        for (generation, expected) in
            [(1, &[][..]), (2, &["old.service"]), (3, &["old.service"]), (4, &["new.service", "old.service"])]
        {
            let early = tempfile::tempdir().unwrap();
            mask(&paths, generation, early.path()).unwrap();
            let mut names: Vec<_> =
                fs::read_dir(early.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            assert_eq!(names, expected, "generation {generation}");
            assert!(names.iter().all(|n| fs::read_link(early.path().join(n)).unwrap() == Path::new("/dev/null")));
        }
        // What a failed activation claimed is nobody's again; what stands stays.
        start(&paths, Some(3), Some(3)).unwrap();
        let claims: Vec<_> = list(&paths).unwrap().iter().map(|unit| unit.from).collect();
        assert_eq!(claims, [Some(2), None, None]);
    }

    #[test]
    fn only_plain_names_of_other_units_are_adopted() {
        for (unit, said) in
            [("nginx", "no name"), ("-x.service", "no name"), ("a/b.service", "no name"), ("cairn-x.service", "own")]
        {
            assert!(check(unit).unwrap_err().to_string().contains(said), "{unit}");
        }
    }
}
