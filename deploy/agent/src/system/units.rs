//! Mounts and plain units, and units of the host that read files of ours.
//!
//! They are linked as units of services are: for a trial in the runtime directory, then by the
//! generator. A link into a closure is what tells them from everybody else's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use cairn_closure::{HostUnit, System, UnitFile};
use cairn_formats::StorePath;
use cairn_protocol::Drift;

use crate::error::{Fault, Result};
use crate::paths::Paths;
use crate::process::{self, run};
use crate::{files, systemd};

/// A daemon that was told of files it cannot use ends within this time.
const SETTLE: Duration = Duration::from_secs(1);
/// Where the generator's output lies.
const GENERATED: &str = "/run/systemd/generator";

fn systemctl(verb: &str, units: &[&HostUnit]) -> Result<()> {
    let mut arguments = vec!["--no-ask-password", "--quiet", verb, "--"];
    arguments.extend(units.iter().map(|unit| unit.as_str()));
    run("systemctl", &arguments).map(drop)
}

/// What systemd says of each: LoadState, FragmentPath, ActiveState.
fn show<'a>(units: impl Iterator<Item = &'a HostUnit>) -> Result<BTreeMap<String, [String; 3]>> {
    let mut arguments =
        vec!["--no-ask-password", "show", "--property=Id,Names,LoadState,FragmentPath,ActiveState", "--"];
    let units: Vec<&str> = units.map(HostUnit::as_str).collect();
    if units.is_empty() {
        return Ok(BTreeMap::new());
    }
    arguments.extend(&units);
    let output = run("systemctl", &arguments)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut shown = BTreeMap::new();
    // In the order in which they were asked for, under whatever name systemd has them.
    for (unit, paragraph) in units.iter().zip(text.split("\n\n")) {
        let value = |key: &str| {
            let found = paragraph.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            found.unwrap_or_default().to_owned()
        };
        shown.insert((*unit).to_owned(), ["LoadState", "FragmentPath", "ActiveState"].map(value));
    }
    Ok(shown)
}

fn is_up(active: &str) -> bool {
    matches!(active, "active" | "activating" | "reloading")
}

/// Refuses names that others have, and units to tell that are not there. Changes nothing.
pub fn check(old: &System, new: &System) -> Result<()> {
    let refuse = |unit: &str, message: String, advice: &str| {
        let fault = Fault { message, advice: Some(advice.to_owned()), unit: Some(unit.to_owned()), ..Fault::default() };
        Err(fault.into())
    };
    for (name, [load, fragment, active]) in show(new.units.keys())? {
        let ours = fs::canonicalize(&fragment).is_ok_and(|path| path.starts_with("/nix/store"));
        if (load != "not-found" || is_up(&active)) && !ours {
            let place = if fragment.is_empty() { "without a file".to_owned() } else { fragment };
            let message = format!("the host has a unit {name} already, {place}");
            return refuse(&name, message, "take that away first, or declare another name or place");
        }
    }
    for (name, unit) in &new.units {
        let source = |unit: &UnitFile| unit.mount.as_ref().map(|(_, mount)| (mount.what.clone(), mount.kind.clone()));
        let before = old.units.get(name);
        if before.is_some_and(|before| before.mount.is_some() && source(before) != source(unit)) {
            let message = format!("{name} is to mount something else, and what is there may be in use");
            return refuse(name.as_str(), message, "switch to a definition without the mount first");
        }
    }
    let told: BTreeSet<&HostUnit> = new.etc.values().flat_map(|file| file.reload.iter().chain(&file.restart)).collect();
    let told = told.into_iter().filter(|unit| !new.units.contains_key(*unit));
    for (name, [load, ..]) in show(told)? {
        if load == "not-found" {
            let message = format!("a file is to be told to {name}, and the host has no such unit");
            return refuse(
                &name,
                message,
                "see `systemctl list-unit-files` on the host; Debian calls sshd's ssh.service",
            );
        }
    }
    Ok(())
}

/// Those whose text is another one, or missing, in `other`.
fn differing<'a>(system: &'a System, other: &'a System) -> impl Iterator<Item = (&'a HostUnit, &'a UnitFile)> {
    system.units.iter().filter(|(name, unit)| other.units.get(*name).is_none_or(|there| there.hash != unit.hash))
}

/// Links those that `system` has otherwise than `other`.
pub fn link(paths: &Paths, closure: &StorePath, system: &System, other: &System) -> Result<()> {
    let from = paths.store_path(closure).join("units");
    for (name, _) in differing(system, other) {
        files::point(&paths.runtime_units().join(name.as_str()), &from.join(name.as_str()))?;
    }
    Ok(())
}

/// Links those that `other` lacks: they go on running, and must stop as they say.
pub fn link_retiring(paths: &Paths, closure: &StorePath, system: &System, other: &System) -> Result<()> {
    let from = paths.store_path(closure).join("units");
    for name in system.units.keys().filter(|name| !other.units.contains_key(*name)) {
        files::point(&paths.runtime_units().join(name.as_str()), &from.join(name.as_str()))?;
    }
    Ok(())
}

