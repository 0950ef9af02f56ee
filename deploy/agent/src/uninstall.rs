//! Gives a host back: nothing of ours is left but what somebody may still want, the state of
//! services, which goes only if that is asked for.
//!
//! What is to go is found by looking, so a second run finishes what a first one could not. The
//! order is chosen for that: services stop before what they run from goes, and the records, which
//! say what the host was before, go last.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cairn_closure::{UnitName, layout};
use cairn_protocol::{Part, PartKind, UninstallRequest, Uninstalled};
use cairn_store::Store;
use nix::mount::umount;

use crate::activation::{self, GLANCE, Holder, Lock};
use crate::adopted::{self, Return};
use crate::error::{Fault, Result, file};
use crate::host_record::{self, FOLDERS, HostRecord};
use crate::paths::Paths;
use crate::services::users;
use crate::{files, manifests, process, system, systemd, traces};

/// When a timer of ours ran last, as systemd keeps it.
const STAMPS: &str = "/var/lib/systemd/timers";

pub fn run(paths: &Paths, store: Option<&Store>, request: &UninstallRequest) -> Result<Uninstalled> {
    let plan = plan(paths, request.delete_data)?;
    if request.dry_run || plan.removed.is_empty() {
        return Ok(plan);
    }
    let holder = Holder { reason: request.reason.clone(), ..Holder::now(&request.operator, "an uninstallation") };
    // With the store gone, of an earlier run, nobody can activate anything.
    let _lock = match store {
        Some(store) => Some(activation::lock(store, paths, &holder)?),
        None if paths.state_dir().is_dir() => Some(Lock::take(paths, &holder, GLANCE)?),
        None => None,
    };
    let record = host_record::load(paths)?;
    stop(paths)?;
    system::give_back(paths)?;
    for file in adopted::files(paths)? {
        adopted::give_back(paths, &file.path)?;
    }
    let named =
        |kind: PartKind| plan.removed.iter().filter(move |part| part.kind == kind).map(|part| part.name.as_str());
    for mount in traces::mounts(paths)? {
        umount(&mount).map_err(|errno| file("cannot unmount", &mount)(errno.into()))?;
    }
    traces::remove(&paths.run_dir())?;
    forget_users()?;
    for kind in [PartKind::Temporary, PartKind::Generation, PartKind::Root, PartKind::Data] {
        named(kind).try_for_each(|path| traces::remove(&paths.at(path)))?;
    }
    match record {
        Some(record) => remove_folders(paths, &record)?,
        // After a run that left the state, which goes now.
        None => remove_empty(paths, [layout::STATE_DIR, "/var/lib/cairn"]),
    }
    let left = self::plan(paths, request.delete_data)?.removed;
    if left.is_empty() {
        return Ok(plan);
    }
    let left: Vec<String> = left.iter().map(|part| format!("{} {}", part.kind.word(), part.name)).collect();
    Err(Fault::new(format!("these are left: {}", left.join(", "))).advice("run `deploy uninstall` again").into())
}

