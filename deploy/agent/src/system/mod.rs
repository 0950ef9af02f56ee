//! The host itself: files below `/etc`, kernel settings, people, mounts and plain units.
//!
//! Each part makes what one closure's [`System`] says, from whatever is there, and may be asked again:
//! an activation asks for the new one, going back asks for the old one, a boot for the committed one.
//! What is ours is written down before it is made, and what is not ours is never touched.

pub mod etc;
pub mod kernel;
pub mod people;
pub mod units;

use cairn_closure::System;
use cairn_formats::StorePath;
use cairn_protocol::{Drift, Part, PartKind};

use crate::error::Result;
use crate::manifests;
use crate::paths::Paths;

/// Whether the host can become so. Changes nothing.
pub fn check(paths: &Paths, old: &System, new: &System) -> Result<()> {
    etc::check(paths, new)?;
    kernel::check(paths, new)?;
    people::check(paths, new)?;
    units::check(old, new)
}

/// Whether anything of it is, or may be left, on this host.
pub fn concerns(paths: &Paths, system: &System) -> bool {
    !system.is_empty() || paths.etc_record().exists() || paths.people_record().exists()
}

/// At boot, before all but the earliest units: what a trial left goes, what the committed generation
/// says is there. Every part is tried; the first fault is told.
pub fn boot(paths: &Paths) -> Result<()> {
    let committed = manifests::committed(paths)?;
    let (closure, system) = match committed {
        Some((_, closure)) => (Some(closure.clone()), manifests::of(paths, &closure)?.system),
        None => (None, System::default()),
    };
    let files = etc::place(paths, closure.as_ref(), &system);
    let people = people::entries(paths, &system).and_then(|()| people::sweep(paths, &system));
    files.and(people).and(kernel::apply(paths, &system))
}

/// What generations have made of the host itself, by kind and name.
pub fn made(paths: &Paths) -> Result<Vec<Part>> {
    let part = |kind| move |name| Part { kind, name };
    let files = etc::files(paths)?.into_iter().map(part(PartKind::File));
    let people = people::record(paths)?.into_keys().map(|name| name.to_string()).map(part(PartKind::User));
    Ok(files.chain(people).collect())
}

/// All of that goes, and what was there before comes back.
pub fn give_back(paths: &Paths) -> Result<()> {
    let nothing = System::default();
    units::sweep(paths, &nothing)?;
    etc::place(paths, None, &nothing)?;
    people::sweep(paths, &nothing)?;
    kernel::apply(paths, &nothing)
}

/// What is otherwise than the live generation says.
pub fn drift(paths: &Paths, closure: &StorePath, system: &System) -> Result<Vec<Drift>> {
    let mut found = etc::drift(paths, system);
    found.extend(kernel::drift(paths, system));
    found.extend(people::drift(system)?);
    found.extend(units::drift(paths, closure, system)?);
    Ok(found)
}
