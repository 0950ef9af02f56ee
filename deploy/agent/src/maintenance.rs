//! A service that honours maintenance answers otherwise while a file lies beside its sockets.
//!
//! That folder belongs to one instance and lies in `/run`, so the file alone would go with the next
//! switch or boot. What was asked for is kept at `/nix/var/cairn/maintenance/SERVICE.json`; whoever
//! makes an instance's folder ([`place`]) puts the file into it from the start.

use std::fs;
use std::io;
use std::path::PathBuf;

use cairn_closure::{InstanceId, Manifest, Service, ServiceName};
use cairn_protocol::{Maintained, MaintenanceRequest};
use serde::{Deserialize, Serialize};

use crate::activation::record;
use crate::error::{Fault, Result, file};
use crate::paths::Paths;
use crate::{files, manifests, services};

/// Who switched it on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    operator: String,
    /// Seconds since 1970.
    since: i64,
    reason: Option<String>,
}

/// Does what is asked, and says how each service stands that was asked for.
pub fn answer(paths: &Paths, request: &MaintenanceRequest) -> Result<Vec<Maintained>> {
    let manifest = manifests::live(paths)?;
    if let Some(name) = &request.service {
        manifests::live_service(paths, name)?;
    }
    let wanted = wanted(&manifest, request.service.as_deref())?;
    for (name, file) in &wanted {
        match request.set {
            Some(true) => {
                let mark = Mark {
                    operator: request.operator.clone(),
                    since: record::seconds(),
                    reason: request.reason.clone(),
                };
                files::make_directories(&paths.maintenance())?;
                files::replace_json(&mark_path(paths, name), &mark)?;
                // An activation may have made the folder of another instance by now.
                instances(paths, name)?.iter().try_for_each(|folder| touch(&folder.join(file)))?;
            }
            Some(false) => {
                files::remove(&mark_path(paths, name))?;
                instances(paths, name)?.iter().try_for_each(|folder| files::remove(&folder.join(file)))?;
            }
            None => {}
        }
    }
    let names: Vec<&ServiceName> = wanted.iter().map(|(name, _)| *name).collect();
    let mut all = list(paths, &manifest)?;
    all.retain(|found| names.iter().any(|name| name.as_str() == found.service));
    Ok(all)
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
        let on = exists(&paths.instance_dir(name, &service.instance).join(file))?;
        let mark: Option<Mark> = if on { files::read_json(&mark_path(paths, name))? } else { None };
        Ok(Maintained {
            service: name.to_string(),
            on,
            operator: mark.as_ref().map(|mark| mark.operator.clone()),
            since: mark.as_ref().map(|mark| mark.since),
            reason: mark.and_then(|mark| mark.reason),
        })
    };
    honouring(manifest).map(state).collect()
}

/// Puts the file into the folder of an instance that is about to start, if maintenance is on: by
/// our mark, or because somebody put the file into the folder that has the traffic.
pub fn place(paths: &Paths, manifest: &Manifest, name: &ServiceName) -> Result<()> {
    let Some(service) = manifest.services.get(name) else { return Ok(()) };
    let Some(file) = &service.maintenance else { return Ok(()) };
    let by_hand = || services::current(paths, name).map(|instance| paths.instance_dir(name, &instance).join(file));
    if exists(&mark_path(paths, name))? || by_hand().map_or(Ok(false), |path| exists(&path))? {
        touch(&paths.instance_dir(name, &service.instance).join(file))?;
    }
    Ok(())
}

fn mark_path(paths: &Paths, service: &ServiceName) -> PathBuf {
    paths.maintenance().join(format!("{service}.json"))
}

/// The folders of all instances of a service that there are.
fn instances(paths: &Paths, service: &ServiceName) -> Result<Vec<PathBuf>> {
    let folder = paths.service_dir(service);
    let entries = match fs::read_dir(&folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(file("cannot list", &folder))?,
    };
    let is_instance =
        |path: &PathBuf| path.file_name().and_then(|n| n.to_str()).is_some_and(|n| InstanceId::parse(n).is_ok());
    Ok(entries.flatten().map(|entry| entry.path()).filter(is_instance).collect())
}

fn touch(path: &std::path::Path) -> Result<()> {
    // An instance may go while we are at it.
    match fs::OpenOptions::new().create(true).append(true).open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map(drop).map_err(file("cannot write", path)),
    }
}

