//! What has to be done to get from one closure to another: pure, and the same for the process
//! that activates and the one that picks up its pieces.

use std::collections::{BTreeMap, BTreeSet};

use cairn_closure::{InstanceId, Kind, Manifest, Replace, Service, ServiceName, System, UnitName};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub old: Option<Manifest>,
    pub new: Manifest,
    /// Socket units that only the new closure has.
    pub new_sockets: Vec<UnitName>,
    /// Services with units to start, in groups that wait for each other.
    pub starts: Vec<Vec<Start>>,
    /// Services that go on running and read their configuration again.
    pub reloads: Vec<ServiceName>,
    /// Services whose traffic moves.
    pub flips: Vec<Flip>,
    /// Units that only the old closure has: stopped after the commit.
    pub retired: Vec<UnitName>,
    pub retired_sockets: Vec<UnitName>,
    /// Instances that only the new closure has.
    pub new_instances: Vec<(ServiceName, InstanceId)>,
    /// What runs to its end and is linked for the trial: of the new closure alone, of the old alone.
    pub new_jobs: Vec<UnitName>,
    pub retired_jobs: Vec<UnitName>,
    /// Run before the commit, once traffic has moved.
    pub checks: Vec<(ServiceName, UnitName)>,
    /// Whether tasks run. Not on the way back: an earlier version of a task knows nothing of what
    /// a later one did.
    pub with_tasks: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    pub service: ServiceName,
    pub units: Vec<UnitName>,
    /// Nothing else may run of this service: it has what only one process may have.
    pub alone: bool,
    /// Replicas of the old closure that must have stopped before.
    pub stops: Vec<UnitName>,
    /// Runs to its end when the units of its group are healthy.
    pub task: Option<UnitName>,
}

impl Start {
    /// Whether the old version had to stop for the new one.
    pub fn takes_over(&self) -> bool {
        !self.stops.is_empty()
    }
}

/// The `current` link of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flip {
    pub service: ServiceName,
    pub from: Option<InstanceId>,
    pub to: Option<InstanceId>,
}

impl Plan {
    pub fn between(old: Option<Manifest>, new: Manifest) -> Self {
        let empty = Manifest { services: [].into(), order: Vec::new(), system: System::default(), ..new.clone() };
        let before = old.as_ref().unwrap_or(&empty);
        let starts = new
            .order
            .iter()
            .map(|group| group.iter().filter_map(|s| start(before, &new, s)).collect())
            .filter(|group: &Vec<Start>| !group.is_empty())
            .collect();
        Self {
            new_sockets: sockets_only_in(&new, before),
            retired_sockets: sockets_only_in(before, &new),
            retired: replicas_only_in(before, &new),
            new_instances: instances_only_in(&new, before),
            new_jobs: jobs_only_in(&new, before),
            retired_jobs: jobs_only_in(before, &new),
            reloads: reloads(before, &new),
            checks: checks(&new),
            with_tasks: true,
            flips: flips(before, &new),
            starts,
            old,
            new,
        }
    }

    #[must_use]
    pub fn without_tasks(self) -> Self {
        Self { with_tasks: false, ..self }
    }

    /// Services whose old version stops before the new one starts.
    pub fn takeovers(&self) -> impl Iterator<Item = &Start> {
        self.starts.iter().flatten().filter(|start| start.takes_over())
    }

    /// Replicas that only the new closure has.
    pub fn started(&self) -> Vec<UnitName> {
        let groups = self.starts.iter().flatten();
        groups.flat_map(|start| start.units.iter().cloned()).collect()
    }

    /// Services that are new or run otherwise than before.
    pub fn changed(&self) -> BTreeSet<&ServiceName> {
        let started = self.starts.iter().flatten().map(|start| &start.service);
        let flipped = self.flips.iter().map(|flip| &flip.service);
        started.chain(flipped).chain(&self.reloads).collect()
    }

    /// The service that each replica and socket belongs to, of both closures.
    pub fn owners(&self) -> BTreeMap<UnitName, ServiceName> {
        let manifests = self.old.iter().chain([&self.new]);
        manifests
            .flat_map(|manifest| &manifest.services)
            .flat_map(|(name, service)| service.units().map(|unit| (unit.clone(), name.clone())))
            .collect()
    }
}

fn start(old: &Manifest, new: &Manifest, name: &ServiceName) -> Option<Start> {
    let running: BTreeSet<&UnitName> = replicas(old).collect();
    let service = new.services.get(name)?;
    let units: Vec<UnitName> =
        service.replicas.iter().map(|replica| &replica.unit).filter(|unit| !running.contains(unit)).cloned().collect();
    let alone = service.replace == Replace::Restart && !units.is_empty();
    let stops: Vec<UnitName> = old.services.get(name).filter(|_| alone).map_or(Vec::new(), |old| {
        let replicas = old.replicas.iter().map(|replica| replica.unit.clone());
        replicas.filter(|unit| !service.replicas.iter().any(|r| r.unit == *unit)).collect()
    });
    let had = old.services.get(name).and_then(|old| old.job.as_ref());
    let task = service.job.as_ref().filter(|job| matches!(service.kind, Kind::Task {}) && had != Some(job));
    let task = task.map(|job| job.unit.clone());
    (!units.is_empty() || task.is_some()).then(|| Start { service: name.clone(), units, alone, stops, task })
}

fn reloads(old: &Manifest, new: &Manifest) -> Vec<ServiceName> {
    let only = |(name, service): &(&ServiceName, &Service)| {
        old.services.get(*name).is_some_and(|old| service.only_reloads(old))
    };
    new.services.iter().filter(only).map(|(name, _)| name.clone()).collect()
}

