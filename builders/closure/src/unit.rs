//! The text of the units. `HostSpec::check` has seen every value before.

use std::fmt::Write as _;
use std::net::SocketAddr;

use crate::layout::{CONFIG_DIR, LIVE_DIR, PROFILE, RUN_DIR, SECRETS_DIR, SELF_DIR, STATE_DIR, fill, socket_name};
use crate::quote::{argument, assignment, description};
use crate::{
    ClosureError, HostName, HostSpec, Inherit, InstanceId, Ready, ServiceName, ServiceSpec, UnitName, hardening,
};

pub const ALL_TARGET: &str = "cairn.target";
pub const BOOT_SERVICE: &str = "cairn-boot.service";
pub const SHUTDOWN_SERVICE: &str = "cairn-shutdown.service";
const SYSTEMCTL: &str = "/bin/systemctl";

/// Names come from checked parts, so this fails only for an address of absurd length.
pub fn replica_name(service: &ServiceName, instance: &InstanceId, replica: u32) -> Result<UnitName, ClosureError> {
    UnitName::parse(&format!("cairn-{service}-{instance}-{replica}.service"))
}

/// The timer has the name of the job that it starts.
pub fn timer_name(service: &ServiceName, instance: &InstanceId) -> Result<UnitName, ClosureError> {
    UnitName::parse(&format!("cairn-{service}-{instance}-1.timer"))
}

pub fn target_name(service: &ServiceName) -> Result<UnitName, ClosureError> {
    UnitName::parse(&format!("cairn-{service}.target"))
}

/// The name holds the address and nothing of the instance: a socket outlives its services.
pub fn socket_unit_name(service: &ServiceName, address: &SocketAddr) -> Result<UnitName, ClosureError> {
    let host = address.ip();
    let port = address.port();
    UnitName::parse(&format!("cairn-{service}-{host}:{port}.socket"))
}

fn header(host: &HostName, what: &str) -> String {
    format!(
        "# cairn: {what} of host {host}\n\
         # Rendered from the host's definition into the store. Do not edit: change the definition and switch.\n\n"
    )
}

/// One replica. `instance` may be a stand-in while the id is being computed.
pub fn service(
    host: &HostSpec,
    name: &ServiceName,
    spec: &ServiceSpec,
    instance: &InstanceId,
    replica: u32,
) -> Result<String, ClosureError> {
    let mut out = header(&host.name, &format!("service {name}, instance {instance}"));
    unit_section(&mut out, host, name, spec, replica)?;
    out.push_str("\n[Service]\n");
    let kind = match spec.ready {
        _ if spec.kind.ends() => "oneshot",
        Ready::Exec => "exec",
        Ready::Notify => "notify",
    };
    directive(&mut out, "Type", kind);
    // Else the journal would have the name of whatever program is started first.
    directive(&mut out, "SyslogIdentifier", name.as_str());
    process(&mut out, name, spec, instance, replica)?;
    if spec.kind.is_service() {
        directive(&mut out, "Restart", "always");
        directive(&mut out, "RestartSec", "1s");
    }
    directive(&mut out, "KillMode", "mixed");
    directive(&mut out, "KillSignal", spec.stop_signal.name());
    directive(&mut out, "TimeoutStartSec", &spec.timeout.to_string());
    directive(&mut out, "TimeoutStopSec", &spec.drain.to_string());
    directive(&mut out, "OOMPolicy", "stop");
    limits(&mut out, spec);
    view(&mut out, host, name, spec, instance);
    possessions(&mut out, name, spec, instance);
    out.push_str("\n# Hardening\n");
    out.push_str(&hardening::lines(host, name, spec)?);
    Ok(out)
}

fn directive(out: &mut String, name: &str, value: &str) {
    // A String takes every write.
    let _ = writeln!(out, "{name}={value}");
}

