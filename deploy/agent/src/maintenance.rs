//! A service that honours maintenance answers otherwise while a file lies beside its sockets.
//!
//! That folder belongs to one instance and lies in `/run`, so the file alone would go with the next
//! switch or boot. What was asked for is kept at `/nix/var/cairn/maintenance/SERVICE.json`; whoever
//! makes an instance's folder ([`place`]) puts the file into it from the start.
//!
//! ```text
//! maintenance                                        the file, empty; or, if it has an end,
//! maintenance -> maintenance until DATE              a link to a file whose name says when, as HTTP
//!                                                    writes dates: nginx can read names, not files
//! maintenance.checks                                 while the host's own checks run
//! ```
//!
//! It ends by a transient timer ([`expire`]), which each boot makes anew.

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use cairn_closure::{InstanceId, Manifest, Service, ServiceName, layout};
use cairn_formats::time::{http_date, rfc3339};
use cairn_protocol::{Maintained, MaintenanceRequest, Until};
use serde::{Deserialize, Serialize};

use crate::activation::record;
use crate::error::{Fault, Result};
use crate::folder::Folder;
use crate::paths::Paths;
use crate::{files, manifests, output, services, systemd};

#[cfg(test)]
#[path = "fixtures/maintenance.rs"]
mod fixtures;

/// Who switched it on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    operator: String,
    /// Seconds since 1970.
    since: i64,
    reason: Option<String>,
    /// Seconds since 1970 at which it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<i64>,
}

/// Does what is asked, and says how each service stands that was asked for.
pub fn answer(paths: &Paths, request: &MaintenanceRequest) -> Result<Vec<Maintained>> {
    let manifest = manifests::live(paths)?;
    if let Some(name) = &request.service {
        manifests::live_service(paths, name)?;
    }
    let wanted = wanted(&manifest, request.service.as_deref())?;
    let until = request.until.map(|until| end(until, record::seconds())).transpose()?;
    if let Some(until) = until.filter(|_| request.set == Some(true)) {
        // First: one without its end would be worse than none.
        arm(until)?;
    }
    for (name, file) in &wanted {
        match request.set {
            Some(true) => {
                let mark = Mark {
                    operator: request.operator.clone(),
                    since: record::seconds(),
                    reason: request.reason.clone(),
                    until,
                };
                files::make_directories(&paths.maintenance())?;
                files::replace_json(&mark_path(paths, name), &mark)?;
                // An activation may have made the folder of another instance by now.
                services::instance_folders(paths, name)?.iter().try_for_each(|folder| show(folder, file, until))?;
            }
            Some(false) => lift(paths, name, file)?,
            None => {}
        }
    }
    let names: Vec<&ServiceName> = wanted.iter().map(|(name, _)| *name).collect();
    let mut all = list(paths, &manifest)?;
    all.retain(|found| names.iter().any(|name| name.as_str() == found.service));
    Ok(all)
}

fn end(until: Until, now: i64) -> Result<i64> {
    let at = match until {
        Until::At(at) => at,
        Until::Within(seconds) => now.saturating_add(i64::try_from(seconds).unwrap_or(i64::MAX)),
    };
    // The last second that has a year of four digits.
    match at {
        _ if at <= now => Err(Fault::new(format!("maintenance would have ended at {} already", rfc3339(at)))
            .advice(format!("the host's clock says {}", rfc3339(now)))
            .into()),
        253_402_300_800.. => Err(Fault::new("maintenance would end after the year 9999")
            .advice("leave the end out, and switch it off when it is over")
            .into()),
        at => Ok(at),
    }
}

/// Has systemd call [`expire`] then. Timers of an end that was changed find nothing to do.
fn arm(until: i64) -> Result<()> {
    let agent = format!("{}/agent", layout::PROFILE);
    // Not in the past when systemd reads it.
    let at = until.max(record::seconds() + 2);
    systemd::at(&format!("cairn-maintenance-{until}"), at, &[&agent, "expire"])
}

/// Ends every maintenance whose time is over.
pub fn expire(paths: &Paths) -> Result<()> {
    let manifest = manifests::live(paths)?;
    for (name, _, file) in honouring(&manifest) {
        mark(paths, name, file, record::seconds())?;
    }
    Ok(())
}

/// At boot, when no timer is left: ends what is over and makes the timers of the rest.
pub fn resume(paths: &Paths, manifest: &Manifest) -> Result<()> {
    for (name, _, file) in honouring(manifest) {
        if let Some(until) = mark(paths, name, file, record::seconds())?.and_then(|mark| mark.until) {
            arm(until)?;
        }
    }
    Ok(())
}

/// What was asked for. One whose time is over is taken away.
fn mark(paths: &Paths, name: &ServiceName, file: &str, now: i64) -> Result<Option<Mark>> {
    let mark: Option<Mark> = files::read_json(&mark_path(paths, name))?;
    if mark.as_ref().and_then(|mark| mark.until).is_some_and(|until| until <= now) {
        lift(paths, name, file)?;
        return Ok(None);
    }
    Ok(mark)
}

