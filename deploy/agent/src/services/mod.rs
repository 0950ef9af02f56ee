//! The sockets of services below `/run/cairn`, and the link that traffic follows.

pub mod live;
pub mod slots;
pub mod state;
pub mod users;

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use cairn_closure::{InstanceId, Manifest, ServiceName, User};

use crate::error::{Result, file};
use crate::files;
use crate::folder::Folder;
use crate::paths::Paths;

/// Makes an instance's directory, where only the service and its group come in.
pub fn make_directory(paths: &Paths, service: &ServiceName, instance: &InstanceId, user: &User) -> Result<()> {
    // Anybody may pass through these two and follow `current`; the instance's directory decides.
    directory(&paths.run_dir(), 0o755)?;
    directory(&paths.service_dir(service), 0o755)?;
    let (own, _) = Folder::trusted(&paths.service_dir(service))?.make(instance.as_str(), 0o700)?;
    own.give(0o750, Some((user.uid, user.gid)))
}

/// The folder of an instance, which the service owns; `None` if there is none.
pub fn instance_folder(paths: &Paths, service: &ServiceName, instance: &InstanceId) -> Result<Option<Folder>> {
    Folder::open(&paths.run_dir(), &Path::new(service.as_str()).join(instance.as_str()))
}

/// The folders of all instances of a service that there are.
pub fn instance_folders(paths: &Paths, service: &ServiceName) -> Result<Vec<Folder>> {
    let names = entries(&paths.service_dir(service))?.into_iter().map(|(_, name)| name);
    let instances = names.filter_map(|name| InstanceId::parse(&name).ok());
    // One may go meanwhile.
    instances.filter_map(|instance| instance_folder(paths, service, &instance).transpose()).collect()
}

pub(crate) fn directory(path: &Path, mode: u32) -> Result<()> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
            return Err(file("cannot make the directory", path)(e));
        }
        _ => {}
    }
    // Whatever the umask made of it.
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(file("cannot set the mode of", path))
}

/// Removes the directories of all instances but those of `keep`, with the sockets left in them.
pub fn sweep_directories(paths: &Paths, keep: Option<&Manifest>) -> Result<()> {
    for (path, name) in entries(&paths.run_dir())? {
        let Ok(service) = ServiceName::parse(&name) else {
            continue;
        };
        let kept = keep.and_then(|manifest| manifest.services.get(&service));
        for (_, name) in entries(&path)? {
            let stray = kept.is_none_or(|kept| kept.instance.as_str() != name);
            if InstanceId::parse(&name).is_ok() && stray {
                Folder::trusted(&paths.service_dir(&service))?.remove(&name)?;
            }
        }
        slots::sweep(paths, &service, keep)?;
        if kept.is_none() {
            // Kept as long as it holds anything, such as the `current` link.
            let _ = fs::remove_dir(path);
        }
    }
    live::sweep(paths, keep)
}

/// Nothing, if there is no such directory.
fn entries(directory: &Path) -> Result<Vec<(PathBuf, String)>> {
    let listed = match fs::read_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(file("cannot list", directory))?,
    };
    Ok(listed.flatten().filter_map(|entry| Some((entry.path(), entry.file_name().into_string().ok()?))).collect())
}

/// Moves the service's traffic to `instance`, in one rename; `None` takes the link away.
pub fn set_current(paths: &Paths, service: &ServiceName, instance: Option<&InstanceId>) -> Result<()> {
    let link = paths.current_link(service);
    match instance {
        // Relative, since services see the directory through a mount of their own.
        Some(instance) => files::point(&link, Path::new(instance.as_str())),
        None => files::remove(&link),
    }
}

/// The instance that takes the traffic.
pub fn current(paths: &Paths, service: &ServiceName) -> Option<InstanceId> {
    let target = files::target(&paths.current_link(service))?;
    InstanceId::parse(target.to_str()?).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn traffic_moves_and_goes_away() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::new(root.path());
        let service = ServiceName::parse("api").unwrap();
        let [one, two] = ["000000000001", "000000000002"].map(|id| InstanceId::parse(id).unwrap());
        fs::create_dir_all(paths.service_dir(&service)).unwrap();
        assert_eq!(current(&paths, &service), None);
        for instance in [&one, &two, &two, &one] {
            set_current(&paths, &service, Some(instance)).unwrap();
            assert_eq!(current(&paths, &service).as_ref(), Some(instance));
        }
        set_current(&paths, &service, None).unwrap();
        set_current(&paths, &service, None).unwrap();
        assert_eq!(current(&paths, &service), None);
        assert_eq!(fs::read_dir(paths.service_dir(&service)).unwrap().count(), 0);
    }
}
