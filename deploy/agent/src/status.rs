//! What the host runs right now, asked of systemd and of the services themselves.

use std::fs;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use cairn_closure::{Manifest, Service, ServiceName, UnitName};
use cairn_protocol::{Endpoint, Health, ServiceStatus, StatusReport};
use cairn_store::Store;

use crate::error::Result;
use crate::health::{self, Check, Proof, Via, http};
use crate::paths::Paths;
use crate::systemd::UnitState;
use crate::{activation, condition, generations, manifests, pull, systemd};

pub fn report(store: &Store) -> Result<StatusReport> {
    let paths = Paths::new(store.root());
    let generation = generations::current(store)?;
    let activation = activation::under_way();
    let Some(generation) = generation else {
        return Ok(StatusReport {
            generation: None,
            since: None,
            health: Health::Empty,
            services: Vec::new(),
            endpoints: Vec::new(),
            condition: condition::of(&paths, None, activation.is_some())?,
            activation,
            pull: pull::status(&paths),
        });
    };
    let manifest = manifests::of(&paths, &generation.closure)?;
    let services = services(&paths, &manifest)?;
    Ok(StatusReport {
        since: since(&paths),
        health: overall(&services),
        endpoints: endpoints(&manifest),
        services,
        condition: condition::of(&paths, Some((&generation.closure, &manifest)), activation.is_some())?,
        generation: Some(generation),
        activation,
        pull: pull::status(&paths),
    })
}

fn services(paths: &Paths, manifest: &Manifest) -> Result<Vec<ServiceStatus>> {
    let units: Vec<UnitName> = manifest
        .services
        .values()
        .flat_map(|service| service.replicas.iter().map(|replica| replica.unit.clone()))
        .collect();
    let states = systemd::states(&units)?;
    let checks: Vec<Check> = manifest
        .services
        .iter()
        .flat_map(|(name, service)| health::checks(paths, name, service, Via::Current, |_| true))
        .collect();
    Ok(side_by_side(&checks, |check| replica(check, &states.get(&check.unit).cloned().unwrap_or_default())))
}

/// Replicas that are asked at once. Each that does not answer takes some seconds, and when a database is
/// down none does.
const AT_ONCE: usize = 16;

/// Does the work on all items, several at once; the results in the order of the items.
fn side_by_side<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let take = || {
        let mut done = Vec::new();
        while let Some((at, item)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, items.get(at)?)))
        {
            done.push((at, work(item)));
        }
        done
    };
    let mut all = thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE.min(items.len())).map(|_| scope.spawn(take)).collect();
        let done = workers.into_iter().flat_map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)));
        done.collect::<Vec<_>>()
    });
    all.sort_by_key(|(at, _)| *at);
    all.into_iter().map(|(_, result)| result).collect()
}

/// One question to one replica.
pub fn replica(check: &Check, state: &UnitState) -> ServiceStatus {
    let (health, detail) = match (state.active.as_str(), &check.proof) {
        ("active", Proof::Answer(endpoint, health)) => match http::get(endpoint, &health.path) {
            Ok(answer) if answer.is_healthy() => (Health::Healthy, answer.to_string()),
            Ok(answer) => (Health::Unhealthy, answer.to_string()),
            Err(e) => (Health::Unhealthy, e.to_string()),
        },
        ("active", Proof::Open(addresses)) => match health::connect(addresses) {
            Ok(()) => (Health::Healthy, state.describe()),
            Err(e) => (Health::Unhealthy, e.to_string()),
        },
        ("activating" | "reloading", _) => (Health::Starting, state.describe()),
        _ => (Health::Unhealthy, state.describe()),
    };
    ServiceStatus {
        service: check.service.to_string(),
        unit: check.unit.to_string(),
        health,
        detail,
        memory_bytes: state.memory_bytes,
        restarts: state.restarts,
    }
}

/// Some replicas ill: degraded. All of one service: unhealthy.
fn overall(services: &[ServiceStatus]) -> Health {
    let healthy = |s: &&ServiceStatus| s.health == Health::Healthy;
    if services.iter().all(|s| s.health == Health::Healthy) {
        return Health::Healthy;
    }
    if services.iter().any(|s| s.health == Health::Starting) {
        return Health::Starting;
    }
    let lost = |name: &str| {
        let mut of_service = services.iter().filter(|s| s.service == name);
        !of_service.any(|s| healthy(&s))
    };
    if services.iter().any(|s| lost(&s.service)) { Health::Unhealthy } else { Health::Degraded }
}

fn endpoints(manifest: &Manifest) -> Vec<Endpoint> {
    let listening = |(name, service): (&ServiceName, &Service)| {
        let name = name.to_string();
        let sockets = service.sockets.clone();
        sockets.into_iter().map(move |socket| Endpoint {
            service: name.clone(),
            scheme: if socket.tls { "https" } else { "http" }.to_owned(),
            port: socket.address.port(),
            path: "/".to_owned(),
        })
    };
    manifest.services.iter().flat_map(listening).collect()
}

/// When the profile was last renamed, or the host booted, whichever came later.
fn since(paths: &Paths) -> Option<i64> {
    let seconds = |time: SystemTime| {
        let since = time.duration_since(UNIX_EPOCH).ok()?;
        i64::try_from(since.as_secs()).ok()
    };
    let renamed = fs::symlink_metadata(paths.profile()).ok()?.modified().ok()?;
    let booted = fs::read_to_string(paths.at("/proc/stat")).ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("btime "))?;
        line.trim().parse::<i64>().ok()
    });
    seconds(renamed).map(|renamed| renamed.max(booted.unwrap_or(renamed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_done_side_by_side_and_in_order() {
        let all: Vec<u64> = (0..50).collect();
        let barrier = std::sync::Barrier::new(AT_ONCE);
        let doubled = side_by_side(&all, |number| {
            // The first ones wait for each other: one after the other they would wait for ever.
            if *number < AT_ONCE as u64 {
                barrier.wait();
            }
            number * 2
        });
        assert_eq!(doubled, all.iter().map(|number| number * 2).collect::<Vec<_>>());
        assert!(side_by_side(&[] as &[u64], |number| *number).is_empty());
    }

    fn status(service: &str, health: Health) -> ServiceStatus {
        ServiceStatus {
            service: service.to_owned(),
            unit: String::new(),
            health,
            detail: String::new(),
            memory_bytes: None,
            restarts: 0,
        }
    }

    #[test]
    fn a_host_is_as_healthy_as_its_worst_service() {
        use Health::{Degraded, Healthy, Starting, Unhealthy};
        for (services, expected) in [
            (&[("api", Healthy), ("api", Healthy)][..], Healthy),
            (&[("api", Healthy), ("api", Unhealthy)], Degraded),
            (&[("api", Healthy), ("proxy", Unhealthy)], Unhealthy),
            (&[("api", Starting), ("proxy", Healthy)], Starting),
            (&[], Healthy),
        ] {
            let services: Vec<ServiceStatus> = services.iter().map(|(name, health)| status(name, *health)).collect();
            assert_eq!(overall(&services), expected);
        }
    }
}
