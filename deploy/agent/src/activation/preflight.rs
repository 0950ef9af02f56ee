//! What must hold before anything on the host is touched.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use cairn_closure::{Manifest, Service, ServiceName, UnitName, collide};
use cairn_formats::Platform;
use cairn_protocol::AdoptedUnit;
use nix::sys::statvfs::statvfs;

use super::plan::Plan;
use crate::error::{AgentError, Fault, Result, file};
use crate::paths::Paths;
use crate::services::users;
use crate::systemd::{self, UnitState};
use crate::{adopted, ports, secrets, system};

/// Debian 11 has 247; below it `ProtectProc=` and others do not exist.
pub(crate) const OLDEST_SYSTEMD: u32 = 247;
/// Logs and state must still fit after the copy.
pub(crate) const FREE_BYTES: u64 = 64 * 1024 * 1024;
/// systemd mounts something over each of these, and cannot make them in a read-only root.
const MOUNT_POINTS: [&str; 6] = ["proc", "sys", "dev", "run", "tmp", "var/tmp"];

/// What makes a closure impossible on this host; asked before an activation is even recorded.
pub fn can_run(paths: &Paths, manifest: &Manifest) -> Result<()> {
    if manifest.platform != Platform::native() {
        return Err(AgentError::Unsupported(format!(
            "the closure of {} is for {}, and this host is {}; set its platform in hosts/{}.toml",
            manifest.name,
            manifest.platform,
            Platform::native(),
            manifest.name
        )));
    }
    if !paths.runtime_units().is_dir() {
        return Err(AgentError::Unsupported(
            "systemd does not run this host (/run/systemd/system is missing)".to_owned(),
        ));
    }
    let version = systemd::version()?;
    if version < OLDEST_SYSTEMD {
        return Err(AgentError::Unsupported(format!(
            "this host's systemd is {version}, and services need {OLDEST_SYSTEMD} or later"
        )));
    }
    Ok(())
}

pub fn check(paths: &Paths, plan: &Plan) -> Result<()> {
    can_run(paths, &plan.new)?;
    free_space(&paths.state_dir())?;
    for (name, service) in &plan.new.services {
        root_file_system(paths, name, service)?;
    }
    let old = plan.old.as_ref().map(|old| old.system.clone()).unwrap_or_default();
    system::check(paths, &old, &plan.new.system)?;
    users::check(&plan.new)?;
    secrets::check(paths, &plan.new)?;
    address_in_use(paths, plan)
}

fn free_space(directory: &Path) -> Result<()> {
    let stat = statvfs(directory).map_err(|e| file("cannot measure", directory)(e.into()))?;
    let free = stat.blocks_available().saturating_mul(stat.fragment_size());
    if free >= FREE_BYTES {
        return Ok(());
    }
    Err(Fault::new(format!(
        "{} has {} MiB free, and an activation wants {} MiB",
        directory.display(),
        free / 1024 / 1024,
        FREE_BYTES / 1024 / 1024
    ))
    .advice("collect old generations on this host, or make room")
    .into())
}

fn root_file_system(paths: &Paths, name: &ServiceName, service: &Service) -> Result<()> {
    let root = paths.store_path(&service.rootfs.0);
    if !root.is_dir() {
        return Err(Fault {
            message: format!("the root file system of service {name} is missing: {}", service.rootfs),
            advice: Some("copy the closure again".to_owned()),
            service: Some(name.to_string()),
            ..Fault::default()
        }
        .into());
    }
    let missing: Vec<&str> = MOUNT_POINTS
        .into_iter()
        .filter(|point| !fs::symlink_metadata(root.join(point)).is_ok_and(|m| m.is_dir()))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Fault {
        message: format!(
            "the root file system of service {name} ({}) lacks the directories {}",
            service.rootfs,
            missing.join(", ")
        ),
        advice: Some("systemd mounts something over each; build the image with them".to_owned()),
        service: Some(name.to_string()),
        ..Fault::default()
    }
    .into())
}

/// An address that somebody else holds is said before anything starts. A socket of the same name
/// may be left from an activation that could not clean up; it serves as well as a new one.
fn address_in_use(paths: &Paths, plan: &Plan) -> Result<()> {
    let adopted = adopted::units::list(paths)?;
    let left = systemd::states(&plan.new_sockets)?;
    for (name, service) in &plan.new.services {
        for socket in &service.sockets {
            let new = plan.new_sockets.contains(&socket.unit);
            if new && !left.get(&socket.unit).is_some_and(UnitState::is_live) {
                can_be_had(name, socket.address, Some(&socket.unit), &adopted)?;
            }
        }
        for address in service.own.iter().filter(|address| !is_ours(plan, address)) {
            can_be_had(name, *address, None, &adopted)?;
        }
    }
    Ok(())
}

/// Whether the live closure listens there: it lets go of the address before the new one starts.
fn is_ours(plan: &Plan, address: &SocketAddr) -> bool {
    let live = plan.old.iter().flat_map(|old| old.services.values());
    let mut held = live.flat_map(|service| service.sockets.iter().map(|socket| &socket.address).chain(&service.own));
    held.any(|taken| collide(taken, address))
}

fn can_be_had(name: &ServiceName, address: SocketAddr, unit: Option<&UnitName>, adopted: &[AdoptedUnit]) -> Result<()> {
    let Some((error, holder)) = ports::taken(address) else {
        return Ok(());
    };
    // It stops before the address is needed.
    if holder.unit.as_ref().is_some_and(|unit| adopted.iter().any(|adopted| adopted.unit == *unit)) {
        return Ok(());
    }
    Err(Fault {
        message: format!("service {name} cannot have {address}: {error}; {holder} listens there"),
        advice: Some(holder.advice()),
        service: Some(name.to_string()),
        unit: unit.map(ToString::to_string),
        ..Fault::default()
    }
    .into())
}
