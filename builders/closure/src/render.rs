//! From a specification to the files of the closure.

use std::collections::{BTreeMap, BTreeSet};

use cairn_formats::{RelPath, Sha256};

use crate::layout::{AGENT_PROGRAM, socket_name};
use crate::spec::VERSION;
use crate::{
    ClosureError, Health, HostSpec, InstanceId, Job, Kind, Manifest, Replica, Service, ServiceName, ServiceSpec,
    Socket, UnitName, unit,
};

/// A rendered closure: the manifest, and every file by its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closure {
    pub manifest: Manifest,
    pub files: BTreeMap<RelPath, Content>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    File(Vec<u8>),
    Link(String),
}

/// Checks the specification and renders it. Equal specifications give equal bytes.
pub fn render(spec: &HostSpec) -> Result<Closure, ClosureError> {
    spec.check()?;
    let mut units: BTreeMap<UnitName, String> = BTreeMap::new();
    let mut services = BTreeMap::new();
    for (name, service) in &spec.services {
        services.insert(name.clone(), render_service(spec, name, service, &mut units)?);
    }
    let shared = [
        (UnitName::parse(unit::ALL_TARGET)?, unit::all_target(&spec.name)),
        (UnitName::parse(unit::BOOT_SERVICE)?, unit::boot_service(&spec.name)),
        (UnitName::parse(unit::SHUTDOWN_SERVICE)?, unit::shutdown_service(&spec.name, &listeners(&services))),
    ];
    let (system, own) = spec.system.render()?;
    let manifest = Manifest {
        version: VERSION,
        name: spec.name.clone(),
        platform: spec.platform,
        agent: spec.agent.clone(),
        services,
        order: order(spec)?,
        units: shared.iter().map(|(name, text)| (name.clone(), Sha256::of(text.as_bytes()))).collect(),
        system,
    };
    units.extend(shared);
    let mut files = files(&manifest, units);
    for (name, text) in own {
        files.insert(path(&format!("units/{name}")), Content::File(text.into_bytes()));
    }
    for (name, file) in &spec.system.etc {
        files.insert(path(&format!("etc/{name}")), Content::File(file.text.clone().into_bytes()));
    }
    Ok(Closure { manifest, files })
}

fn render_service(
    host: &HostSpec,
    name: &ServiceName,
    spec: &ServiceSpec,
    units: &mut BTreeMap<UnitName, String>,
) -> Result<Service, ClosureError> {
    // The id covers the unit's text, which in turn holds the id: it is computed with a stand-in
    // for both the id and the replica's number, so that scaling up restarts nothing.
    let stand_in = InstanceId::parse("000000000000")?;
    let mut covered = unit::service(host, name, spec, &stand_in, 0)?;
    if let Kind::Timer { calendar, at_start } = &spec.kind {
        covered.push_str(&unit::timer(&host.name, name, calendar, *at_start));
    }
    if let Some(reload) = &spec.reload {
        // Not its files: those may change under the instance.
        covered.push_str(reload.signal.name());
    }
    let instance = InstanceId::of(&covered);
    let listen = spec.listen.clone().unwrap_or_default();

    let mut replicas = Vec::new();
    let mut job = None;
    if spec.kind.ends() {
        let text = unit::service(host, name, spec, &instance, 1)?;
        let unit = unit::replica_name(name, &instance, 1)?;
        job = Some(Job { unit: unit.clone(), hash: Sha256::of(text.as_bytes()) });
        units.insert(unit, text);
    }
    if let Kind::Timer { calendar, at_start } = &spec.kind {
        let text = unit::timer(&host.name, name, calendar, *at_start);
        let unit = unit::timer_name(name, &instance)?;
        replicas.push(Replica { unit: unit.clone(), hash: Sha256::of(text.as_bytes()), socket: None });
        units.insert(unit, text);
    }
    for number in (1..=spec.replicas).filter(|_| spec.kind.is_service()) {
        let text = unit::service(host, name, spec, &instance, number)?;
        let unit = unit::replica_name(name, &instance, number)?;
        replicas.push(Replica {
            unit: unit.clone(),
            hash: Sha256::of(text.as_bytes()),
            socket: listen.unix.then(|| socket_name(number)),
        });
        units.insert(unit, text);
    }
    let mut sockets = Vec::new();
    if let Some(first) = replicas.first() {
        for (address, tls) in listen.held() {
            let text = unit::socket(&host.name, name, spec, address, &first.unit)?;
            let unit = unit::socket_unit_name(name, address)?;
            sockets.push(Socket { unit: unit.clone(), hash: Sha256::of(text.as_bytes()), address: *address, tls });
            units.insert(unit, text);
        }
    }
    let target = unit::target_name(name)?;
    units.insert(target.clone(), unit::service_target(&host.name, name));
    Ok(Service {
        instance,
        image: spec.image.clone(),
        rootfs: spec.rootfs.clone(),
        kind: spec.kind.clone(),
        user: spec.user.clone(),
        replicas,
        job,
        sockets,
        own: listen.own,
        target,
        health: spec.health.as_ref().map(|health| Health {
            path: health.path.clone(),
            timeout: health.timeout,
            interval: health.interval,
        }),
        drain: spec.drain,
        replace: spec.replace,
        state: spec.state.keys().cloned().collect(),
        reads: spec.reads.clone(),
        secrets: spec.credentials.values().cloned().collect(),
        reload: spec.reload.clone(),
        maintenance: spec.maintenance.clone(),
    })
}

