//! Configuration that may change under an instance that runs: copies of a store path's files, in a
//! directory that the service sees. A store path itself could not be put in place of another one
//! under the mount of a running service.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{fs, io};

use cairn_closure::{InstanceId, Manifest, ServiceName, layout};

use crate::error::{Result, file};
use crate::files;
use crate::paths::Paths;

/// Makes the files of the service's instance those of `manifest`. Each is replaced by a rename, so
/// that the service reads the one or the other.
pub fn place(paths: &Paths, manifest: &Manifest, name: &ServiceName) -> Result<()> {
    let Some(service) = manifest.services.get(name) else { return Ok(()) };
    let Some(reload) = &service.reload else { return Ok(()) };
    let from = paths.store_path(&reload.files.0);
    let to = paths.live_dir(name, &service.instance);
    files::make_directories(&to)?;
    let mut wanted = BTreeSet::new();
    for entry in fs::read_dir(&from).map_err(file("cannot list", &from))? {
        let entry = entry.map_err(file("cannot list", &from))?;
        let text = fs::read(entry.path()).map_err(file("cannot read", &entry.path()))?;
        let path = to.join(entry.file_name());
        if fs::read(&path).ok().as_ref() != Some(&text) {
            files::replace(&path, &text)?;
        }
        wanted.insert(entry.file_name());
    }
    for (path, name) in listed(&to)? {
        if !wanted.contains(&name) {
            files::remove(&path)?;
        }
    }
    Ok(())
}

/// Removes the files of all instances but those of `keep`.
pub fn sweep(paths: &Paths, keep: Option<&Manifest>) -> Result<()> {
    for (of_service, name) in listed(&paths.at(layout::LIVE_DIR))? {
        let kept = name.to_str().and_then(|name| ServiceName::parse(name).ok());
        let kept = kept.and_then(|name| keep?.services.get(&name)).filter(|service| service.reload.is_some());
        let instance = kept.map(|service| &service.instance);
        for (path, name) in listed(&of_service)? {
            let found = name.to_str().and_then(|name| InstanceId::parse(name).ok());
            if found.as_ref() != instance {
                fs::remove_dir_all(&path).map_err(file("cannot remove", &path))?;
            }
        }
        if instance.is_none() {
            fs::remove_dir(&of_service).map_err(file("cannot remove", &of_service))?;
        }
    }
    Ok(())
}

/// Nothing, if there is no such directory.
fn listed(directory: &Path) -> Result<Vec<(PathBuf, OsString)>> {
    let entries = match fs::read_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(file("cannot list", directory))?,
    };
    let entry = |entry: io::Result<fs::DirEntry>| {
        let entry = entry.map_err(file("cannot list", directory))?;
        Ok((entry.path(), entry.file_name()))
    };
    entries.map(entry).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use cairn_closure::render;
    use serde_json::json;

    fn manifest(files: &str) -> Manifest {
        let spec = json!({
            "version": 1, "name": "h", "platform": "linux/amd64",
            "agent": "/nix/store/0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-cairn-agent",
            "services": { "db": {
                "rootfs": "/nix/store/1mdqa9w1p6cmli6976v4wi0sw9r4p5pr-db", "image": "db", "command": ["/bin/db"],
                "user": {"name": "db", "uid": 10003, "gid": 10003}, "reload": { "files": files }
            }}
        });
        render(&serde_json::from_value(spec).unwrap()).unwrap().manifest
    }

    #[test]
    fn the_files_are_those_of_the_closure_and_go_with_it() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::new(root.path());
        let db = ServiceName::parse("db").unwrap();
        let closures = [("1", "a", "one"), ("2", "b", "two")].map(|(digit, name, text)| {
            let path = format!("/nix/store/{digit}mdqa9w1p6cmli6976v4wi0sw9r4p5pr-db-live");
            let folder = paths.at(&path);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("access"), text).unwrap();
            fs::write(folder.join(name), "").unwrap();
            manifest(&path)
        });
        let [first, second] = &closures;
        let instance = &first.services[&db].instance;
        assert_eq!(*instance, second.services[&db].instance, "the files are no part of the instance");
        let folder = paths.live_dir(&db, instance);
        for (manifest, text, files) in [(first, "one", ["a", "access"]), (second, "two", ["access", "b"])] {
            place(&paths, manifest, &db).unwrap();
            assert_eq!(fs::read_to_string(folder.join("access")).unwrap(), text);
            let mut names: Vec<_> = listed(&folder).unwrap().into_iter().map(|(_, name)| name).collect();
            names.sort();
            assert_eq!(names, files);
        }
        sweep(&paths, Some(second)).unwrap();
        assert!(folder.is_dir());
        sweep(&paths, None).unwrap();
        assert!(!folder.exists());
    }
}