fn jobs_only_in(one: &Manifest, other: &Manifest) -> Vec<UnitName> {
    let jobs = |manifest: &Manifest| -> BTreeSet<UnitName> {
        manifest.services.values().filter_map(|service| Some(service.job.as_ref()?.unit.clone())).collect()
    };
    jobs(one).difference(&jobs(other)).cloned().collect()
}

fn checks(manifest: &Manifest) -> Vec<(ServiceName, UnitName)> {
    let checks = manifest.services.iter().filter(|(_, service)| matches!(service.kind, Kind::Check {}));
    checks.filter_map(|(name, service)| Some((name.clone(), service.job.as_ref()?.unit.clone()))).collect()
}

fn flips(old: &Manifest, new: &Manifest) -> Vec<Flip> {
    let names: BTreeSet<&ServiceName> = old.services.keys().chain(new.services.keys()).collect();
    let linked = |manifest: &Manifest, name: &ServiceName| {
        let service = manifest.services.get(name)?;
        service.has_unix_sockets().then(|| service.instance.clone())
    };
    names
        .into_iter()
        .map(|name| Flip { service: name.clone(), from: linked(old, name), to: linked(new, name) })
        .filter(|flip| flip.from != flip.to)
        .collect()
}

fn replicas(manifest: &Manifest) -> impl Iterator<Item = &UnitName> {
    let all = manifest.services.values().flat_map(|s| &s.replicas);
    all.map(|replica| &replica.unit)
}

fn sockets(manifest: &Manifest) -> impl Iterator<Item = &UnitName> {
    let all = manifest.services.values().flat_map(|s| &s.sockets);
    all.map(|socket| &socket.unit)
}

fn replicas_only_in(one: &Manifest, other: &Manifest) -> Vec<UnitName> {
    let others: BTreeSet<&UnitName> = replicas(other).collect();
    replicas(one).filter(|u| !others.contains(u)).cloned().collect()
}

fn sockets_only_in(one: &Manifest, other: &Manifest) -> Vec<UnitName> {
    let others: BTreeSet<&UnitName> = sockets(other).collect();
    sockets(one).filter(|u| !others.contains(u)).cloned().collect()
}

fn instances_only_in(one: &Manifest, other: &Manifest) -> Vec<(ServiceName, InstanceId)> {
    let has = |name: &ServiceName, instance: &InstanceId| {
        let service = other.services.get(name);
        service.is_some_and(|service| service.instance == *instance)
    };
    one.services
        .iter()
        .filter(|(name, service)| !has(name, &service.instance))
        .map(|(name, service)| (name.clone(), service.instance.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn manifest(services: serde_json::Value) -> Manifest {
        let spec = serde_json::from_value(json!({
            "version": 1, "name": "h", "platform": "linux/amd64",
            "agent": "/nix/store/0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-cairn-agent",
            "services": services
        }));
        cairn_closure::render(&spec.unwrap()).unwrap().manifest
    }

    fn service(text: &str, replicas: u32, listen: serde_json::Value) -> serde_json::Value {
        json!({
            "rootfs": "/nix/store/1mdqa9w1p6cmli6976v4wi0sw9r4p5pr-api", "image": "i",
            "replicas": replicas, "command": ["/bin/x", text], "listen": listen,
            "user": {"name": "app", "uid": 10001, "gid": 10001}
        })
    }

    #[test]
    fn what_is_unchanged_is_not_touched() {
        let unix = json!({"unix": true});
        let tcp = json!({"tcp": ["0.0.0.0:80"]});
        let old = manifest(json!({
            "api": service("one", 2, unix.clone()), "proxy": service("p", 1, tcp.clone())
        }));
        let same = Plan::between(Some(old.clone()), old.clone());
        assert_eq!(same.started(), []);
        assert_eq!((same.retired, same.flips), (vec![], vec![]));

        let new = manifest(json!({
            "api": service("two", 2, unix.clone()), "proxy": service("p", 1, tcp.clone())
        }));
        let plan = Plan::between(Some(old.clone()), new);
        assert_eq!(plan.started().len(), 2);
        assert_eq!(plan.retired.len(), 2);
        assert_eq!((plan.new_sockets, plan.retired_sockets), (vec![], vec![]));
        assert_eq!(plan.flips.len(), 1);

        let scaled = manifest(json!({
            "api": service("one", 3, unix), "proxy": service("p", 1, tcp)
        }));
        let plan = Plan::between(Some(old.clone()), scaled.clone());
        assert_eq!(plan.started().len(), 1);
        assert_eq!((plan.retired.len(), plan.flips.len()), (0, 0));
        let back = Plan::between(Some(scaled), old);
        assert_eq!((back.started().len(), back.retired.len()), (0, 1));
    }

    #[test]
    fn a_service_that_goes_away_loses_its_traffic_and_its_sockets() {
        let old = manifest(json!({
            "api": service("one", 1, json!({"unix": true})),
            "web": service("p", 1, json!({"tcp": ["0.0.0.0:80"]}))
        }));
        let plan = Plan::between(Some(old.clone()), manifest(json!({})));
        assert_eq!((plan.retired.len(), plan.retired_sockets.len()), (2, 1));
        assert_eq!(plan.flips.len(), 1);
        assert_eq!(plan.flips[0].to, None);
        let first = Plan::between(None, old);
        assert_eq!((first.started().len(), first.new_sockets.len()), (2, 1));
        assert_eq!(first.flips[0].from, None);
    }
}
