//! The systemd generator: emits the committed generation's units at boot and at every reload.
//!
//! systemd runs it before it loads any unit, with nothing mounted but what the root file system
//! holds; it reads the profile's links and one JSON file, makes links, and never fails the boot:
//! on any fault it emits nothing and says so in the kernel's log. A trial is not disturbed:
//! what it links in `/run/systemd/system` goes before a generator's output.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use cairn_closure::{Manifest, layout};

use crate::error::{Result, file};
use crate::paths::Paths;
use crate::{adopted, files, manifests};

/// systemd gives three directories of different priority; ours is the normal one, and that which
/// goes before `/etc` for units of the host that are replaced.
pub fn run(normal: &Path, early: &Path, _late: &Path) -> Result<()> {
    emit(&Paths::host(), normal, early)
}

fn emit(paths: &Paths, normal: &Path, early: &Path) -> Result<()> {
    let Some((number, closure)) = manifests::committed(paths)? else {
        return Ok(());
    };
    adopted::units::mask(paths, number, early)?;
    let manifest = manifests::of(paths, &closure)?;
    let units = paths.store_path(&closure).join("units");
    for unit in manifest.all_units() {
        link(&units.join(unit.as_str()), &normal.join(unit.as_str()))?;
    }
    for (holder, wanted) in wants(&manifest) {
        let directory = normal.join(format!("{holder}.wants"));
        files::make_directories(&directory)?;
        link(&units.join(&wanted), &directory.join(&wanted))?;
    }
    Ok(())
}

/// Which target wants which unit.
fn wants(manifest: &Manifest) -> Vec<(String, String)> {
    let all = "cairn.target";
    let mut pairs = vec![("multi-user.target".to_owned(), all.to_owned())];
    for service in manifest.services.values() {
        pairs.push((all.to_owned(), service.target.to_string()));
        // What runs to its end is started by its timer, or by an activation.
        for unit in service.lasting_units() {
            pairs.push((service.target.to_string(), unit.to_string()));
        }
    }
    pairs
}

fn link(target: &Path, link: &Path) -> Result<()> {
    symlink(target, link).map_err(file("cannot link", link))
}

/// Makes systemd run the current generation's agent as a generator.
pub fn install(paths: &Paths) -> Result<()> {
    let own = paths.generator_link();
    if let Some(parent) = own.parent() {
        files::make_directories(parent)?;
    }
    files::point(&own, &Path::new(layout::PROFILE).join("agent"))?;
    // The rename of the profile counts on it.
    fs::File::open(own.parent().unwrap_or(&own))
        .and_then(|directory| directory.sync_all())
        .map_err(file("cannot write", &own))
}

pub fn uninstall(paths: &Paths) -> Result<()> {
    files::remove(&paths.generator_link())
}
