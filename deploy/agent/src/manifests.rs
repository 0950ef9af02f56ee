//! Reads the manifest of a host closure in the store.

use std::fs;
use std::path::Path;

use cairn_closure::{Manifest, ServiceName};
use cairn_formats::StorePath;
use cairn_formats::report::nearest;

use crate::error::{AgentError, Fault, Result};
use crate::files;
use crate::paths::Paths;

/// The manifest below `directory`, which is a closure or a link to one.
pub fn read(directory: &Path) -> Result<Manifest> {
    let path = directory.join("closure.json");
    let Some(manifest) = files::read_json::<Manifest>(&path)? else {
        return Err(AgentError::Content {
            path: directory.to_owned(),
            reason: "it is not a host closure: closure.json is missing; build hosts.NAME and switch to that".to_owned(),
        });
    };
    if manifest.version != 1 {
        return Err(AgentError::Content {
            path,
            reason: format!("its version is {}, and this agent reads version 1", manifest.version),
        });
    }
    Ok(manifest)
}

pub fn of(paths: &Paths, closure: &StorePath) -> Result<Manifest> {
    read(&paths.store_path(closure))
}

/// The committed closure as the profile's links say it, without the store's database: early in
/// the boot only files can be relied on. `None` on a host without a generation.
pub fn committed(paths: &Paths) -> Result<Option<(u64, StorePath)>> {
    let profile = paths.profile();
    let Some(generation) = files::target(&profile) else {
        return Ok(None);
    };
    let bad = |reason: &str| AgentError::Content {
        path: profile.clone(),
        reason: format!("{} {reason}", generation.display()),
    };
    let number = generation
        .file_name()
        .and_then(|name| name.to_str())
        .and_then(|name| name.strip_prefix("cairn-")?.strip_suffix("-link")?.parse().ok())
        .ok_or_else(|| bad("is not the name of a generation"))?;
    let link = profile.with_file_name(generation.file_name().unwrap_or_default());
    let target = fs::read_link(&link).map_err(|_| bad("is missing"))?;
    let closure = target
        .to_str()
        .and_then(|text| StorePath::from_absolute(text).ok())
        .ok_or_else(|| bad("does not point into the store"))?;
    Ok(Some((number, closure)))
}

/// The live generation, and its service of this name.
pub fn live_service(paths: &Paths, name: &str) -> Result<(Manifest, ServiceName)> {
    let manifest = live(paths)?;
    let found = manifest.services.keys().find(|known| known.as_str() == name).cloned();
    if let Some(found) = found {
        return Ok((manifest, found));
    }
    let known: Vec<&str> = manifest.services.keys().map(ServiceName::as_str).collect();
    let advice = match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("it runs {}", known.join(", ")),
    };
    Err(Fault::new(format!("the host runs no service `{name}`")).advice(advice).into())
}

pub fn live(paths: &Paths) -> Result<Manifest> {
    match committed(paths)? {
        Some((_, closure)) => of(paths, &closure),
        None => Err(Fault::new("the host has no generation yet").advice("switch to one: `deploy switch HOST`").into()),
    }
}