/// The replicas that are handed sockets.
fn listeners(services: &BTreeMap<ServiceName, Service>) -> Vec<UnitName> {
    let with = services.values().filter(|service| !service.sockets.is_empty());
    with.flat_map(|service| service.replicas.iter().map(|replica| replica.unit.clone())).collect()
}

/// Groups of services: each group needs only those before it.
fn order(spec: &HostSpec) -> Result<Vec<Vec<ServiceName>>, ClosureError> {
    let mut groups: Vec<Vec<ServiceName>> = Vec::new();
    let mut placed: BTreeSet<&ServiceName> = BTreeSet::new();
    while placed.len() < spec.services.len() {
        let ready: Vec<&ServiceName> = spec
            .services
            .iter()
            .filter(|(name, _)| !placed.contains(name))
            .filter(|(_, service)| service.starts_after().all(|s| placed.contains(s)))
            .map(|(name, _)| name)
            .collect();
        if ready.is_empty() {
            return Err(ClosureError::Circle { circle: circle(spec, &placed) });
        }
        placed.extend(ready.iter().copied());
        groups.push(ready.into_iter().cloned().collect());
    }
    Ok(groups)
}

/// Follows unplaced services until one comes again.
fn circle(spec: &HostSpec, placed: &BTreeSet<&ServiceName>) -> Vec<String> {
    let unplaced = |name: &&ServiceName| !placed.contains(*name);
    let mut path: Vec<&ServiceName> = spec.services.keys().find(unplaced).into_iter().collect();
    while let Some(last) = path.last() {
        let next = spec.services.get(*last).and_then(|service| service.starts_after().find(unplaced));
        let Some(next) = next else { break };
        let seen = path.iter().position(|name| *name == next);
        path.push(next);
        if let Some(start) = seen {
            return path[start..].iter().map(ToString::to_string).collect();
        }
    }
    path.iter().map(ToString::to_string).collect()
}

/// Of checked names.
fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).expect("names of units and below /etc are plain and relative")
}

fn files(manifest: &Manifest, units: BTreeMap<UnitName, String>) -> BTreeMap<RelPath, Content> {
    let mut json = serde_json::to_vec_pretty(manifest)
        .expect("the manifest's maps have strings as keys, and nothing in it fails to serialise");
    json.push(b'\n');
    let agent = format!("{}/{AGENT_PROGRAM}", manifest.agent);
    let mut files =
        BTreeMap::from([(path("closure.json"), Content::File(json)), (path("agent"), Content::Link(agent))]);
    for (name, text) in units {
        files.insert(path(&format!("units/{name}")), Content::File(text.into_bytes()));
    }
    files
}
