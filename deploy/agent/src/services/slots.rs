//! Two places, `a` and `b`, that the instances of a service take in turn: for a proxy that keeps its
//! connections.
//!
//! Such a proxy has two pools of connections, one to `/run/cairn/SERVICE/a/N.sock` and one to `b`. The
//! live instance tells which one is to be used: in slot `b` there is a file `current/b`. So a rename of
//! `current` also moves what is kept, and whatever was kept to the old instance is not used again.

use std::io;
use std::path::Path;

use cairn_closure::{InstanceId, Manifest, ServiceName, layout};

use crate::error::{Result, file};
use crate::files;
use crate::paths::Paths;

/// Gives the instance a slot that the live instance does not have. It keeps the one that it has.
pub fn take(paths: &Paths, service: &ServiceName, instance: &InstanceId) -> Result<()> {
    let [a, b] = layout::SLOTS;
    if held(paths, service, instance).is_some() {
        return Ok(());
    }
    let slot = match super::current(paths, service) {
        Some(live) if live != *instance => {
            // One that has none is asked as if it had the first.
            let theirs = held(paths, service, &live).map_or_else(|| put(paths, service, &live, a).map(|()| a), Ok)?;
            if theirs == a { b } else { a }
        }
        _ => a,
    };
    put(paths, service, instance, slot)
}

fn held(paths: &Paths, service: &ServiceName, instance: &InstanceId) -> Option<&'static str> {
    let leads_there = |slot: &&str| {
        files::target(&paths.slot_link(service, slot)).is_some_and(|to| to == Path::new(instance.as_str()))
    };
    layout::SLOTS.into_iter().find(leads_there)
}

fn put(paths: &Paths, service: &ServiceName, instance: &InstanceId, slot: &str) -> Result<()> {
    let [_, b] = layout::SLOTS;
    match super::instance_folder(paths, service, instance)? {
        Some(folder) if slot == b => {
            folder.remove(b)?;
            folder.create(b, 0o644)?;
        }
        Some(folder) => folder.remove(b)?,
        None if slot == b => {
            let place = paths.service_dir(service).join(instance.as_str());
            return Err(file("cannot open the folder", &place)(io::ErrorKind::NotFound.into()));
        }
        None => {}
    }
    files::point(&paths.slot_link(service, slot), Path::new(instance.as_str()))
}

/// Removes the links to all instances but those of `keep`.
pub fn sweep(paths: &Paths, service: &ServiceName, keep: Option<&Manifest>) -> Result<()> {
    let kept = keep.and_then(|manifest| manifest.services.get(service));
    for slot in layout::SLOTS {
        let link = paths.slot_link(service, slot);
        if kept.is_none_or(|kept| held(paths, service, &kept.instance) != Some(slot)) {
            files::remove(&link)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use super::*;
    use crate::services::{current, set_current};

    struct Service {
        _root: tempfile::TempDir,
        paths: Paths,
        name: ServiceName,
    }

    impl Service {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            Self { paths: Paths::new(root.path()), name: ServiceName::parse("api").unwrap(), _root: root }
        }

        fn stage(&self, number: u32) -> InstanceId {
            let instance = InstanceId::parse(&format!("{number:012x}")).unwrap();
            fs::create_dir_all(self.paths.instance_dir(&self.name, &instance)).unwrap();
            take(&self.paths, &self.name, &instance).unwrap();
            instance
        }

        fn flip(&self, instance: &InstanceId) {
            set_current(&self.paths, &self.name, Some(instance)).unwrap();
        }

        /// As a proxy decides.
        fn asked(&self) -> InstanceId {
            let dir = self.paths.service_dir(&self.name);
            let slot = if dir.join("current/b").exists() { "b" } else { "a" };
            InstanceId::parse(fs::read_link(dir.join(slot)).unwrap().to_str().unwrap()).unwrap()
        }
    }

    #[test]
    fn the_live_instance_is_asked_and_the_next_has_the_other_slot() {
        let service = Service::new();
        let mut used = Vec::new();
        for number in 0..6 {
            let before = current(&service.paths, &service.name);
            let next = service.stage(number);
            if let Some(before) = before {
                assert_eq!(service.asked(), before, "staging moves nothing");
            }
            service.flip(&next);
            assert_eq!(service.asked(), next);
            used.push(held(&service.paths, &service.name, &next).unwrap());
        }
        assert_eq!(used, ["a", "b", "a", "b", "a", "b"]);
    }

    #[test]
    fn a_failed_instance_leaves_its_slot_to_the_next_and_a_staged_one_keeps_it() {
        let service = Service::new();
        let live = service.stage(1);
        service.flip(&live);
        for number in [2, 3, 3, 2] {
            let next = service.stage(number);
            assert_eq!(held(&service.paths, &service.name, &next), Some("b"));
            assert_eq!(service.asked(), live);
        }
    }

    #[test]
    fn one_that_had_the_other_slot_before_is_found_in_its_new_one() {
        let service = Service::new();
        for number in [1, 2, 3, 4, 2, 3] {
            let next = service.stage(number);
            service.flip(&next);
            assert_eq!(service.asked(), next);
        }
    }

    #[test]
    fn a_live_instance_without_a_slot_gets_the_first() {
        let service = Service::new();
        let live = InstanceId::parse("0000000000aa").unwrap();
        fs::create_dir_all(service.paths.instance_dir(&service.name, &live)).unwrap();
        service.flip(&live);
        let next = service.stage(1);
        assert_eq!(service.asked(), live);
        service.flip(&next);
        assert_eq!(service.asked(), next);
    }

    #[test]
    fn a_link_of_the_service_in_place_of_the_mark_is_not_followed() {
        let service = Service::new();
        let live = service.stage(1);
        service.flip(&live);
        let next = InstanceId::parse("000000000002").unwrap();
        let dir = service.paths.instance_dir(&service.name, &next);
        fs::create_dir_all(&dir).unwrap();
        let victim = service.paths.run_dir().join("victim");
        std::os::unix::fs::symlink(&victim, dir.join("b")).unwrap();
        take(&service.paths, &service.name, &next).unwrap();
        assert!(!victim.exists() && dir.join("b").symlink_metadata().unwrap().is_file());
    }
}