/// In every folder, whatever goes wrong in one of them: a service must not keep itself, or another
/// instance, in maintenance.
fn lift(paths: &Paths, name: &ServiceName, file: &str) -> Result<()> {
    files::remove(&mark_path(paths, name))?;
    let folders = services::instance_folders(paths, name)?;
    let lifted = folders.iter().map(|folder| folder.remove(file)).fold(Ok(()), Result::and);
    for folder in &folders {
        if let Err(error) = forget_ends(folder, file, None) {
            // They mean nothing without the file that leads to one of them.
            output::warn(&format!("cairn-agent: {error}"));
        }
    }
    lifted
}

/// While the host's own checks run: whoever comes from the host is not kept out. Gives those that
/// are in maintenance.
pub fn let_checks_through(paths: &Paths, manifest: &Manifest, through: bool) -> Result<Vec<ServiceName>> {
    let mut closed = Vec::new();
    for (name, service, file) in honouring(manifest) {
        for folder in services::instance_folders(paths, name)? {
            let sign = format!("{file}.checks");
            if through { folder.create(&sign, SIGN_MODE)? } else { folder.remove(&sign)? }
        }
        if is_shown(paths, name, &service.instance, file)? {
            closed.push(name.clone());
        }
    }
    Ok(closed)
}

/// The services that are meant, each with its file's name.
fn wanted<'a>(manifest: &'a Manifest, name: Option<&str>) -> Result<Vec<(&'a ServiceName, &'a str)>> {
    let all: Vec<(&ServiceName, &str)> = honouring(manifest).map(|(name, _, file)| (name, file)).collect();
    let found: Vec<_> =
        all.iter().copied().filter(|(known, _)| name.is_none_or(|name| known.as_str() == name)).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let others: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    let (who, advice) = match (name, others.is_empty()) {
        (Some(name), false) => (format!("service `{name}` does not"), format!("these do: {}", others.join(", "))),
        (Some(name), true) => (format!("service `{name}` does not"), NOBODY.to_owned()),
        (None, _) => ("no service of this host does".to_owned(), NOBODY.to_owned()),
    };
    Err(Fault::new(format!("{who} say that it honours maintenance")).advice(advice).into())
}

const NOBODY: &str = "an image that does says so by `maintenance` in the [image] section of its image.toml";

fn honouring(manifest: &Manifest) -> impl Iterator<Item = (&ServiceName, &Service, &str)> {
    manifest.services.iter().filter_map(|(name, service)| Some((name, service, service.maintenance.as_deref()?)))
}

/// How each service stands that honours maintenance.
pub fn list(paths: &Paths, manifest: &Manifest) -> Result<Vec<Maintained>> {
    let state = |(name, service, file): (&ServiceName, &Service, &str)| {
        let on = is_shown(paths, name, &service.instance, file)?;
        let mark: Option<Mark> = if on { files::read_json(&mark_path(paths, name))? } else { None };
        let until = mark.as_ref().and_then(|mark| mark.until);
        Ok(Maintained {
            service: name.to_string(),
            on,
            operator: mark.as_ref().map(|mark| mark.operator.clone()),
            since: mark.as_ref().map(|mark| mark.since),
            reason: mark.and_then(|mark| mark.reason),
            until,
        })
    };
    honouring(manifest).map(state).collect()
}

/// Puts the file into the folder of an instance that is about to start, if maintenance is on: by
/// our mark, or because somebody put the file into the folder that has the traffic.
pub fn place(paths: &Paths, manifest: &Manifest, name: &ServiceName) -> Result<()> {
    let Some(service) = manifest.services.get(name) else { return Ok(()) };
    let Some(file) = &service.maintenance else { return Ok(()) };
    let show = |until| match services::instance_folder(paths, name, &service.instance)? {
        Some(folder) => show(&folder, file, until),
        None => Ok(()),
    };
    if let Some(mark) = mark(paths, name, file, record::seconds())? {
        return show(mark.until);
    }
    let by_hand = services::current(paths, name).map(|live| is_shown(paths, name, &live, file));
    if by_hand.transpose()?.unwrap_or(false) { show(None) } else { Ok(()) }
}

fn mark_path(paths: &Paths, service: &ServiceName) -> PathBuf {
    paths.maintenance().join(format!("{service}.json"))
}

/// The service may read it; root alone decides whether it is there.
const SIGN_MODE: u32 = 0o644;

/// Whether the file is in the folder of this instance. A link counts: it is how an end is written.
fn is_shown(paths: &Paths, service: &ServiceName, instance: &InstanceId, file: &str) -> Result<bool> {
    services::instance_folder(paths, service, instance)?.map_or(Ok(false), |folder| folder.has(file))
}

/// Puts the file into an instance's folder, or in the place of one with another end: at no moment is
/// there none.
fn show(folder: &Folder, file: &str, until: Option<i64>) -> Result<()> {
    let name = until.map(|until| format!("{file} until {}", http_date(until)));
    match &name {
        Some(name) => {
            folder.create(name, SIGN_MODE)?;
            folder.point(file, Path::new(name))?;
        }
        None if folder.target(file).is_some() => folder.replace_with_empty(file, SIGN_MODE)?,
        None => folder.create(file, SIGN_MODE)?,
    }
    forget_ends(folder, file, name.as_deref())
}

/// Removes the files that named other ends.
fn forget_ends(folder: &Folder, file: &str, keep: Option<&str>) -> Result<()> {
    let beginning = format!("{file} until ");
    let names = folder.names()?;
    let mut old = names.iter().filter(|name| name.starts_with(&beginning) && Some(name.as_str()) != keep);
    old.try_for_each(|name| folder.remove(name))
}
