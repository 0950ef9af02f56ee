//! What a definition must keep to beyond its form: what its parts say of one another.

use std::net::SocketAddr;

use cairn_closure::collide;

use super::{HostDefinition, KindEntry, ServiceEntry};
use crate::error::nearest;
use crate::pull::PullSection;
use crate::rollout::RolloutEntry;

/// The key, what is wrong with it, and what helps; nothing where that says itself.
pub type Fault = (String, String, Option<String>);

pub(super) fn fail(at: impl Into<String>, message: impl Into<String>, help: &str) -> Fault {
    (at.into(), message.into(), (!help.is_empty()).then(|| help.to_owned()))
}

/// The first fault of a definition.
pub fn check(definition: &HostDefinition) -> Result<(), Fault> {
    check_way(definition)?;
    check_whole(definition)?;
    let mut addresses = Vec::new();
    for (name, service) in &definition.services {
        check_service(definition, name, service, &mut addresses)?;
    }
    Ok(())
}

/// How the host is reached.
fn check_way(definition: &HostDefinition) -> Result<(), Fault> {
    match (&definition.machine, &definition.ssh) {
        (None, None) if definition.pull.is_none() => {
            return Err(fail(
                "host",
                "nothing says how to reach it",
                "add [ssh] with an address, [machine] for a machine on this computer, or [pull] for hosts that fetch by themselves",
            ));
        }
        (Some(_), Some(_)) => {
            return Err(fail(
                "ssh",
                "the host is a [machine] on this computer already",
                "keep one of the two sections",
            ));
        }
        _ => {}
    }
    if let Some(ssh) = &definition.ssh {
        ssh.check()?;
    }
    Ok(())
}

/// What holds for all of the host.
fn check_whole(definition: &HostDefinition) -> Result<(), Fault> {
    if let Some(Err(misplaced)) = definition.pull.as_ref().map(PullSection::check) {
        return Err(fail(format!("pull.{}", misplaced.key), misplaced.message, misplaced.help));
    }
    if let Some(tag) = definition.tags.iter().find(|tag| !is_plain(tag)) {
        return Err(fail("tags", format!("`{tag}` is not a tag"), PLAIN));
    }
    if let Some(Err(misplaced)) = definition.rollout.as_ref().map(RolloutEntry::check) {
        return Err(fail(format!("rollout.{}", misplaced.key), misplaced.message.to_owned(), misplaced.help));
    }
    if !(2..=1000).contains(&definition.generations.keep) {
        return Err(fail(
            "generations.keep",
            format!("{} generations", definition.generations.keep),
            "write a number from 2 (the live one and the one to go back to) to 1000",
        ));
    }
    Ok(())
}

/// `addresses` are those of the services before it.
fn check_service<'a>(
    definition: &HostDefinition,
    name: &'a str,
    service: &ServiceEntry,
    addresses: &mut Vec<(SocketAddr, &'a str)>,
) -> Result<(), Fault> {
    let at = |key: &str| format!("services.{name}.{key}");
    if !is_plain(name) {
        return Err(fail("services", format!("`{name}` is not a service name"), PLAIN));
    }
    if !(1..=64).contains(&service.replicas) {
        return Err(fail(at("replicas"), format!("{} replicas", service.replicas), "write a number from 1 to 64"));
    }
    if !(0.0..=10.0).contains(&service.exposure) {
        return Err(fail(
            at("exposure"),
            format!("{} is not an exposure", service.exposure),
            "write a number from 0 (closed) to 10, as `systemd-analyze security` gives it",
        ));
    }
    if service.replicas > 1 && !service.listen.unix {
        return Err(fail(
            at("replicas"),
            "only a service that listens on UNIX sockets can have replicas",
            "add listen = { unix = true }",
        ));
    }
    let listen = &service.listen;
    let lists = [("tcp", &listen.tcp), ("tls", &listen.tls), ("own", &listen.own)];
    for (key, address) in lists.iter().flat_map(|(key, list)| list.iter().map(move |address| (key, *address))) {
        if let Some((taken, other)) = addresses.iter().find(|(taken, _)| collide(taken, &address)) {
            return Err(fail(
                at(&format!("listen.{key}")),
                format!("{address} is taken by service `{other}`, which listens on {taken}"),
                "give one of them another port",
            ));
        }
        addresses.push((address, name));
    }
    if let Some(health) = &service.health
        && !health.path.starts_with('/')
    {
        return Err(fail(
            at("health.path"),
            format!("`{}` is not the path of a URL", health.path),
            "write it as in \"/health\"",
        ));
    }
    if (service.kind == KindEntry::Timer) != service.schedule.is_some() {
        return Err(fail(
            at("schedule"),
            "a timer has a schedule, and nothing else has",
            "write kind = \"timer\" and schedule = \"daily\", or a time as in systemd.time(7)",
        ));
    }
    for read in service.reads.keys().chain(service.shares.keys()) {
        let owner = read.split_once('/').map(|(owner, _)| owner);
        if !owner.is_some_and(|owner| definition.services.contains_key(owner)) {
            return Err(fail(
                at("reads"),
                format!("`{read}` is not the state of a service of this host"),
                "write it as in \"certbot/certificates\"",
            ));
        }
    }
    for before in &service.after {
        if !definition.services.contains_key(before) || before == name {
            return Err(fail(at("after"), format!("`{before}` is not another service of this host"), ""));
        }
    }
    for upstream in &service.upstreams {
        let Some(target) = definition.services.get(upstream) else {
            let near = nearest(upstream, definition.services.keys().map(String::as_str));
            let help = near.map(|n| format!("did you mean `{n}`?")).unwrap_or_default();
            return Err(fail(at("upstreams"), format!("there is no service `{upstream}`"), &help));
        };
        if !target.listen.unix {
            return Err(fail(
                at("upstreams"),
                format!("service `{upstream}` has no UNIX socket"),
                "give it listen = { unix = true }",
            ));
        }
    }
    for (directive, loosened) in &service.hardening {
        if loosened.reason.trim().is_empty() {
            return Err(fail(at(&format!("hardening.{directive}.reason")), "a loosened setting needs its reason", ""));
        }
    }
    Ok(())
}

const PLAIN: &str = "use lower-case letters, digits and `-`, at most 32, starting with a letter";

/// Of services and tags.
fn is_plain(name: &str) -> bool {
    name.len() <= 32
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}