fn exists(path: &std::path::Path) -> Result<bool> {
    path.try_exists().map_err(file("cannot look for", path))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use serde_json::json;

    use super::*;

    fn manifest(command: &str) -> Manifest {
        let service = |image: &str, uid: u32| {
            json!({
                "rootfs": "/nix/store/1mdqa9w1p6cmli6976v4wi0sw9r4p5pr-x", "image": image, "command": ["/bin/x", command],
                "user": {"name": "x", "uid": uid, "gid": uid}, "listen": {"unix": true}
            })
        };
        let mut services = json!({ "proxy": service("proxy", 10002), "api": service("api", 10001) });
        services["proxy"]["maintenance"] = json!("maintenance");
        let spec = json!({
            "version": 1, "name": "h", "platform": "linux/amd64", "services": services,
            "agent": "/nix/store/0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-cairn-agent"
        });
        cairn_closure::render(&serde_json::from_value(spec).unwrap()).unwrap().manifest
    }

    /// A host with this manifest as its generation.
    fn commit(root: &Path, manifest: &Manifest, number: u32) -> Paths {
        let closure = format!("/nix/store/{number}mdqa9w1p6cmli6976v4wi0sw9r4p5pr-host");
        let below = |path: &str| root.join(path.trim_start_matches('/'));
        fs::create_dir_all(below(&closure)).unwrap();
        fs::write(below(&closure).join("closure.json"), serde_json::to_vec(manifest).unwrap()).unwrap();
        fs::create_dir_all(below("/nix/var/nix/profiles")).unwrap();
        let profile = below(cairn_closure::layout::PROFILE);
        files::point(&profile.with_file_name(format!("cairn-{number}-link")), Path::new(&closure)).unwrap();
        files::point(&profile, Path::new(&format!("cairn-{number}-link"))).unwrap();
        Paths::new(root)
    }

    fn request(service: Option<&str>, set: Option<bool>) -> MaintenanceRequest {
        MaintenanceRequest {
            service: service.map(str::to_owned),
            set,
            operator: "alice@desk".to_owned(),
            reason: Some("a move".to_owned()),
        }
    }

    #[test]
    fn it_stays_on_for_the_instance_that_comes_next() {
        let root = tempfile::tempdir().unwrap();
        let (old, new) = (manifest("one"), manifest("two"));
        let paths = commit(root.path(), &old, 1);
        let proxy = ServiceName::parse("proxy").unwrap();
        let folder = |manifest: &Manifest| {
            let folder = paths.instance_dir(&proxy, &manifest.services[&proxy].instance);
            fs::create_dir_all(&folder).unwrap();
            folder
        };
        let (before, after) = (folder(&old).join("maintenance"), folder(&new).join("maintenance"));
        assert!(!answer(&paths, &request(None, None)).unwrap()[0].on);
        place(&paths, &new, &proxy).unwrap();
        assert!(!after.exists());

        let on = answer(&paths, &request(Some("proxy"), Some(true))).unwrap();
        assert_eq!((on.len(), on[0].on, on[0].operator.as_deref()), (1, true, Some("alice@desk")));
        assert!(before.exists() && after.exists(), "one that is on trial has it as well");
        fs::remove_file(&after).unwrap();
        place(&paths, &new, &proxy).unwrap();
        assert!(after.exists());

        commit(root.path(), &new, 2);
        assert!(answer(&paths, &request(None, None)).unwrap()[0].on);
        assert!(!answer(&paths, &request(None, Some(false))).unwrap()[0].on);
        assert!(!before.exists() && !after.exists());
        place(&paths, &new, &proxy).unwrap();
        assert!(!after.exists());

        // By hand, as long as that instance has the traffic.
        services::set_current(&paths, &proxy, Some(&old.services[&proxy].instance)).unwrap();
        fs::write(&before, "").unwrap();
        place(&paths, &new, &proxy).unwrap();
        assert!(after.exists());
    }

    #[test]
    fn a_service_that_would_not_notice_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let paths = commit(root.path(), &manifest("one"), 1);
        for (service, said) in [("api", "does not say"), ("proxi", "no service `proxi`")] {
            let error = answer(&paths, &request(Some(service), Some(true))).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
            assert!(error.advice().is_some_and(|advice| advice.contains("proxy")), "{error:?}");
        }
    }
}
