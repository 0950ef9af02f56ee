//! The systemd generator: emits the committed generation's units at boot and at every reload.
//!
//! systemd runs it before it loads any unit, with nothing mounted but what the root file system
//! holds; it reads the profile's links and one JSON file, makes links, and never fails the boot:
//! on any fault it emits nothing and says so in the kernel's log. A trial is not disturbed:
//! what it links in `/run/systemd/system` goes before a generator's output.
//!
//! Files below `/etc` are placed here already, for the units that start before any other; what takes a
//! writable root is left to `cairn-host.service`, which is written here and not in a closure, since it
//! also clears away what the trial of a first generation left.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use cairn_closure::{Manifest, StoreDir, System, layout};

use crate::error::{Result, file};
use crate::paths::Paths;
use crate::{adopted, files, manifests, system};

const HOST_SERVICE: &str = "cairn-host.service";

/// systemd gives three directories of different priority; ours is the normal one, and that which
/// goes before `/etc` for units of the host that are replaced.
pub fn run(normal: &Path, early: &Path, _late: &Path) -> Result<()> {
    emit(&Paths::host(), normal, early)
}

fn emit(paths: &Paths, normal: &Path, early: &Path) -> Result<()> {
    let Some((number, closure)) = manifests::committed(paths)? else {
        return host_service(paths, &System::default(), normal);
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
    for unit in manifest.system.units.keys() {
        link(&units.join(unit.as_str()), &normal.join(unit.as_str()))?;
    }
    host_service(paths, &manifest.system, normal)?;
    // Not over a trial's, when systemd only reloads.
    let current = paths.etc_current();
    if fs::symlink_metadata(&current).is_err() && !manifest.system.is_empty() {
        system::etc::make_tree(paths, &closure, &manifest.system)?;
        if paths.etc_trees().is_dir() {
            files::point(&current, Path::new(manifest.system.files_id().as_str()))?;
        }
    }
    Ok(())
}

/// The unit that makes the host itself what the committed generation says, before sysinit.target.
fn host_service(paths: &Paths, system: &System, normal: &Path) -> Result<()> {
    if !system::concerns(paths, system) {
        return Ok(());
    }
    let agent = std::env::current_exe().map_err(file("cannot find", Path::new("/proc/self/exe")))?;
    let text = format!(
        "[Unit]\nDescription=Files, people and settings of the host (Cairn)\nDefaultDependencies=no\n\
         After=systemd-remount-fs.service systemd-sysctl.service\n\
         Before=sysinit.target shutdown.target\nConflicts=shutdown.target\n\n\
         [Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart={} host\n",
        agent.display()
    );
    let unit = normal.join(HOST_SERVICE);
    fs::write(&unit, text).map_err(file("cannot write", &unit))?;
    let wants = normal.join("sysinit.target.wants");
    files::make_directories(&wants)?;
    link(&unit, &wants.join(HOST_SERVICE))
}

/// Which target wants which unit.
fn wants(manifest: &Manifest) -> Vec<(String, String)> {
    let all = "cairn.target";
    let mut pairs = vec![("multi-user.target".to_owned(), all.to_owned())];
    pairs.extend(manifest.system.lasting_units().map(|unit| (all.to_owned(), unit.to_string())));
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

/// Before a first generation's trial leaves anything that a power loss would keep: what comes up then
/// has no generation, and this agent takes it away.
pub fn install_for_trial(paths: &Paths, agent: &StoreDir) -> Result<()> {
    let own = paths.generator_link();
    if paths.profile().exists() || own.exists() {
        return Ok(());
    }
    if let Some(parent) = own.parent() {
        files::make_directories(parent)?;
    }
    files::point(&own, &Path::new(&agent.to_string()).join(layout::AGENT_PROGRAM))
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