fn unit_section(
    out: &mut String,
    host: &HostSpec,
    name: &ServiceName,
    spec: &ServiceSpec,
    replica: u32,
) -> Result<(), ClosureError> {
    out.push_str("[Unit]\n");
    directive(out, "Description", &format!("{name} {replica} ({})", description(&spec.image)));
    let mut after = vec![BOOT_SERVICE.to_owned()];
    for earlier in spec.starts_after() {
        after.push(target_name(earlier)?.to_string());
    }
    if !spec.network.is_empty() {
        after.push("network-online.target".to_owned());
        directive(out, "Wants", "network-online.target");
    } else if spec.listen.as_ref().is_some_and(|listen| listen.held().next().is_some()) {
        // Going down, its clients' answers need the network until it has ended.
        after.push("network.target".to_owned());
    }
    directive(out, "After", &after.join(" "));
    for point in host.system.mounts_below(name) {
        // Without it the service would begin anew, in the folder below the mount.
        directive(out, "RequiresMountsFor", point.as_str());
    }
    // A crash loop must not end in a unit that stays down until somebody looks.
    directive(out, "StartLimitIntervalSec", "0");
    Ok(())
}

fn process(
    out: &mut String,
    name: &ServiceName,
    spec: &ServiceSpec,
    instance: &InstanceId,
    replica: u32,
) -> Result<(), ClosureError> {
    if spec.listen.as_ref().is_some_and(|listen| listen.unix || listen.held().next().is_some()) {
        // What follows is the host's own.
        directive(out, "RootDirectoryStartOnly", "yes");
    }
    if spec.listen.as_ref().is_some_and(|listen| listen.unix) {
        // A killed server leaves its socket file behind, and nginx then refuses to bind. What has the
        // name may be a folder that the service has made; rm follows no link. The
        // host's own rm, outside of the sandbox: the root file system need not have one.
        let stale = format!("{RUN_DIR}/{name}/{instance}/{}", socket_name(replica));
        directive(out, "ExecStartPre", &format!("+/bin/rm -rf -- {stale}"));
    }
    // `check` has seen that there is a program; it is written bare, since systemd does not
    // expand variables in it.
    let (program, arguments) = spec.command.split_first().ok_or(ClosureError::Value {
        service: name.to_string(),
        field: "command",
        value: String::new(),
        rule: "it names a program",
    })?;
    let mut command = program.clone();
    for text in arguments {
        command.push(' ');
        command.push_str(&argument(&fill(text, replica)));
    }
    directive(out, "ExecStart", &command);
    for (key, value) in &spec.environment {
        directive(out, "Environment", &assignment(key, &fill(value, replica)));
    }
    directive(out, "Environment", &assignment("CAIRN_REPLICA", &replica.to_string()));
    sockets(out, name, spec)
}

fn sockets(out: &mut String, name: &ServiceName, spec: &ServiceSpec) -> Result<(), ClosureError> {
    let Some(listen) = spec.listen.as_ref().filter(|listen| listen.held().next().is_some()) else {
        return Ok(());
    };
    let mut units = Vec::new();
    for (address, _) in listen.held() {
        units.push(socket_unit_name(name, address)?.to_string());
    }
    directive(out, "Sockets", &units.join(" "));
    // Of two processes that a connection wakes, one gets it. The other would wait in accept(), and its
    // own connections with it, until somebody else connects: nginx takes sockets as they are.
    directive(out, "NonBlocking", "yes");
    if listen.inherit == Inherit::Nginx {
        // Descriptors are passed from 3 on; nginx finds out by itself which is which.
        let descriptors: String = (3..3 + units.len()).map(|fd| format!("{fd};")).collect();
        directive(out, "Environment", &assignment("NGINX", &descriptors));
    }
    Ok(())
}

fn limits(out: &mut String, spec: &ServiceSpec) {
    if let Some(memory) = spec.limits.memory {
        directive(out, "MemoryMax", &memory.to_string());
    }
    if let Some(cpu) = spec.limits.cpu {
        directive(out, "CPUQuota", &format!("{cpu}%"));
    }
    if let Some(tasks) = spec.limits.tasks {
        directive(out, "TasksMax", &tasks.to_string());
    }
}