/// What is there, and what stays.
fn plan(paths: &Paths, delete_data: bool) -> Result<Uninstalled> {
    let mut plan = Uninstalled::default();
    let mut add = |kind: PartKind, name: String| plan.removed.push(Part { kind, name });
    let record = host_record::load(paths)?;
    for unit in units(paths)? {
        add(PartKind::Unit, unit.to_string());
    }
    let told = |path: &PathBuf| told(paths, path);
    traces::trial_links(paths).iter().for_each(|link| add(PartKind::UnitLink, told(link)));
    let generator = paths.generator_link();
    if fs::read_link(&generator).is_ok_and(|to| to.starts_with("/nix")) {
        add(PartKind::Generator, told(&generator));
    }
    traces::pull(paths).iter().for_each(|path| add(PartKind::File, told(path)));
    system::made(paths)?.into_iter().for_each(|part| add(part.kind, part.name));
    traces::mounts(paths)?.iter().for_each(|mount| add(PartKind::Mount, told(mount)));
    if paths.run_dir().is_dir() {
        add(PartKind::RunDirectory, told(&paths.run_dir()));
    }
    let (made, groups) = users::made()?;
    made.into_iter().for_each(|name| add(PartKind::User, name));
    groups.into_iter().for_each(|name| add(PartKind::Group, name));
    let stamp = |path: &PathBuf| path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"stamp-cairn-"));
    let stamps = traces::entries(&paths.at(STAMPS)).into_iter().filter(stamp);
    traces::temporaries(paths, Duration::ZERO).iter().for_each(|path| add(PartKind::Temporary, told(path)));
    stamps.for_each(|path| add(PartKind::Temporary, told(&path)));
    traces::profile_links(paths).iter().for_each(|link| add(PartKind::Generation, told(link)));
    if paths.named_root("").is_dir() {
        add(PartKind::Root, "/nix/var/nix/gcroots/cairn".to_owned());
    }
    for folder in traces::entries(&paths.at(layout::STATE_DIR)) {
        if delete_data {
            add(PartKind::Data, told(&folder));
        } else {
            plan.kept.push(format!("{}: state of a service ({} MiB)", told(&folder), size(&folder) >> 20));
        }
    }
    if let Some(record) = &record {
        plan.removed.push(Part { kind: PartKind::Records, name: "/nix/var/cairn".to_owned() });
        match shared(paths, record) {
            Some(sign) => plan.kept.push(format!(
                "/nix/store: another Nix uses it ({sign}); `nix-collect-garbage` takes away what only we needed"
            )),
            None if paths.at("/nix/store").is_dir() => {
                let count = traces::entries(&paths.at("/nix/store")).len();
                plan.removed.push(Part {
                    kind: PartKind::Store,
                    name: format!("/nix/store ({count} entries) and its database"),
                });
            }
            None => {}
        }
    }
    for file in adopted::files(paths)? {
        match adopted::outlook(paths, &file) {
            Return::Restored => plan.given_back.push(adopted::describe(&file)),
            Return::InPlace => {}
            Return::Replaced => plan.kept.push(format!("{}: somebody has put another file there", file.path)),
        }
    }
    plan.given_back
        .extend(adopted::units::list(paths)?.into_iter().filter(|unit| unit.from.is_some()).map(|unit| unit.unit));
    Ok(plan)
}

fn told(paths: &Paths, path: &Path) -> String {
    Path::new("/").join(path.strip_prefix(paths.root()).unwrap_or(path)).display().to_string()
}

/// Units with a name of ours, but those that somebody else has put into a folder of the host.
fn units(paths: &Paths) -> Result<Vec<UnitName>> {
    let foreign = traces::foreign_units(paths);
    let is_foreign = |unit: &UnitName| foreign.iter().any(|path| path.ends_with(unit.as_str()));
    Ok(systemd::ours()?.into_iter().filter(|unit| !is_foreign(unit)).collect())
}

/// Why the store is not ours to take away.
fn shared(paths: &Paths, record: &HostRecord) -> Option<String> {
    record.nix.clone().or_else(|| host_record::other_nix(paths))
}

/// Stops all that is ours; who sends traffic before who answers it. The units' own times for a stop
/// let them finish their requests.
fn stop(paths: &Paths) -> Result<()> {
    let units = units(paths)?;
    let of = |wanted: &dyn Fn(&UnitName) -> bool| units.iter().filter(|unit| wanted(unit)).cloned().collect::<Vec<_>>();
    // No new connection, and nothing that the clock or a target starts again.
    systemd::stop(&of(&|unit| unit.is_socket() || unit.as_str().ends_with(".timer")))?;
    let live = manifests::live(paths).ok();
    for service in live.iter().flat_map(|live| live.order.iter().rev().flatten()) {
        systemd::stop(&of(&|unit| unit.service().as_ref() == Some(service)))?;
    }
    systemd::stop(&units)?;
    if fs::read_link(paths.generator_link()).is_ok_and(|to| to.starts_with("/nix")) {
        files::remove(&paths.generator_link())?;
    }
    traces::trial_links(paths).iter().try_for_each(|link| files::remove(link))?;
    traces::pull(paths).iter().try_for_each(|path| traces::remove(path))?;
    // systemd forgets what has no file any more.
    systemd::reload()?;
    adopted::units::start(paths, None, None)
}

