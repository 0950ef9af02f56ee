//! A host as far as activations change it, and what must hold of it.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::resume_unwind;

use cairn_closure::{
    EtcPath, HostUnit, InstanceId, Manifest, ServiceName, StoreDir, SysctlName, System, UnitName, UserName,
};
use cairn_formats::{Sha256, StorePath};

use super::super::host::Side;
use super::super::plan::Plan;
use crate::error::{Fault, Result};

/// What happens at one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accident {
    /// It is not done, and says so.
    Fails,
    /// It is done, but reported as failed.
    FailsAfter,
    /// The process is killed before, or after it.
    Dies,
    DiesAfter,
    /// The power goes.
    Reboots,
}

/// Unwinds instead of the process's death.
pub struct Death;

#[derive(Default)]
pub struct World {
    pub closures: Vec<(StorePath, Manifest)>,
    /// Generations by number, as indexes of closures.
    pub generations: BTreeMap<u64, usize>,
    pub current_generation: Option<u64>,
    pub running: BTreeSet<UnitName>,
    pub milestones: BTreeSet<UnitName>,
    pub linked: BTreeSet<UnitName>,
    pub traffic: BTreeMap<ServiceName, InstanceId>,
    pub directories: BTreeSet<(ServiceName, InstanceId)>,
    /// The files that an instance may read again, and those that each process has read.
    pub live: BTreeMap<(ServiceName, InstanceId), StoreDir>,
    pub read: BTreeMap<UnitName, StoreDir>,
    /// The host itself; what its sshd, which every file is told to, has read; mounts and plain units
    /// that are up, and those that are linked, with their texts.
    pub etc: BTreeMap<EtcPath, Sha256>,
    pub read_by_sshd: BTreeMap<EtcPath, Sha256>,
    pub kernel: BTreeMap<SysctlName, String>,
    pub people: BTreeSet<UserName>,
    pub plain: BTreeMap<HostUnit, Sha256>,
    pub linked_plain: BTreeMap<HostUnit, Sha256>,
    pub neighbour: Neighbour,
    pub boots: u32,
    /// Operations until the next accident, and the accidents that are left.
    pub accidents: Vec<(u32, Accident)>,
}

/// A unit of the host in whose place generations come, once it is adopted.
#[derive(Default)]
pub struct Neighbour {
    pub adopted: bool,
    pub stopped: bool,
    /// It ran when it was replaced.
    pub ran: bool,
    pub from: Option<u64>,
}

impl Neighbour {
    pub fn is_replaced_by(&self, generation: Option<u64>) -> bool {
        self.from.is_some_and(|from| generation.is_some_and(|generation| generation >= from))
    }
}

impl World {
    pub fn manifest(&self, number: Option<u64>) -> Option<&Manifest> {
        Some(&self.closures[*self.generations.get(&number?)?].1)
    }

    /// Runs `operation` unless an accident comes in between.
    pub fn act(&mut self, operation: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let accident = match self.accidents.first_mut() {
            Some((0, accident)) => {
                let accident = *accident;
                self.accidents.remove(0);
                Some(accident)
            }
            Some((left, _)) => {
                *left -= 1;
                None
            }
            None => None,
        };
        match accident {
            Some(Accident::Fails) => return Err(Fault::new("an accident").into()),
            Some(Accident::Dies) => resume_unwind(Box::new(Death)),
            Some(Accident::Reboots) => {
                self.reboot();
                resume_unwind(Box::new(Death));
            }
            Some(Accident::FailsAfter | Accident::DiesAfter) | None => {}
        }
        let done = operation(self);
        self.expect_served_traffic();
        self.expect_one_database();
        match accident {
            Some(Accident::FailsAfter) => Err(Fault::new("an accident").into()),
            Some(Accident::DiesAfter) => resume_unwind(Box::new(Death)),
            _ => done,
        }
    }

    /// `/run` is empty; the generator emits what the profile says; the boot step and the units
    /// follow from it.
    fn reboot(&mut self) {
        self.boots += 1;
        self.linked.clear();
        self.running.clear();
        self.milestones.clear();
        self.traffic.clear();
        self.directories.clear();
        self.live.clear();
        self.read.clear();
        self.linked_plain.clear();
        // Masked by the generator, or started as ever.
        self.neighbour.stopped = self.neighbour.is_replaced_by(self.current_generation);
        let manifest = self.manifest(self.current_generation).cloned();
        let system = system_of(manifest.as_ref());
        self.kernel = system.sysctl.clone();
        self.people = system.users.keys().cloned().collect();
        self.etc = files_of(&system);
        self.read_by_sshd = self.etc.clone();
        self.plain = lasting_of(&system);
        self.milestones.extend(manifest.iter().flat_map(Manifest::milestones).cloned());
        for (name, service) in manifest.iter().flat_map(|manifest| &manifest.services) {
            self.directories.insert((name.clone(), service.instance.clone()));
            self.running.extend(instances(service));
            if let Some(reload) = &service.reload {
                self.live.insert((name.clone(), service.instance.clone()), reload.files.clone());
                self.read.extend(service.replicas.iter().map(|r| (r.unit.clone(), reload.files.clone())));
            }
            if service.has_unix_sockets() {
                self.traffic.insert(name.clone(), service.instance.clone());
            }
        }
    }