/// What the processes see: their root, themselves, and the sockets they may use.
fn view(out: &mut String, host: &HostSpec, name: &ServiceName, spec: &ServiceSpec, instance: &InstanceId) {
    directive(out, "User", &spec.user.uid.to_string());
    directive(out, "Group", &spec.user.gid.to_string());
    let mut groups: Vec<u32> = spec
        .upstreams
        .iter()
        .chain(spec.reads.iter().map(|read| &read.service))
        .filter_map(|other| host.services.get(other))
        .map(|other| other.user.gid)
        .filter(|gid| *gid != spec.user.gid)
        .collect();
    groups.sort_unstable();
    groups.dedup();
    for gid in groups {
        directive(out, "SupplementaryGroups", &gid.to_string());
    }
    directive(out, "RootDirectory", &spec.rootfs.to_string());
    if let Some(directory) = &spec.working_directory {
        directive(out, "WorkingDirectory", directory);
    }
    // /run is a fresh tmpfs in there, so these mount points are made as needed.
    directive(out, "MountAPIVFS", "yes");
    directive(out, "BindPaths", &format!("{RUN_DIR}/{name}/{instance}:{SELF_DIR}"));
    for upstream in &spec.upstreams {
        // The directory of all instances, so that the renamed `current` link is seen. Connecting
        // works on a read-only mount: only the socket's own permissions count.
        directive(out, "BindReadOnlyPaths", &format!("{RUN_DIR}/{upstream}"));
    }
    directive(out, "BindReadOnlyPaths", "-/run/systemd/journal/dev-log -/run/systemd/journal/socket");
    if !spec.network.is_empty() {
        // Bound as a file it would go stale when replaced; systemd-resolved keeps the file that
        // its link points to, so that directory is bound as well.
        directive(out, "BindReadOnlyPaths", "-/etc/hosts -/etc/resolv.conf -/run/systemd/resolve");
    }
}

/// What was given to the service: configuration, secrets, and folders that stay.
fn possessions(out: &mut String, name: &ServiceName, spec: &ServiceSpec, instance: &InstanceId) {
    if let Some(config) = &spec.config {
        directive(out, "BindReadOnlyPaths", &format!("{config}:{CONFIG_DIR}"));
    }
    if spec.reload.is_some() {
        // The directory, so that files that are renamed into it are seen.
        directive(out, "BindReadOnlyPaths", &format!("{LIVE_DIR}/{name}/{instance}:{LIVE_DIR}"));
    }
    for (credential, secret) in &spec.credentials {
        directive(out, "LoadCredential", &format!("{credential}:{SECRETS_DIR}/{}", secret.file_name()));
    }
    for (state, path) in &spec.state {
        directive(out, "BindPaths", &format!("{STATE_DIR}/{name}/{state}:{path}"));
        // Below the service's own root, which ProtectSystem= makes read-only.
        directive(out, "ReadWritePaths", &format!("+{path}"));
    }
    for read in &spec.reads {
        let bound = format!("{STATE_DIR}/{}/{}:{}", read.service, read.state, read.path);
        if read.write {
            directive(out, "BindPaths", &bound);
            directive(out, "ReadWritePaths", &format!("+{}", read.path));
        } else {
            directive(out, "BindReadOnlyPaths", &bound);
        }
    }
}

/// Starts the job of the same name.
pub fn timer(host: &HostName, name: &ServiceName, calendar: &str, at_start: bool) -> String {
    let mut out = header(host, &format!("timer of {name}"));
    out.push_str("[Unit]\n");
    directive(&mut out, "Description", &format!("{name}, {}", description(calendar)));
    out.push_str("\n[Timer]\n");
    directive(&mut out, "OnCalendar", calendar);
    if at_start {
        directive(&mut out, "OnActiveSec", "1s");
    }
    // A host that was off at the time makes up for it.
    directive(&mut out, "Persistent", "yes");
    directive(&mut out, "AccuracySec", "1s");
    out
}