/// Whether a link is one of ours.
pub fn is_ours(link: &Path) -> bool {
    files::target(link).is_some_and(|target| {
        target.starts_with("/nix/store") && target.parent().is_some_and(|folder| folder.ends_with("units"))
    })
}

/// Brings up what `system` has otherwise than `other`: mounts first. Going `back`, what `other` lacks
/// runs still.
pub fn start(system: &System, other: &System, back: bool) -> Result<()> {
    let (mounts, plain): (Vec<_>, Vec<_>) = differing(system, other).partition(|(_, unit)| unit.mount.is_some());
    for (name, unit) in mounts.into_iter().chain(plain) {
        let runs_still = back && !other.units.contains_key(name);
        let verb = match (unit.mount.is_some(), unit.start) {
            // One that is in use can take other options, and cannot be mounted anew.
            (true, _) if is_active(name)? => "reload",
            (true, _) => "start",
            (false, true) if runs_still => "start",
            (false, true) => "restart",
            (false, false) if runs_still => continue,
            (false, false) => "try-restart",
        };
        systemctl(verb, &[name]).map_err(|_| not_up(name, &format!("{name} does not start")))?;
    }
    Ok(())
}

fn is_active(unit: &HostUnit) -> Result<bool> {
    Ok(show([unit].into_iter())?.values().any(|[_, _, active]| is_up(active)))
}

fn not_up(unit: &HostUnit, message: &str) -> crate::error::AgentError {
    Fault {
        message: message.to_owned(),
        advice: Some("the unit's last lines say why".to_owned()),
        unit: Some(unit.to_string()),
        log: systemd::last_lines(unit.as_str(), 20),
        ..Fault::default()
    }
    .into()
}

/// Tells units of the host that their files are others now. One that does not run is not started,
/// but for going back, which brings up again what the trial brought down. `say` hears what is done.
pub fn tell(
    reload: &BTreeSet<HostUnit>,
    restart: &BTreeSet<HostUnit>,
    back: bool,
    say: &mut dyn FnMut(String),
) -> Result<()> {
    let states = show(reload.union(restart))?;
    let mut told = Vec::new();
    let mut first = Ok(());
    for unit in reload.union(restart) {
        let active = states.get(unit.as_str()).map_or("", |[_, _, active]| active.as_str());
        let verb = match active {
            "failed" if back => "restart",
            active if !is_up(active) => continue,
            _ if restart.contains(unit) => "restart",
            _ => "reload",
        };
        if verb == "restart" {
            // However often it has just tried by itself.
            let _ = process::output("systemctl", &["reset-failed", "--", unit.as_str()]);
        }
        say(format!("{unit}: {verb}, since its files are others"));
        match systemctl(verb, &[unit]) {
            Ok(()) => told.push(unit),
            Err(_) => {
                let fault = not_up(unit, &format!("{unit} does not take the new files: its {verb} failed"));
                first = first.and(Err(fault));
                if !back {
                    return first;
                }
            }
        }
    }
    if told.is_empty() {
        return first;
    }
    thread::sleep(SETTLE);
    let states = show(told.iter().copied())?;
    let down = told.into_iter().find(|unit| states.get(unit.as_str()).is_none_or(|[_, _, active]| !is_up(active)));
    match down {
        Some(unit) => first.and(Err(not_up(unit, &format!("{unit} ended after it was told of the new files")))),
        None => first,
    }
}

/// Stops those of ours that `system` does not have.
pub fn sweep(paths: &Paths, system: &System) -> Result<()> {
    let mut strays = BTreeSet::new();
    for folder in [paths.runtime_units(), paths.at(GENERATED)] {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_str().and_then(|name| HostUnit::parse(name).ok());
            strays.extend(name.filter(|name| is_ours(&entry.path()) && !system.units.contains_key(name)));
        }
    }
    let mut first = Ok(());
    for unit in &strays {
        // Of one that does not stop, such as a mount in use, the others need not suffer.
        let stopped = systemctl("stop", &[unit]).map_err(|_| not_up(unit, &format!("{unit} does not stop")));
        let _ = process::output("systemctl", &["reset-failed", "--", unit.as_str()]);
        first = first.and(stopped);
    }
    first
}

pub fn drift(paths: &Paths, closure: &StorePath, system: &System) -> Result<Vec<Drift>> {
    let units = paths.store_path(closure).join("units");
    let mut found = Vec::new();
    for (name, [load, fragment, active]) in show(system.units.keys())? {
        let expected = fs::canonicalize(units.join(&name)).ok();
        let start = system.units.get(name.as_str()).is_some_and(|unit| unit.start);
        let problem = match load.as_str() {
            "loaded" if fs::canonicalize(&fragment).ok() != expected => {
                format!("is read from {fragment} and not from the generation")
            }
            "loaded" if active == "failed" => "has failed".to_owned(),
            // A oneshot command that has run is not up.
            "loaded" if start && name.ends_with(".mount") && !is_up(&active) => "is not mounted".to_owned(),
            "loaded" => continue,
            other => format!("systemd does not take it: {other}"),
        };
        found.push(Drift { unit: name, problem });
    }
    Ok(found)
}