/// Files that belong to them, such as kept state, go on to belong to their numbers.
fn forget_users() -> Result<()> {
    for name in users::made()?.0 {
        process::run("userdel", &[name])?;
    }
    // That of a user mostly went with it.
    users::made()?.1.iter().try_for_each(|name| process::run("groupdel", &[name]).map(drop))
}

/// The store, if it is ours alone, our records, and the folders that we made.
fn remove_folders(paths: &Paths, record: &HostRecord) -> Result<()> {
    if shared(paths, record).is_none() {
        for folder in ["/nix/store", "/nix/var/nix"] {
            traces::entries(&paths.at(folder)).iter().try_for_each(|path| traces::remove(path))?;
        }
    }
    traces::remove(&paths.state_dir())?;
    // Those that still hold something stay: state that is kept, or what somebody else has there.
    let made = |folder: &&str| !record.found.iter().any(|found| *found == **folder);
    remove_empty(paths, [layout::STATE_DIR].into_iter().chain(FOLDERS).filter(made));
    Ok(())
}

fn remove_empty<'a>(paths: &Paths, folders: impl IntoIterator<Item = &'a str>) {
    for folder in folders {
        let _ = fs::remove_dir(paths.at(folder));
    }
}

/// Bytes of the files below.
fn size(folder: &Path) -> u64 {
    let of = |path: &PathBuf| match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => size(path),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    };
    traces::entries(folder).iter().map(of).sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn folders_that_were_there_and_what_others_have_in_them_stay() {
        for (found, foreign, left) in [
            (&[][..], false, &[][..]),
            (&["/nix"], false, &["nix"]),
            (&["/etc/systemd/system-generators"], false, &["etc"]),
            (&["/nix", "/nix/store", "/nix/var", "/nix/var/nix"], true, &["nix"]),
        ] {
            let root = tempfile::tempdir().unwrap();
            let paths = Paths::new(root.path());
            for folder in found {
                fs::create_dir_all(paths.at(folder)).unwrap();
            }
            if foreign {
                fs::create_dir_all(paths.at("/nix/store/0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-theirs")).unwrap();
            }
            host_record::note(&paths).unwrap();
            drop(Store::open(root.path()).unwrap());
            fs::create_dir_all(paths.at(layout::STATE_DIR)).unwrap();
            let record = host_record::load(&paths).unwrap().unwrap();
            for _ in 0..2 {
                remove_folders(&paths, &record).unwrap();
            }
            let names: Vec<String> =
                fs::read_dir(root.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
            // The folder that a test's tree needs above them is not ours to look at.
            let names: Vec<&str> = names.iter().map(String::as_str).filter(|name| *name != "var").collect();
            assert_eq!(names, left, "{found:?}");
            assert!(!paths.at("/var/lib/cairn").exists() && !paths.state_dir().exists());
            assert_eq!(paths.at("/nix/store/0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-theirs").exists(), foreign);
        }
    }

    #[test]
    fn state_of_services_is_not_removed_with_the_folders() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::new(root.path());
        let data = paths.at(layout::STATE_DIR).join("db/data");
        fs::create_dir_all(&data).unwrap();
        fs::write(data.join("rows"), "12345").unwrap();
        host_record::save(&paths, &HostRecord::default()).unwrap();
        remove_folders(&paths, &HostRecord::default()).unwrap();
        assert_eq!(fs::read_to_string(data.join("rows")).unwrap(), "12345");
        assert_eq!(size(&paths.at(layout::STATE_DIR)), 5);
    }
}
