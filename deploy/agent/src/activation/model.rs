//! The promise of an activation, on a model of a host: whatever fails, dies or reboots between
//! any two operations, the host ends with exactly one whole generation, and traffic never goes
//! to an instance that is not running.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

use cairn_closure::{
    EtcPath, HostSpec, HostUnit, InstanceId, Manifest, ServiceName, StoreDir, SysctlName, System, UnitName, User,
    UserName, render,
};
use cairn_formats::{Sha256, StorePath};
use cairn_protocol::{ActivationId, ActivationRequest, Goal};
use proptest::prelude::*;
use serde_json::json;

use super::drive::{Drive, end, pick_up};
use super::host::{Ask, Host, Side};
use super::machine::Phase;
use super::plan::Plan;
use super::record::{Before, Record};
use crate::error::{Fault, Result};
use crate::paths::Paths;

/// What happens at one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Accident {
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
struct Death;

#[derive(Default)]
struct World {
    closures: Vec<(StorePath, Manifest)>,
    /// Generations by number, as indexes of closures.
    generations: BTreeMap<u64, usize>,
    current_generation: Option<u64>,
    running: BTreeSet<UnitName>,
    milestones: BTreeSet<UnitName>,
    linked: BTreeSet<UnitName>,
    traffic: BTreeMap<ServiceName, InstanceId>,
    directories: BTreeSet<(ServiceName, InstanceId)>,
    /// The files that an instance may read again, and those that each process has read.
    live: BTreeMap<(ServiceName, InstanceId), StoreDir>,
    read: BTreeMap<UnitName, StoreDir>,
    /// The host itself; what its sshd, which every file is told to, has read; mounts and plain units
    /// that are up, and those that are linked, with their texts.
    etc: BTreeMap<EtcPath, Sha256>,
    read_by_sshd: BTreeMap<EtcPath, Sha256>,
    kernel: BTreeMap<SysctlName, String>,
    people: BTreeSet<UserName>,
    plain: BTreeMap<HostUnit, Sha256>,
    linked_plain: BTreeMap<HostUnit, Sha256>,
    neighbour: Neighbour,
    boots: u32,
    /// Operations until the next accident, and the accidents that are left.
    accidents: Vec<(u32, Accident)>,
}

/// A unit of the host in whose place generations come, once it is adopted.
#[derive(Default)]
struct Neighbour {
    adopted: bool,
    stopped: bool,
    /// It ran when it was replaced.
    ran: bool,
    from: Option<u64>,
}

impl Neighbour {
    fn is_replaced_by(&self, generation: Option<u64>) -> bool {
        self.from.is_some_and(|from| generation.is_some_and(|generation| generation >= from))
    }
}

impl World {
    fn manifest(&self, number: Option<u64>) -> Option<&Manifest> {
        Some(&self.closures[*self.generations.get(&number?)?].1)
    }