/// A TCP address. `service` is the replica that a connection starts when none is running.
///
/// At boot it opens when those are healthy that the service passes requests on to: earlier, it would
/// take requests from a balancer only to answer that nobody is there.
pub fn socket(
    host: &HostName,
    name: &ServiceName,
    spec: &ServiceSpec,
    address: &SocketAddr,
    service: &UnitName,
) -> Result<String, ClosureError> {
    let mut out = header(host, &format!("socket of service {name}"));
    out.push_str("[Unit]\n");
    directive(&mut out, "Description", &format!("{name} on {address}"));
    if !spec.upstreams.is_empty() {
        let mut after = vec!["sysinit.target".to_owned(), BOOT_SERVICE.to_owned()];
        for upstream in &spec.upstreams {
            after.push(target_name(upstream)?.to_string());
        }
        // By default every socket opens before any service starts.
        directive(&mut out, "DefaultDependencies", "no");
        directive(&mut out, "After", &after.join(" "));
        directive(&mut out, "Conflicts", "shutdown.target");
        directive(&mut out, "Before", "shutdown.target");
    }
    out.push_str("\n[Socket]\n");
    if !spec.upstreams.is_empty() {
        let upstreams: Vec<&str> = spec.upstreams.iter().map(ServiceName::as_str).collect();
        let wait = format!("{PROFILE}/agent await {}", upstreams.join(" "));
        let booting = format!("case $$({SYSTEMCTL} is-system-running) in initializing|starting) {wait};; esac");
        // Whoever does not become healthy must not keep the address closed for good.
        directive(&mut out, "ExecStartPre", &format!("-/bin/sh -c '{booting}'"));
        // As long as the health of each may take.
        directive(&mut out, "TimeoutSec", "infinity");
    }
    directive(&mut out, "ListenStream", &address.to_string());
    directive(&mut out, "Service", service.as_str());
    directive(&mut out, "NoDelay", "yes");
    directive(&mut out, "Backlog", "4096");
    // Without this a crashing service would make systemd close the socket for good.
    directive(&mut out, "TriggerLimitIntervalSec", "0");
    Ok(out)
}

/// Groups the replicas, under a name that others can wait for.
pub fn service_target(host: &HostName, name: &ServiceName) -> String {
    let mut out = header(host, &format!("service {name}"));
    out.push_str("[Unit]\n");
    directive(&mut out, "Description", &format!("All replicas of {name}"));
    out
}

/// Everything of ours; the boot generator hangs it below `multi-user.target`.
pub fn all_target(host: &HostName) -> String {
    let mut out = header(host, "everything");
    out.push_str("[Unit]\n");
    directive(&mut out, "Description", &format!("Services of {host}"));
    directive(&mut out, "Wants", &format!("{BOOT_SERVICE} {SHUTDOWN_SERVICE}"));
    out
}

/// Makes the directories and `current` links in `/run` before any service starts.
pub fn boot_service(host: &HostName) -> String {
    let mut out = header(host, "preparation at boot");
    out.push_str("[Unit]\n");
    directive(&mut out, "Description", "Socket directories of the services");
    directive(&mut out, "RequiresMountsFor", PROFILE);
    out.push_str("\n[Service]\n");
    directive(&mut out, "Type", "oneshot");
    directive(&mut out, "RemainAfterExit", "yes");
    directive(&mut out, "ExecStart", &format!("{PROFILE}/agent boot"));
    out
}

/// Closes the addresses that systemd holds before the services end that answer there, `listeners`: it
/// comes after them, so when the host goes down it is the first to stop.
pub fn shutdown_service(host: &HostName, listeners: &[UnitName]) -> String {
    let mut out = header(host, "the end of connections");
    out.push_str("[Unit]\n");
    directive(&mut out, "Description", "Connections to the services");
    if !listeners.is_empty() {
        let names: Vec<&str> = listeners.iter().map(UnitName::as_str).collect();
        directive(&mut out, "After", &names.join(" "));
    }
    out.push_str("\n[Service]\n");
    directive(&mut out, "Type", "oneshot");
    directive(&mut out, "RemainAfterExit", "yes");
    directive(&mut out, "ExecStop", &format!("{PROFILE}/agent shutdown"));
    directive(&mut out, "TimeoutStopSec", "15s");
    out
}
