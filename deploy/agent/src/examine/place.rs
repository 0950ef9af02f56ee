//! Whether there is place for us: ports, names of units, ids, `/nix`, the generator.

use std::net::SocketAddr;

use cairn_closure::{Manifest, collide};
use cairn_protocol::{AdoptedUnit, Examination, Finding};

use super::told;
use crate::error::Result;
use crate::paths::Paths;
use crate::services::users;
use crate::{adopted, host_record, ports, traces};

pub fn findings(paths: &Paths, request: &Examination, live: Option<&Manifest>, ours: bool) -> Result<Vec<Finding>> {
    let adopted = adopted::units::list(paths)?;
    let mut found: Vec<Finding> = (request.addresses.iter())
        .filter(|(_, address)| !live.is_some_and(|live| holds(live, address)))
        .map(|(service, address)| port(service, *address, &adopted))
        .collect();
    found.extend(ids(request));
    found.push(units(paths));
    if !ours {
        found.extend(generator(paths));
        found.push(nix(paths));
    }
    Ok(found)
}

/// Whether a service of ours listens there.
fn holds(live: &Manifest, address: &SocketAddr) -> bool {
    let services = live.services.values();
    let mut held = services.flat_map(|s| s.sockets.iter().map(|socket| &socket.address).chain(&s.own));
    held.any(|taken| collide(taken, address))
}

fn port(service: &str, address: SocketAddr, adopted: &[AdoptedUnit]) -> Finding {
    let check = format!("address {address}");
    let Some((error, holder)) = ports::taken(address) else {
        return Finding::good(check, format!("free for {service}"));
    };
    if let Some(unit) = adopted.iter().find(|adopted| Some(&adopted.unit) == holder.unit.as_ref()) {
        return Finding::good(check, format!("{} gives it to {service} at the next switch", unit.unit));
    }
    Finding::wrong(
        check,
        format!("{error}: {holder} listens there"),
        format!("{service} is to listen there"),
        holder.advice(),
    )
}

fn ids(request: &Examination) -> Option<Finding> {
    if request.users.is_empty() {
        return None;
    }
    Some(match users::check_ids(&request.users, &request.groups) {
        Ok(()) => Finding::good("user ids", "those of the services are free, or made for them"),
        Err(error) => Finding::wrong(
            "user ids",
            error.to_string(),
            "a service would own what somebody else owns",
            error.advice().unwrap_or("give the image's user another id"),
        ),
    })
}

fn units(paths: &Paths) -> Finding {
    let found: Vec<String> = traces::foreign_units(paths).iter().map(|path| told(paths, path)).collect();
    if found.is_empty() {
        return Finding::good("names of units", "no other unit has a name of ours");
    }
    Finding::wrong(
        "names of units",
        format!("not of any generation: {}", found.join(", ")),
        "what lies there goes before the units of a generation",
        format!("move it away: `rm -r {}`, then `systemctl daemon-reload`", found.join(" ")),
    )
}

fn generator(paths: &Paths) -> Option<Finding> {
    let link = paths.generator_link();
    link.symlink_metadata().ok()?;
    let at = told(paths, &link);
    let why = "the boot generator has this place";
    Some(Finding::wrong(
        "boot generator",
        format!("{at} is there, and the host is not ours"),
        why,
        format!("move it away: `rm {at}`"),
    ))
}

fn nix(paths: &Paths) -> Finding {
    match host_record::before(paths).nix {
        None => Finding::good("/nix", "free"),
        Some(sign) => Finding::note(
            "/nix",
            format!("another Nix has it: {sign}"),
            "both use one store; `deploy gc` collects what neither needs, and an uninstallation leaves the store to the other",
            "nothing is to be done; keep what that Nix needs below its own roots",
        ),
    }
}
