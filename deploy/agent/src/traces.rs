//! What of ours lies about on a host, found by looking and not by what was written down.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cairn_closure::{HostUnit, UnitName};
use cairn_protocol::ActivationId;

use crate::activation::record::{self, Record};
use crate::error::{Result, file};
use crate::folder::Folder;
use crate::paths::Paths;
use crate::system;

/// Where the bootstrap script may have put an agent.
const BOOTSTRAP: [&str; 4] = ["/tmp", "/var/tmp", "/root", "/run"];
/// An agent that is on its way to the host is younger.
pub const ON_ITS_WAY: Duration = Duration::from_secs(600);
/// Where units of ours would be no generation's.
const UNIT_FOLDERS: [&str; 3] = ["/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system"];

/// Entries of a folder in order; none if there is no such folder.
pub fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    found.sort();
    found
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// What the script of `deploy user-data` puts on a host that pulls: the timer before its service.
const PULL: [&str; 5] = [
    "/etc/systemd/system/timers.target.wants/cairn-pull.timer",
    "/etc/systemd/system/cairn-pull.timer",
    "/etc/systemd/system/cairn-pull.service",
    "/etc/cairn/pull.json",
    "/usr/local/lib/cairn",
];

/// What makes this host pull.
pub fn pull(paths: &Paths) -> Vec<PathBuf> {
    PULL.iter().map(|path| paths.at(path)).filter(|path| path.symlink_metadata().is_ok()).collect()
}

/// Links of a trial, in the runtime directory.
pub fn trial_links(paths: &Paths) -> Vec<PathBuf> {
    let of_host = |path: &PathBuf| HostUnit::parse(name(path)).is_ok() && system::units::is_ours(path);
    let ours = |path: &PathBuf| path.is_symlink() && (UnitName::parse(name(path)).is_ok() || of_host(path));
    entries(&paths.runtime_units()).into_iter().filter(ours).collect()
}

/// Files with our units' names that no generation has put there.
pub fn foreign_units(paths: &Paths) -> Vec<PathBuf> {
    let all = UNIT_FOLDERS.iter().flat_map(|folder| entries(&paths.at(folder)));
    let pull = pull(paths);
    all.filter(|path| !pull.contains(path))
        .filter(|path| UnitName::parse(name(path).trim_end_matches(".d")).is_ok())
        .collect()
}

/// Mounts below `/run/cairn`, the innermost first.
pub fn mounts(paths: &Paths) -> Result<Vec<PathBuf>> {
    let table = paths.at("/proc/self/mountinfo");
    let text = fs::read_to_string(&table).map_err(file("cannot read", &table))?;
    let points = text.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    let mut found: Vec<PathBuf> = points.filter(|point| point.starts_with(paths.run_dir())).collect();
    found.sort();
    found.reverse();
    Ok(found)
}

/// What programs that were killed have left: agents that came so long ago and never ran, halves of
/// files.
pub fn temporaries(paths: &Paths, older: Duration) -> Vec<PathBuf> {
    let of_bootstrap = |path: &PathBuf| {
        let age = fs::metadata(path).and_then(|meta| meta.modified()).ok().and_then(|at| at.elapsed().ok());
        name(path).starts_with("cairn-agent.") && age.is_some_and(|age| age >= older)
    };
    let agents = BOOTSTRAP.iter().flat_map(|folder| entries(&paths.at(folder))).filter(of_bootstrap);
    let state = paths.state_dir();
    let folders = ["", "generations", "maintenance", "secrets", "adopted"].map(|below| state.join(below));
    let generator = paths.generator_link().parent().map(Path::to_owned);
    let folders = folders.into_iter().chain(entries(&paths.activations())).chain(generator);
    let half = |path: &PathBuf| writer(name(path)).is_some_and(|pid| !paths.at(&format!("/proc/{pid}")).exists());
    agents.chain(folders.flat_map(|folder| entries(&folder)).filter(half)).collect()
}

/// The process that writes a file under this name, as [`files`] has it.
fn writer(name: &str) -> Option<u32> {
    name.rsplit_once(".new-")?.1.parse().ok()
}

