//! The settings every service starts with, and how a definition loosens one of them.
//!
//! A plain unit with `User=` scores 9.5 ("unsafe") in `systemd-analyze security`; this set scores
//! about 1 and was seen to run nginx and Gunicorn below `RootDirectory=`. A directive is replaced as
//! a whole, both lines of `SystemCallFilter` too, unless the value begins with `+`: `+@chown` keeps
//! the default's lines and adds one.

use std::collections::BTreeMap;

use cairn_formats::report::nearest;

use crate::{ClosureError, HostSpec, Loosened, ServiceName, ServiceSpec};

/// Directive and its lines; an empty value is systemd's way to say "none".
const DEFAULTS: &[(&str, &[&str])] = &[
    ("AmbientCapabilities", &[""]),
    ("CapabilityBoundingSet", &[""]),
    ("DevicePolicy", &["closed"]),
    ("IPAddressDeny", &["any"]),
    ("KeyringMode", &["private"]),
    ("LockPersonality", &["yes"]),
    ("MemoryDenyWriteExecute", &["yes"]),
    ("NoNewPrivileges", &["yes"]),
    ("PrivateDevices", &["yes"]),
    ("PrivateMounts", &["yes"]),
    ("PrivateNetwork", &["yes"]),
    ("PrivateTmp", &["yes"]),
    ("PrivateUsers", &["yes"]),
    ("ProcSubset", &["pid"]),
    ("ProtectClock", &["yes"]),
    ("ProtectControlGroups", &["yes"]),
    ("ProtectHome", &["yes"]),
    ("ProtectHostname", &["yes"]),
    ("ProtectKernelLogs", &["yes"]),
    ("ProtectKernelModules", &["yes"]),
    ("ProtectKernelTunables", &["yes"]),
    ("ProtectProc", &["invisible"]),
    ("ProtectSystem", &["strict"]),
    ("RemoveIPC", &["yes"]),
    ("RestrictAddressFamilies", &["AF_UNIX"]),
    ("RestrictNamespaces", &["yes"]),
    ("RestrictRealtime", &["yes"]),
    ("RestrictSUIDSGID", &["yes"]),
    ("SystemCallArchitectures", &["native"]),
    ("SystemCallErrorNumber", &["EPERM"]),
    ("SystemCallFilter", &["@system-service", "~@privileged @resources"]),
    ("UMask", &["0077"]),
];

/// The names a definition may loosen.
pub fn directives() -> impl Iterator<Item = &'static str> {
    DEFAULTS.iter().map(|(name, _)| *name)
}

/// The lines for one service, each with its reason where the definition gave one.
pub(crate) fn lines(host: &HostSpec, service: &ServiceName, spec: &ServiceSpec) -> Result<String, ClosureError> {
    let read_by_others = host.services.values().flat_map(|other| &other.reads).any(|read| read.service == *service);
    let derived = |directive: &str| derived(directive, spec, read_by_others);
    check(service, &spec.hardening)?;
    let mut out = String::new();
    for (name, defaults) in DEFAULTS {
        match spec.hardening.get(*name) {
            Some(loosened) => {
                let reason = crate::quote::comment(&loosened.reason);
                out.push_str(&format!("# {name} is loosened: {reason}\n"));
                match loosened.value.strip_prefix('+') {
                    Some(more) => {
                        let lines = derived(name).unwrap_or(defaults).iter().copied().chain([more]);
                        lines.for_each(|value| out.push_str(&format!("{name}={value}\n")));
                    }
                    None => out.push_str(&format!("{name}={}\n", loosened.value)),
                }
            }
            None => {
                for value in derived(name).unwrap_or(defaults) {
                    out.push_str(&format!("{name}={value}\n"));
                }
            }
        }
    }
    if !spec.network.is_empty() {
        out.push_str(&format!("IPAddressAllow={}\n", spec.network.join(" ")));
    }
    Ok(out)
}

/// What follows from other parts of the definition, so that nobody has to loosen it by hand.
fn derived(directive: &str, spec: &ServiceSpec, read_by_others: bool) -> Option<&'static [&'static str]> {
    let unix = spec.listen.as_ref().is_some_and(|listen| listen.unix);
    match directive {
        // Its own network namespace holds no interface but the loopback; inherited TCP sockets
        // belong to the host's namespace and keep working.
        "PrivateNetwork" if !spec.network.is_empty() => Some(&["no"]),
        "RestrictAddressFamilies" if !spec.network.is_empty() => Some(&["AF_UNIX AF_INET AF_INET6"]),
        // Who connects to the service's sockets is in its group, and connecting takes the
        // permission to write.
        "UMask" if unix => Some(&["0007"]),
        // Who reads its state is in its group.
        "UMask" if read_by_others => Some(&["0027"]),
        _ => None,
    }
}

fn check(service: &ServiceName, hardening: &BTreeMap<String, Loosened>) -> Result<(), ClosureError> {
    for (directive, loosened) in hardening {
        if !directives().any(|known| known == directive) {
            return Err(ClosureError::UnknownDirective {
                service: service.to_string(),
                directive: directive.clone(),
                nearest: nearest(directive, directives()).map(str::to_owned),
                known: directives().collect::<Vec<_>>().join(", "),
            });
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || " @~:/._+,=-".contains(c);
        if !loosened.value.chars().all(plain) || loosened.value.trim() != loosened.value {
            return Err(ClosureError::Value {
                service: service.to_string(),
                field: "a hardening value",
                value: loosened.value.clone(),
                rule: "it takes letters, digits, single spaces in between, and @~:/._+,=-",
            });
        }
        if loosened.reason.trim().is_empty() {
            return Err(ClosureError::Value {
                service: service.to_string(),
                field: "the reason of a loosened directive",
                value: loosened.reason.clone(),
                rule: "say in a few words why the service needs it",
            });
        }
    }
    Ok(())
}
