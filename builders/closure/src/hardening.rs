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

/// The directives of one service that are more open than the default, with the value and why: as
/// its definition says, or as follows from what else that says.
pub fn loosened(host: &HostSpec, service: &ServiceName) -> Vec<(&'static str, Loosened)> {
    let Some(spec) = host.services.get(service) else { return Vec::new() };
    let read_by_others = is_read(host, service);
    let mut all: Vec<(&'static str, Loosened)> = directives()
        .filter_map(|name| {
            let derived = || derived(name, spec, read_by_others).map(Derived::loosened);
            Some((name, spec.hardening.get(name).cloned().or_else(derived)?))
        })
        .collect();
    if !spec.network.is_empty() {
        all.push(("IPAddressAllow", Loosened { value: spec.network.join(" "), reason: NETWORK.to_owned() }));
    }
    all
}

fn is_read(host: &HostSpec, service: &ServiceName) -> bool {
    host.services.values().flat_map(|other| &other.reads).any(|read| read.service == *service)
}

/// The lines for one service, each with its reason where the definition gave one.
pub(crate) fn lines(host: &HostSpec, service: &ServiceName, spec: &ServiceSpec) -> Result<String, ClosureError> {
    let read_by_others = is_read(host, service);
    let derived = |directive: &str| derived(directive, spec, read_by_others).map(|derived| derived.lines);
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

const NETWORK: &str = "`network` says what it may reach";

/// Other lines than the default's, and why.
struct Derived {
    lines: &'static [&'static str],
    reason: &'static str,
}

impl Derived {
    fn loosened(self) -> Loosened {
        Loosened { value: self.lines.join(" "), reason: self.reason.to_owned() }
    }
}

/// What follows from other parts of the definition, so that nobody has to loosen it by hand.
fn derived(directive: &str, spec: &ServiceSpec, read_by_others: bool) -> Option<Derived> {
    let unix = spec.listen.as_ref().is_some_and(|listen| listen.unix);
    let (lines, reason): (&[&str], _) = match directive {
        // Its own network namespace holds no interface but the loopback; inherited TCP sockets
        // belong to the host's namespace and keep working.
        "PrivateNetwork" if !spec.network.is_empty() => (&["no"], NETWORK),
        "RestrictAddressFamilies" if !spec.network.is_empty() => (&["AF_UNIX AF_INET AF_INET6"], NETWORK),
        // Connecting takes the permission to write.
        "UMask" if unix => (&["0007"], "who connects to its sockets is in its group"),
        "UMask" if read_by_others => (&["0027"], "who reads its state is in its group"),
        _ => return None,
    };
    Some(Derived { lines, reason })
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