/// Links that keep the closure of an activation that has ended, or is unknown.
pub fn stale_roots(paths: &Paths) -> Vec<PathBuf> {
    let stale = |path: &PathBuf| {
        let id = name(path).strip_prefix("cairn-activation-").and_then(|id| ActivationId::parse(id).ok());
        id.is_some_and(|id| Record::load(paths, &id).map_or(true, |record| record.phase.has_ended()))
    };
    entries(&paths.named_root("")).into_iter().filter(stale).collect()
}

/// The profile's link and its generations'.
pub fn profile_links(paths: &Paths) -> Vec<PathBuf> {
    let profile = paths.profile();
    let ours =
        |path: &PathBuf| path == &profile || name(path).starts_with("cairn-") || name(path).starts_with("cairn.");
    entries(profile.parent().unwrap_or(&profile)).into_iter().filter(ours).collect()
}

/// The newest activation, if it was cut off in this boot or an earlier one and nobody is at it.
pub fn cut_off(paths: &Paths) -> Option<Record> {
    record::newest(paths).filter(|record| !record.phase.has_ended())
}

/// Removes a file or link, or a folder with all that is in it; that there is none is fine. Other users
/// may have filled it: one in `/tmp` has only to have the right name.
pub fn remove(path: &Path) -> Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Err(file("cannot remove", path)(std::io::ErrorKind::InvalidInput.into()));
    };
    match parent.is_dir() {
        true => Folder::trusted(parent)?.remove(name),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_what_is_ours_and_dead_is_found() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::new(root.path());
        let make = |file: &str| {
            let path = paths.at(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
        };
        make("/etc/systemd/system/cairn-api.target");
        make("/etc/systemd/system/nginx.service");
        make("/usr/lib/systemd/system/cairn.target");
        assert_eq!(foreign_units(&paths).len(), 2);

        make("/run/systemd/system/cairn-own.service");
        symlink("/nix/store/x", paths.at("/run/systemd/system/cairn-api.target")).unwrap();
        assert_eq!(trial_links(&paths), [paths.at("/run/systemd/system/cairn-api.target")]);

        let living = format!("lock.new-{}", std::process::id());
        fs::create_dir_all(paths.at(&format!("/proc/{}", std::process::id()))).unwrap();
        make(&format!("/nix/var/cairn/{living}"));
        make("/nix/var/cairn/generations/1.json.new-4194999");
        make("/nix/var/cairn/generations/1.json");
        fs::create_dir_all(paths.at("/tmp/cairn-agent.young")).unwrap();
        fs::create_dir_all(paths.at("/tmp/cairn-agent.old")).unwrap();
        let old = std::time::SystemTime::now() - 2 * ON_ITS_WAY;
        fs::File::open(paths.at("/tmp/cairn-agent.old")).unwrap().set_modified(old).unwrap();
        assert_eq!(
            temporaries(&paths, ON_ITS_WAY),
            [paths.at("/tmp/cairn-agent.old"), paths.at("/nix/var/cairn/generations/1.json.new-4194999")]
        );

        fs::create_dir_all(paths.named_root("")).unwrap();
        symlink("/nix/store/x", paths.named_root("cairn-activation-1-2")).unwrap();
        symlink("/nix/store/x", paths.named_root("agent")).unwrap();
        assert_eq!(stale_roots(&paths), [paths.named_root("cairn-activation-1-2")]);

        // Deeper than the descriptors that a process may have.
        let (mut deep, below) = (paths.at("/tmp/cairn-agent.old"), "d/".repeat(100));
        for _ in 0..12 {
            deep = deep.join(&below);
            fs::create_dir_all(&deep).unwrap();
        }
        remove(&paths.at("/tmp/cairn-agent.old")).unwrap();
        remove(&paths.at("/tmp/cairn-agent.old")).unwrap();
        remove(&paths.at("/nowhere/cairn-agent.old")).unwrap();
        assert!(!paths.at("/tmp/cairn-agent.old").exists());

        for link in ["cairn", "cairn-1-link", "default", "per-user"] {
            make(&format!("/nix/var/nix/profiles/{link}"));
        }
        assert_eq!(profile_links(&paths).len(), 2);
    }
}