    /// Runs `operation` unless an accident comes in between.
    fn act(&mut self, operation: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
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
    fn starts_reading(&mut self, unit: &UnitName) {
        let services = self.closures.iter().flat_map(|(_, manifest)| &manifest.services);
        let mut owners = services.filter(|(_, service)| service.replicas.iter().any(|r| r.unit == *unit));
        if let Some((name, service)) = owners.find(|(_, service)| service.reload.is_some()) {
            let files = self.live.get(&(name.clone(), service.instance.clone()));
            self.read.insert(unit.clone(), files.expect("the files of an instance that starts").clone());
        }
    }

    fn forget_above(&mut self, last: u64) {
        let current = self.current_generation;
        self.generations.retain(|number, _| *number <= last || Some(*number) == current);
    }

    /// The host runs the current generation, all of it and nothing else.
    fn expect_whole(&self) {
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

fn instances(service: &cairn_closure::Service) -> impl Iterator<Item = UnitName> {
    let replicas = service.replicas.iter().map(|replica| replica.unit.clone());
    replicas.chain(service.sockets.iter().map(|socket| socket.unit.clone()))
}

fn system_of(manifest: Option<&Manifest>) -> System {
    manifest.map(|manifest| manifest.system.clone()).unwrap_or_default()
}

fn files_of(system: &System) -> BTreeMap<EtcPath, Sha256> {
    system.etc.iter().map(|(path, file)| (path.clone(), file.hash)).collect()
}

fn lasting_of(system: &System) -> BTreeMap<HostUnit, Sha256> {
    system.units.iter().filter(|(_, unit)| unit.start).map(|(name, unit)| (name.clone(), unit.hash)).collect()
}

fn sides(plan: &Plan, side: Side) -> [System; 2] {
    let [new, old] = [system_of(Some(&plan.new)), system_of(plan.old.as_ref())];
    match side {
        Side::New => [new, old],
        Side::Old => [old, new],
    }
}

fn differing(here: &System, there: &System) -> BTreeMap<HostUnit, Sha256> {
    let differs = |name: &HostUnit, hash: &Sha256| there.units.get(name).is_none_or(|unit| unit.hash != *hash);
    here.units.iter().map(|(name, unit)| (name.clone(), unit.hash)).filter(|(name, hash)| differs(name, hash)).collect()
}

/// The host as one activation sees it.
struct ModelHost<'a> {
    world: &'a mut World,
    record: Record,
}

impl Host for ModelHost<'_> {
    fn preflight(&mut self, _: &Plan) -> Result<()> {
        self.world.act(|_| Ok(()))
    }

    fn place_secrets(&mut self, _: &Plan) -> Result<()> {
        self.world.act(|_| Ok(()))
    }

    fn sweep_secrets(&mut self, _: Option<&Manifest>) -> Result<()> {
        self.world.act(|_| Ok(()))
    }

    fn ensure_state(&mut self, _: &Plan) -> Result<()> {
        self.world.act(|_| Ok(()))
    }

    fn ensure_users(&mut self, _: &Plan) -> Result<()> {
        self.world.act(|_| Ok(()))
    }

    fn make_directory(&mut self, service: &ServiceName, instance: &InstanceId, _: &User) -> Result<()> {
        self.world.act(|world| {
            world.directories.insert((service.clone(), instance.clone()));
            Ok(())
        })
    }

    /// Slots have tests of their own.
    fn take_slot(&mut self, _: &ServiceName, _: &InstanceId) -> Result<()> {
        self.world.act(|_| Ok(()))
    }

    fn place_live(&mut self, manifest: &Manifest, service: &ServiceName) -> Result<()> {
        self.world.act(|world| {
            let found = &manifest.services[service];
            if let Some(reload) = &found.reload {
                world.live.insert((service.clone(), found.instance.clone()), reload.files.clone());
            }
            Ok(())
        })
    }

    fn tell_to_reload(&mut self, manifest: &Manifest, service: &ServiceName) -> Result<()> {
        self.world.act(|world| {
            let found = &manifest.services[service];
            let files = world.live[&(service.clone(), found.instance.clone())].clone();
            for replica in found.replicas.iter().filter(|r| world.running.contains(&r.unit)) {
                world.read.insert(replica.unit.clone(), files.clone());
            }
            Ok(())
        })
    }

    fn sweep_directories(&mut self, keep: Option<&Manifest>) -> Result<()> {
        self.world.act(|world| {
            world.directories.retain(|(name, instance)| {
                let kept = keep.and_then(|manifest| manifest.services.get(name));
                kept.is_some_and(|kept| kept.instance == *instance)
            });
            let directories = &world.directories;
            world.live.retain(|instance, _| directories.contains(instance));
            Ok(())
        })
    }

    fn link(&mut self, _: Side, units: &[UnitName]) -> Result<()> {
        for unit in units {
            self.world.act(|world| {
                world.linked.insert(unit.clone());
                Ok(())
            })?;
        }
        Ok(())
    }

    fn link_system(&mut self, plan: &Plan, side: Side) -> Result<()> {
        let [here, there] = sides(plan, side);
        self.world.act(|world| {
            world.linked_plain.extend(differing(&here, &there));
            if side == Side::New {
                let retiring = there.units.iter().filter(|(name, _)| !here.units.contains_key(*name));
                world.linked_plain.extend(retiring.map(|(name, unit)| (name.clone(), unit.hash)));
            }
            Ok(())
        })
    }

    fn ensure_people(&mut self, plan: &Plan, side: Side) -> Result<()> {
        let [here, _] = sides(plan, side);
        self.world.act(|world| {
            world.people.extend(here.users.keys().cloned());
            Ok(())
        })
    }

    fn set_kernel(&mut self, plan: &Plan, side: Side) -> Result<()> {
        let [here, _] = sides(plan, side);
        self.world.act(|world| {
            world.kernel = here.sysctl;
            Ok(())
        })
    }

    fn place_etc(&mut self, plan: &Plan, side: Side) -> Result<()> {
        let [here, _] = sides(plan, side);
        self.world.act(|world| {
            world.etc = files_of(&here);
            Ok(())
        })
    }

    fn start_system(&mut self, plan: &Plan, side: Side) -> Result<()> {
        let [here, there] = sides(plan, side);
        for (name, _) in differing(&here, &there).into_iter().filter(|(name, _)| here.units[name].start) {
            self.world.act(|world| {
                let emitted = system_of(world.manifest(world.current_generation));
                let emitted = emitted.units.get(&name).map(|unit| unit.hash);
                let text = world.linked_plain.get(&name).copied().or(emitted);
                world.plain.insert(name.clone(), text.expect("a text that systemd knows"));
                Ok(())
            })?;
        }
        Ok(())
    }

    fn tell_system(&mut self, plan: &Plan, side: Side) -> Result<()> {
        let [here, there] = sides(plan, side);
        let (reload, _) = here.listeners(&there);
        self.world.act(|world| {
            if !reload.is_empty() {
                world.read_by_sshd = world.etc.clone();
            }
            Ok(())
        })
    }

    fn sweep_system(&mut self, keep: Option<&Manifest>) -> Result<()> {
        let kept = system_of(keep);
        self.world.act(|world| {
            world.plain.retain(|name, _| kept.units.contains_key(name));
            Ok(())
        })
    }

    fn sweep_people(&mut self, keep: Option<&Manifest>) -> Result<()> {
        let kept = system_of(keep);
        self.world.act(|world| {
            world.people.retain(|name| kept.users.contains_key(name));
            Ok(())
        })
    }

    fn unlink_all(&mut self) -> Result<()> {
        self.world.act(|world| {
            world.linked_plain.clear();
            world.linked.clear();
            Ok(())
        })
    }

    fn reload(&mut self) -> Result<()> {
        self.world.act(|_| Ok(()))
    }

    fn expect_loaded(&mut self, units: &[UnitName]) -> Result<()> {
        self.world.act(|world| {
            assert!(units.iter().all(|unit| world.linked.contains(unit)));
            Ok(())
        })
    }

    fn replace_adopted(&mut self) -> Result<()> {
        let (number, claims) = (self.record.number(), self.record.request.goal.adds_a_generation());
        self.world.act(|world| {
            let unit = &mut world.neighbour;
            if claims && unit.adopted && unit.from.is_none() {
                unit.from = Some(number);
            }
            if unit.is_replaced_by(Some(number)) && !unit.stopped {
                (unit.ran, unit.stopped) = (true, true);
            }
            Ok(())
        })
    }

    fn give_back_adopted(&mut self, side: Side) -> Result<()> {
        let (generation, last) = match side {
            Side::New => (Some(self.record.number()), None),
            Side::Old => (self.record.before.as_ref().map(|b| b.generation), Some(self.record.last_number)),
        };
        self.world.act(|world| {
            let unit = &mut world.neighbour;
            if !unit.is_replaced_by(generation) {
                unit.stopped &= !unit.ran;
                unit.ran = false;
                unit.from = unit.from.filter(|from| last.is_none_or(|last| *from <= last));
            }
            Ok(())
        })
    }

    fn start(&mut self, units: &[UnitName]) -> Result<()> {
        for unit in units {
            self.world.act(|world| {
                let emitted = world.manifest(world.current_generation);
                let known =
                    world.linked.contains(unit) || emitted.is_some_and(|manifest| manifest.all_units().contains(unit));
                assert!(known, "systemd does not know {unit}");
                if world.running.insert(unit.clone()) {
                    world.starts_reading(unit);
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    fn stop(&mut self, units: &[UnitName]) -> Result<()> {
        for unit in units {
            self.world.act(|world| {
                world.running.remove(unit);
                world.milestones.remove(unit);
                Ok(())
            })?;
        }
        Ok(())
    }

    fn mark(&mut self, milestones: &[UnitName]) -> Result<()> {
        self.world.act(|world| {
            let emitted = world.manifest(world.current_generation).unwrap();
            assert!(milestones.iter().all(|unit| emitted.all_units().contains(unit)), "systemd does not know them");
            world.milestones.extend(milestones.iter().cloned());
            Ok(())
        })
    }

    fn let_checks_through(&mut self, _: &Plan, _: bool) -> Result<()> {
        self.world.act(|_| Ok(()))
    }

    fn run(&mut self, service: &ServiceName, unit: &UnitName) -> Result<()> {
        self.world.act(|world| {
            let emitted = world.manifest(world.current_generation);
            let known =
                world.linked.contains(unit) || emitted.is_some_and(|manifest| manifest.all_units().contains(unit));
            assert!(known, "systemd does not know {unit}");
            // The task of the model needs its database.
            let served = service.as_str() != "migrate" || world.traffic.contains_key("db");
            assert!(served, "{service} runs before what it needs");
            Ok(())
        })
    }

    fn strays(&mut self, keep: Option<&Manifest>) -> Result<Vec<UnitName>> {
        self.world.act(|_| Ok(()))?;
        let kept = keep.map(Manifest::all_units).unwrap_or_default();
        let targets = self.world.milestones.iter().filter(|unit| unit.is_target_of_service());
        let up = self.world.running.iter().chain(targets);
        Ok(up.filter(|unit| !kept.contains(unit)).cloned().collect())
    }

    fn expect_healthy(&mut self, plan: &Plan, asks: &[Ask<'_>]) -> Result<()> {
        self.world.act(|world| {
            for ask in asks {
                let manifest = match ask.side {
                    Side::Old => plan.old.as_ref().unwrap(),
                    Side::New => &plan.new,
                };
                for replica in &manifest.services[ask.service].replicas {
                    if ask.units.is_none_or(|units| units.contains(&replica.unit)) {
                        assert!(world.running.contains(&replica.unit), "{}", replica.unit);
                    }
                }
            }
            Ok(())
        })
    }

    fn current(&self, service: &ServiceName) -> Option<InstanceId> {
        self.world.traffic.get(service).cloned()
    }

    fn set_current(&mut self, service: &ServiceName, instance: Option<&InstanceId>) -> Result<()> {
        self.world.act(|world| {
            match instance {
                Some(instance) => world.traffic.insert(service.clone(), instance.clone()),
                None => world.traffic.remove(service),
            };
            Ok(())
        })
    }

    fn drain(&mut self, _: &Plan, _: Side, _: &[UnitName]) -> Result<()> {
        self.world.act(|_| Ok(()))
    }

    fn await_confirmation(&mut self) -> Result<()> {
        self.world.act(|_| Ok(()))
    }

    fn commit(&mut self) -> Result<()> {
        let number = match self.record.request.goal {
            Goal::Switch => {
                let mut number = 0;
                let closure = self.record.request.closure.clone();
                self.world.act(|world| {
                    number = world.generations.keys().last().map_or(1, |last| last + 1);
                    let index = world.closures.iter().position(|(path, _)| *path == closure);
                    world.generations.insert(number, index.unwrap());
                    Ok(())
                })?;
                number
            }
            Goal::Rollback { to } => to,
        };
        self.world.act(|world| {
            world.current_generation = Some(number);
            Ok(())
        })
    }

    fn is_committed(&self) -> Result<bool> {
        Ok(is_committed(self.world, &self.record))
    }

    fn forget_uncommitted(&mut self) -> Result<()> {
        let last = self.record.last_number;
        self.world.act(|world| {
            world.forget_above(last);
            Ok(())
        })
    }
}

fn is_committed(world: &World, record: &Record) -> bool {
    let current = world.current_generation.map(|number| {
        let closure = &world.closures[world.generations[&number]].0;
        (number, closure)
    });
    record.is_committed_by(current)
}

/// One activation, with the accidents that the world has in store, and whoever picks it up, until
/// it has ended well or was taken back.
fn activate(world: &mut World, paths: &Paths, number: u32, closure: usize, goal: Goal) -> Record {
    let before = world
        .current_generation
        .map(|generation| Before { generation, closure: world.closures[world.generations[&generation]].0.clone() });
    let old = world.manifest(world.current_generation).cloned();
    let (path, new) = world.closures[closure].clone();
    let plan = match goal {
        Goal::Switch => Plan::between(old, new),
        Goal::Rollback { .. } => Plan::between(old, new).without_tasks(),
    };
    let id = ActivationId::parse(&format!("{number:05}")).unwrap();
    std::fs::create_dir_all(paths.activation(&id)).unwrap();
    let mut record = Record {
        version: Record::VERSION,
        id: id.clone(),
        request: ActivationRequest {
            closure: path,
            goal,
            operator: "test".to_owned(),
            reason: None,
            confirm_within: 1,
            source: None,
            expected: None,
            retention: None,
        },
        last_number: world.generations.keys().last().copied().unwrap_or(0),
        before,
        phase: Phase::Queued,
        boot_id: world.boots.to_string(),
        began: 0,
        changes: None,
        problem: None,
        outcome: None,
    };
    record.save(paths).unwrap();
    loop {
        let attempt = catch_unwind(AssertUnwindSafe(|| {
            let current = world.current_generation;
            let mut host = ModelHost { record: record.clone(), world };
            let drive = Drive { paths, record: record.clone(), plan: &plan, host: &mut host, generation: &|| current };
            drive.to_the_end().unwrap();
        }));
        if let Err(payload) = attempt
            && payload.downcast_ref::<Death>().is_none()
        {
            resume_unwind(payload);
        }
        record = Record::load(paths, &id).unwrap();
        if record.phase.has_ended() && record.phase != Phase::Broken {
            return record;
        }
        let same_boot = record.boot_id == world.boots.to_string();
        record = pick_up(record.clone(), same_boot, is_committed(world, &record));
        if record.phase.has_ended() {
            world.forget_above(record.last_number);
            end(paths, &mut record, world.current_generation).unwrap();
            return record;
        }
        record.save(paths).unwrap();
    }
}

/// Closures that differ in each way that matters: text, replicas, services, addresses.
fn closures() -> Vec<(StorePath, Manifest)> {
    let api = |text: &str, replicas: u32| {
        json!({
            "rootfs": "/nix/store/1mdqa9w1p6cmli6976v4wi0sw9r4p5pr-api", "image": "api",
            "replicas": replicas, "command": ["/bin/api", text],
            "user": {"name": "app", "uid": 10001, "gid": 10001}, "listen": {"unix": true}
        })
    };
    let proxy = |text: &str, port: u16| {
        json!({
            "rootfs": "/nix/store/2mdqa9w1p6cmli6976v4wi0sw9r4p5pr-proxy", "image": "proxy",
            "command": ["/bin/proxy", text], "upstreams": ["api"],
            "user": {"name": "proxy", "uid": 10002, "gid": 10002},
            "listen": {"tcp": [format!("0.0.0.0:{port}")]}
        })
    };
    // What only one process may have, and what runs to its end.
    let db = |text: &str, files: u32| {
        json!({
            "rootfs": "/nix/store/3mdqa9w1p6cmli6976v4wi0sw9r4p5pr-db", "image": "db",
            "command": ["/bin/db", text], "state": {"data": "/data"}, "replace": "restart",
            "user": {"name": "db", "uid": 10003, "gid": 10003}, "listen": {"unix": true},
            "reload": { "files": format!("/nix/store/{files}mdqa9w1p6cmli6976v4wi0sw9r4p5pr-db-live") }
        })
    };
    let job = |text: &str, kind: serde_json::Value, after: &str| {
        json!({
            "rootfs": "/nix/store/1mdqa9w1p6cmli6976v4wi0sw9r4p5pr-api", "image": "api", "kind": kind,
            "command": ["/bin/api", text], "after": [after],
            "user": {"name": "app", "uid": 10001, "gid": 10001}
        })
    };
    let task = |text: &str| job(text, json!({"type": "task"}), "db");
    let check = || job("check", json!({"type": "check"}), "db");
    let timer = |text: &str| job(text, json!({"type": "timer", "calendar": "daily"}), "db");
    [
        json!({"api": api("one", 2), "proxy": proxy("one", 80), "db": db("one", 1), "migrate": task("one")}),
        json!({"api": api("two", 2), "proxy": proxy("one", 80), "db": db("one", 2), "migrate": task("two"),
               "tidy": timer("one"), "smoke": check()}),
        json!({"api": api("two", 3), "proxy": proxy("two", 81), "db": db("two", 1), "tidy": timer("two")}),
        json!({"api": api("one", 1), "db": db("two", 2), "migrate": task("two"), "smoke": check()}),
        json!({}),
    ]
    .into_iter()
    .zip(systems())
    .enumerate()
    .map(|(index, (services, system))| {
        let spec: HostSpec = serde_json::from_value(json!({
            "version": 1, "name": "model", "platform": "linux/amd64",
            "agent": "/nix/store/0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-cairn-agent",
            "services": services, "system": system
        }))
        .unwrap();
        let path = StorePath::parse(&format!("{index}mdqa9w1p6cmli6976v4wi0sw9r4p5pr-host"));
        (path.unwrap(), render(&spec).unwrap().manifest)
    })
    .collect()
}

/// Beside them, the host itself: files that come, change and go, as all else of it.
fn systems() -> [serde_json::Value; 5] {
    let file = |text: &str| json!({"text": text, "mode": 0o644, "reload": ["ssh.service"]});
    let alice = |shell: &str| json!({"uid": 2001, "shell": shell});
    let mount = |options: &str| json!({"what": "tmpfs", "type": "tmpfs", "options": [options]});
    let timer = |text: &str| json!({"text": text, "start": true});
    [
        json!({}),
        json!({"etc": {"ssh/a.conf": file("one"), "motd": file("one")}, "sysctl": {"a.b": "1"},
               "users": {"alice": alice("/bin/sh")}, "mounts": {"/srv/data": mount("ro")},
               "units": {"x.timer": timer("one"), "x.service": {"text": "one", "start": false}}}),
        json!({"etc": {"ssh/a.conf": file("two")}, "sysctl": {"a.b": "2", "a.c": "1"},
               "users": {"alice": alice("/bin/bash"), "bob": {"uid": 2002, "shell": "/bin/sh"}},
               "mounts": {"/srv/data": mount("rw")}, "units": {"x.timer": timer("two")}}),
        json!({"etc": {"motd": file("two")}, "users": {"bob": {"uid": 2002, "shell": "/bin/sh"}}}),
        json!({"etc": {"ssh/a.conf": file("one")}, "sysctl": {"a.c": "3"}}),
    ]
}

/// In memory where there is such a place: every phase syncs its record.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

fn accident() -> impl Strategy<Value = Accident> {
    prop_oneof![
        Just(Accident::Fails),
        Just(Accident::FailsAfter),
        Just(Accident::Dies),
        Just(Accident::DiesAfter),
        Just(Accident::Reboots),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn every_course_ends_with_one_whole_generation(
        courses in prop::collection::vec(
            (0..5_usize, any::<bool>(), prop::collection::vec((0..80_u32, accident()), 0..4)),
            1..6,
        ),
        adopted in 0..5_u32,
    ) {
        let root = scratch();
        let paths = Paths::new(root.path());
        let mut world = World { closures: closures(), ..World::default() };
        for (number, (closure, back, accidents)) in (1..).zip(courses) {
            let before = world.current_generation;
            let earlier = world.generations.keys().rfind(|n| Some(**n) < before).copied();
            let (closure, goal) = match earlier {
                Some(to) if back => (world.generations[&to], Goal::Rollback { to }),
                _ => (closure, Goal::Switch),
            };
            world.accidents = accidents;
            world.neighbour.adopted = number > adopted;
            let record = activate(&mut world, &paths, number, closure, goal);
            world.accidents.clear();
            match record.phase {
                Phase::Committed => prop_assert!(is_committed(&world, &record)),
                _ => prop_assert_eq!(world.current_generation, before),
            }
            let kept = world.generations.keys().last().copied().unwrap_or(0);
            prop_assert!(kept <= record.last_number || Some(kept) == world.current_generation);
            if record.phase == Phase::Committed && record.problem.is_some() {
                // Live, but something of the old generation was left over: the next activation
                // takes it away.
                let record = activate(&mut world, &paths, 1000 + number, (closure + 1) % 5, Goal::Switch);
                prop_assert_eq!(record.phase, Phase::Committed);
            }
            world.expect_whole();
        }
    }
}

#[test]
fn a_first_activation_that_fails_leaves_nothing() {
    let root = scratch();
    let paths = Paths::new(root.path());
    for at in 0..90 {
        let mut world = World { closures: closures(), accidents: vec![(at, Accident::Fails)], ..World::default() };
        let record = activate(&mut world, &paths, at, 1, Goal::Switch);
        if record.phase == Phase::Reverted {
            assert_eq!(world.generations, BTreeMap::new(), "at {at}");
            assert_eq!(world.running, BTreeSet::new(), "at {at}");
            assert!(world.etc.is_empty() && world.people.is_empty() && world.plain.is_empty(), "at {at}");
            world.expect_whole();
        }
    }
}