    /// At most one version of the database has the data.
    fn expect_one_database(&self) {
        let databases: Vec<_> = self.running.iter().filter(|unit| unit.as_str().starts_with("cairn-db-")).collect();
        assert!(databases.len() < 2, "two databases on one folder: {databases:?}");
    }

    /// Each `current` link leads to an instance whose replicas run: all those that one of the
    /// closures gives it.
    fn expect_served_traffic(&self) {
        for (name, instance) in &self.traffic {
            let served = self.closures.iter().any(|(_, manifest)| {
                manifest.services.get(name).is_some_and(|service| {
                    service.instance == *instance && service.replicas.iter().all(|r| self.running.contains(&r.unit))
                })
            });
            assert!(served, "traffic of {name} goes to {instance}, which does not run");
        }
    }

    /// A process that starts reads what lies there, which must be something.
    pub fn starts_reading(&mut self, unit: &UnitName) {
        let services = self.closures.iter().flat_map(|(_, manifest)| &manifest.services);
        let mut owners = services.filter(|(_, service)| service.replicas.iter().any(|r| r.unit == *unit));
        if let Some((name, service)) = owners.find(|(_, service)| service.reload.is_some()) {
            let files = self.live.get(&(name.clone(), service.instance.clone()));
            self.read.insert(unit.clone(), files.expect("the files of an instance that starts").clone());
        }
    }

    pub fn forget_above(&mut self, last: u64) {
        let current = self.current_generation;
        self.generations.retain(|number, _| *number <= last || Some(*number) == current);
    }

    /// The host runs the current generation, all of it and nothing else.
    pub fn expect_whole(&self) {
        let manifest = self.manifest(self.current_generation);
        let system = system_of(manifest);
        assert_eq!(self.etc, files_of(&system), "files below /etc");
        assert_eq!(self.read_by_sshd, self.etc, "what sshd has read");
        assert_eq!(self.kernel, system.sysctl, "kernel settings");
        assert_eq!(self.people, system.users.keys().cloned().collect(), "people");
        assert_eq!(self.plain, lasting_of(&system), "mounts and plain units");
        assert_eq!(self.linked_plain, BTreeMap::new(), "plain units in the runtime directory");
        let services = || manifest.iter().flat_map(|manifest| &manifest.services);
        let running: BTreeSet<UnitName> = services().flat_map(|(_, s)| instances(s)).collect();
        assert_eq!(self.running, running, "running units");
        assert_eq!(self.linked, BTreeSet::new(), "units in the runtime directory");
        let milestones = manifest.iter().flat_map(|manifest| manifest.milestones()).cloned();
        assert_eq!(self.milestones, milestones.collect(), "units that stand for others");
        let replaced = self.neighbour.is_replaced_by(self.current_generation);
        assert_eq!(self.neighbour.stopped, replaced, "the unit of the host");
        let traffic: BTreeMap<ServiceName, InstanceId> = services()
            .filter(|(_, service)| service.has_unix_sockets())
            .map(|(name, service)| (name.clone(), service.instance.clone()))
            .collect();
        assert_eq!(self.traffic, traffic, "traffic");
        let directories = services().map(|(name, s)| (name.clone(), s.instance.clone()));
        assert_eq!(self.directories, directories.collect(), "directories");
        let reloads = || services().filter_map(|(name, s)| Some((name, s, &s.reload.as_ref()?.files)));
        let live = reloads().map(|(name, s, files)| ((name.clone(), s.instance.clone()), files.clone()));
        assert_eq!(self.live, live.collect(), "files that may be read again");
        for (_, service, files) in reloads() {
            for replica in &service.replicas {
                assert_eq!(self.read.get(&replica.unit), Some(files), "what {} has read", replica.unit);
            }
        }
    }
}

pub fn instances(service: &cairn_closure::Service) -> impl Iterator<Item = UnitName> {
    let replicas = service.replicas.iter().map(|replica| replica.unit.clone());
    replicas.chain(service.sockets.iter().map(|socket| socket.unit.clone()))
}

pub fn system_of(manifest: Option<&Manifest>) -> System {
    manifest.map(|manifest| manifest.system.clone()).unwrap_or_default()
}

pub fn files_of(system: &System) -> BTreeMap<EtcPath, Sha256> {
    system.etc.iter().map(|(path, file)| (path.clone(), file.hash)).collect()
}

pub fn lasting_of(system: &System) -> BTreeMap<HostUnit, Sha256> {
    system.units.iter().filter(|(_, unit)| unit.start).map(|(name, unit)| (name.clone(), unit.hash)).collect()
}

pub fn sides(plan: &Plan, side: Side) -> [System; 2] {
    let [new, old] = [system_of(Some(&plan.new)), system_of(plan.old.as_ref())];
    match side {
        Side::New => [new, old],
        Side::Old => [old, new],
    }
}

pub fn differing(here: &System, there: &System) -> BTreeMap<HostUnit, Sha256> {
    let differs = |name: &HostUnit, hash: &Sha256| there.units.get(name).is_none_or(|unit| unit.hash != *hash);
    here.units.iter().map(|(name, unit)| (name.clone(), unit.hash)).filter(|(name, hash)| differs(name, hash)).collect()
}
