//! Units that are otherwise than the live generation says: edited, overridden, failed, down though
//! they should run, up though they should not.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use cairn_closure::{Manifest, Service, UnitName};
use cairn_formats::{Sha256, StorePath};
use cairn_protocol::Drift;

use crate::error::Result;
use crate::paths::Paths;
use crate::process::run;
use crate::systemd;

const PROPERTIES: &str = "--property=Id,LoadState,FragmentPath,DropInPaths,NeedDaemonReload,ActiveState,Result";

/// What systemd knows of a unit and its files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Loaded {
    unit: String,
    load: String,
    /// The file it was read from.
    fragment: String,
    drop_ins: Vec<String>,
    stale: bool,
    active: String,
    result: String,
}

pub fn of(paths: &Paths, closure: &StorePath, manifest: &Manifest, busy: bool) -> Result<Vec<Drift>> {
    let all = manifest.all_units();
    let up: BTreeSet<&UnitName> = manifest.services.values().flat_map(Service::lasting_units).collect();
    let units = paths.store_path(closure).join("units");
    let mut found = changed_files(&units, manifest);
    for loaded in show(&all)? {
        let Ok(unit) = UnitName::parse(&loaded.unit) else { continue };
        let mut problems = edited(&loaded, &units.join(unit.as_str()));
        // Meanwhile they come and go.
        if !busy {
            problems.extend(stopped(&loaded, up.contains(&unit)));
        }
        found.extend(problems.into_iter().map(|problem| Drift { unit: loaded.unit.clone(), problem }));
    }
    if !busy {
        let strays = systemd::instances()?.into_iter().filter(|unit| !all.contains(unit));
        found.extend(strays.map(|unit| Drift {
            unit: unit.to_string(),
            problem: "is not of this generation and is still there".to_owned(),
        }));
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// Files in the store are read-only, which does not keep root from changing one.
fn changed_files(units: &Path, manifest: &Manifest) -> Vec<Drift> {
    let of_service = |service: &Service| -> Vec<(UnitName, Sha256)> {
        let replicas = service.replicas.iter().map(|replica| (replica.unit.clone(), replica.hash));
        let jobs = service.job.iter().map(|job| (job.unit.clone(), job.hash));
        replicas.chain(jobs).chain(service.sockets.iter().map(|socket| (socket.unit.clone(), socket.hash))).collect()
    };
    let own = manifest.units.iter().map(|(unit, hash)| (unit.clone(), *hash));
    let hashes = manifest.services.values().flat_map(of_service).chain(own);
    let problem = |(unit, hash): (UnitName, Sha256)| {
        let file = units.join(unit.as_str());
        let problem = match fs::read(&file) {
            Ok(text) if Sha256::of(&text) == hash => return None,
            Ok(_) => format!("{} was changed in the store", file.display()),
            Err(e) => format!("{} does not read: {e}", file.display()),
        };
        Some(Drift { unit: unit.to_string(), problem })
    };
    hashes.filter_map(problem).collect()
}

/// Whether the unit's text is the closure's.
fn edited(loaded: &Loaded, expected: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    match loaded.load.as_str() {
        "masked" => problems.push("is masked".to_owned()),
        "loaded" if !same_file(Path::new(&loaded.fragment), expected) => {
            problems.push(format!("is read from {} and not from the generation", loaded.fragment));
        }
        "loaded" => {}
        other => problems.push(format!("systemd does not take it: {other}")),
    }
    problems.extend(loaded.drop_ins.iter().map(|file| format!("is overridden by {file}")));
    if loaded.stale {
        problems.push("its files have changed since systemd read them".to_owned());
    }
    problems
}

fn same_file(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| -> Option<PathBuf> { fs::canonicalize(path).ok() };
    real(one).is_some_and(|path| Some(path) == real(other))
}

fn stopped(loaded: &Loaded, should_be_up: bool) -> Option<String> {
    match (loaded.active.as_str(), should_be_up) {
        ("failed", _) => Some(format!("has failed ({})", loaded.result)),
        ("inactive" | "deactivating", true) => Some(format!("should be up and is {}", loaded.active)),
        _ => None,
    }
}

fn show(units: &BTreeSet<&UnitName>) -> Result<Vec<Loaded>> {
    if units.is_empty() {
        return Ok(Vec::new());
    }
    let mut arguments = vec!["--no-ask-password", "show", PROPERTIES, "--"];
    arguments.extend(units.iter().map(|unit| unit.as_str()));
    let output = run("systemctl", &arguments)?;
    Ok(parse(&String::from_utf8_lossy(&output.stdout)))
}

/// `KEY=VALUE` lines, one paragraph for each unit.
pub(crate) fn parse(text: &str) -> Vec<Loaded> {
    let paragraph = |text: &str| {
        let mut loaded = Loaded::default();
        for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
            match key {
                "Id" => loaded.unit = value.to_owned(),
                "LoadState" => loaded.load = value.to_owned(),
                "FragmentPath" => loaded.fragment = value.to_owned(),
                // What comes with the distribution holds for every unit of a kind.
                "DropInPaths" => {
                    let of_vendor = |path: &&str| path.starts_with("/usr/lib/") || path.starts_with("/lib/");
                    loaded.drop_ins =
                        value.split(' ').filter(|p| !p.is_empty() && !of_vendor(p)).map(str::to_owned).collect();
                }
                "NeedDaemonReload" => loaded.stale = value == "yes",
                "ActiveState" => loaded.active = value.to_owned(),
                "Result" => loaded.result = value.to_owned(),
                _ => {}
            }
        }
        (!loaded.unit.is_empty()).then_some(loaded)
    };
    text.split("\n\n").filter_map(paragraph).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn edits_are_told_from_what_belongs_there() {
        let folder = tempfile::tempdir().unwrap();
        let of_closure = folder.path().join("cairn-api.service");
        fs::write(&of_closure, "[Unit]\n").unwrap();
        let generated = folder.path().join("generated");
        std::os::unix::fs::symlink(&of_closure, &generated).unwrap();
        let copy = folder.path().join("copy");
        fs::copy(&of_closure, &copy).unwrap();
        let text = |fragment: &Path, more: &str| {
            format!("Id=cairn-api.service\nLoadState=loaded\nFragmentPath={}\n{more}\n", fragment.display())
        };
        for (text, expected) in [
            (text(&generated, "DropInPaths=\nNeedDaemonReload=no"), &[][..]),
            (text(&generated, "DropInPaths=/usr/lib/systemd/system/service.d/10-timeout-abort.conf"), &[]),
            (text(&copy, ""), &["is read from"]),
            (
                text(&generated, "DropInPaths=/etc/systemd/system/cairn-api.service.d/override.conf"),
                &["overridden by /etc"],
            ),
            (text(&generated, "NeedDaemonReload=yes"), &["changed since"]),
            ("Id=cairn-api.service\nLoadState=masked\nFragmentPath=/dev/null\n".to_owned(), &["masked"]),
        ] {
            let [loaded] = &parse(&text)[..] else { panic!("{text}") };
            let problems = edited(loaded, &of_closure);
            assert_eq!(problems.len(), expected.len(), "{text}: {problems:?}");
            assert!(problems.iter().zip(expected).all(|(problem, part)| problem.contains(part)), "{problems:?}");
        }
    }

    #[test]
    fn what_should_be_up_and_is_not_is_told() {
        for (active, should_be_up, expected) in [
            ("active", true, None),
            ("activating", true, None),
            ("inactive", true, Some("should be up and is inactive")),
            ("inactive", false, None),
            ("failed", false, Some("has failed (exit-code)")),
            ("failed", true, Some("has failed (exit-code)")),
        ] {
            let loaded = Loaded { active: active.to_owned(), result: "exit-code".to_owned(), ..Loaded::default() };
            assert_eq!(stopped(&loaded, should_be_up).as_deref(), expected, "{active} {should_be_up}");
        }
    }
}
