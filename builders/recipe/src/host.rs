//! `hosts/NAME.toml`: what runs on a host, and how to reach it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use cairn_closure::{
    CredentialName, DnsName, EtcPath, HostUnit, Inherit, MountPoint, Ready, Replace, SecretName, StateName, StopSignal,
    SysctlName, UserName, collide,
};
use cairn_formats::Platform;
use serde::Deserialize;

use crate::duration;
use crate::error::{DefinitionError, nearest};
use crate::pull::PullSection;
use crate::rollout::RolloutEntry;
use crate::sources::Sources;
use crate::system::{EtcEntry, MountEntry, UnitEntry, UserEntry};

/// The content of `hosts/NAME.toml`. The host is named after its file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostDefinition {
    #[serde(default)]
    pub description: String,
    #[serde(default = "native")]
    pub platform: Platform,
    /// Present: a systemd machine on this computer. One of `machine` and `ssh`, or neither with `pull`.
    pub machine: Option<MachineSection>,
    pub ssh: Option<SshSection>,
    pub pull: Option<PullSection>,
    /// Hosts that are switched before this one, because it needs what runs there.
    #[serde(default)]
    pub after: Vec<String>,
    /// Commands take `@TAG` for all hosts that have it.
    #[serde(default)]
    pub tags: Vec<String>,
    /// How the fleet is switched; said in its `fleet.toml`.
    pub rollout: Option<RolloutEntry>,
    #[serde(default)]
    pub generations: GenerationsSection,
    #[serde(default)]
    pub services: BTreeMap<String, ServiceEntry>,
    /// Image → values of its environment's schema, for every service that runs it. They are read by
    /// [`Sources::layers`](crate::sources::Sources::layers), which knows their places.
    #[serde(default)]
    pub config: BTreeMap<String, toml::Table>,
    /// Files below `/etc`.
    #[serde(default)]
    pub etc: BTreeMap<EtcPath, EtcEntry>,
    /// Kernel settings: text, number or boolean.
    #[serde(default)]
    pub sysctl: BTreeMap<SysctlName, toml::Value>,
    /// People.
    #[serde(default)]
    pub users: BTreeMap<UserName, UserEntry>,
    #[serde(default)]
    pub mounts: BTreeMap<MountPoint, MountEntry>,
    /// Plain units of systemd.
    #[serde(default)]
    pub units: BTreeMap<HostUnit, UnitEntry>,
}

/// `[machine]`: nothing to set yet; its presence is the choice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineSection {}

/// `[generations]`: what stays on the host of those before the live one. Either is enough to stay.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GenerationsSection {
    /// So many of the newest, the live one among them.
    pub keep: u32,
    /// Those that were live within this time.
    #[serde(with = "duration::optional")]
    pub keep_for: Option<Duration>,
}

impl Default for GenerationsSection {
    fn default() -> Self {
        Self { keep: 10, keep_for: None }
    }
}

/// `[ssh]`: a remote host. What is absent comes from the user's own ssh configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SshSection {
    pub address: String,
    pub user: Option<String>,
    pub port: Option<u16>,
    /// Where sshd listens as long as it does not yet at `port`: a switch that moves it begins there,
    /// and is confirmed at `port`.
    pub port_before: Option<u16>,
    /// The host's public key, `ssh-ed25519 AAAA…`; without it the user's known hosts decide.
    pub host_key: Option<String>,
    /// A private key file; without it the user's agent and configuration decide.
    pub identity: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceEntry {
    pub image: String,
    #[serde(default)]
    pub kind: KindEntry,
    /// When a timer runs, as in systemd's `OnCalendar=`.
    pub schedule: Option<String>,
    /// A timer that also runs as soon as it is started.
    #[serde(default)]
    pub at_start: bool,
    #[serde(default = "one")]
    pub replicas: u32,
    /// Default: the image's entry point and command.
    #[serde(default)]
    pub command: Vec<String>,
    /// Default: the image's user.
    pub user: Option<String>,
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Values of the image's schema, over those of the host.
    #[serde(default)]
    pub config: toml::Table,
    /// Values of the image's templates, over those of its `settings.toml`.
    #[serde(default)]
    pub settings: toml::Table,
    /// Credential → secret, besides those that `config` names.
    #[serde(default)]
    pub credentials: BTreeMap<CredentialName, SecretName>,
    /// State folder → one of the image's volumes. A volume that is not named here nor in `reads`
    /// is a state folder with the name of its last part.
    #[serde(default)]
    pub state: BTreeMap<StateName, String>,
    /// `SERVICE/STATE` → one of the image's volumes: another service's folder, to read.
    #[serde(default)]
    pub reads: BTreeMap<String, String>,
    /// As `reads`, and to write as well.
    #[serde(default)]
    pub shares: BTreeMap<String, String>,
    #[serde(default)]
    pub listen: ListenEntry,
    /// The names under which clients reach it, the main one first; of a service without an address,
    /// those that it gets certificates for.
    #[serde(default)]
    pub names: Vec<DnsName>,
    /// Addresses, prefixes (`10.0.0.0/8`), `localhost` or `any` that the service may reach; none
    /// by default.
    #[serde(default)]
    pub network: Vec<String>,
    /// Services that must be healthy before this one starts; upstreams are so without saying.
    #[serde(default)]
    pub after: Vec<String>,
    /// Services on this host whose sockets this one may reach.
    #[serde(default)]
    pub upstreams: Vec<String>,
    /// The signal that makes the service finish its requests and end: `term`, `quit` or `int`.
    #[serde(default)]
    pub stop_signal: StopSignal,
    /// `notify`: the service says when it is ready. Else it is as soon as it runs.
    #[serde(default)]
    pub ready: Ready,
    /// `beside` or `restart`; by default a service with state restarts.
    pub replace: Option<Replace>,
    /// How long the start may take, or a task as a whole.
    #[serde(with = "duration", default = "a_minute")]
    pub timeout: Duration,
    /// How long an old version may finish its requests.
    #[serde(with = "duration", default = "ten_seconds")]
    pub drain: Duration,
    pub health: Option<HealthEntry>,
    #[serde(default)]
    pub limits: LimitsEntry,
    /// systemd directives set otherwise than by default, each with its reason.
    #[serde(default)]
    pub hardening: BTreeMap<String, LoosenedEntry>,
    /// The most that `systemd-analyze security` may give it, from 0 (closed) to 10.
    #[serde(default = "two")]
    pub exposure: f64,
}

/// When a service's command runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KindEntry {
    /// All the time.
    #[default]
    Service,
    /// Once before traffic moves, when it is new or changed.
    Task,
    /// In each switch, before it is committed.
    Check,
    /// By the clock.
    Timer,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenEntry {
    /// Each replica listens on the UNIX socket named by `CAIRN_SOCKET`.
    #[serde(default)]
    pub unix: bool,
    /// systemd holds these sockets and hands them over.
    #[serde(default)]
    pub tcp: Vec<SocketAddr>,
    /// As `tcp`, and the service speaks TLS there.
    #[serde(default)]
    pub tls: Vec<SocketAddr>,
    /// The service opens these by itself.
    #[serde(default)]
    pub own: Vec<SocketAddr>,
    /// How the program is told of them: `listen-fds` (systemd's protocol) or `nginx`.
    #[serde(default)]
    pub inherit: Inherit,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthEntry {
    /// Path of a GET request that must be answered with a status below 400.
    pub path: String,
    #[serde(with = "duration", default = "half_minute")]
    pub timeout: Duration,
    #[serde(with = "duration", default = "quarter_second")]
    pub interval: Duration,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsEntry {
    /// As in systemd's MemoryMax=: `512M`.
    pub memory: Option<String>,
    /// As in systemd's CPUQuota=: `100%` is one processor.
    pub cpu: Option<String>,
    pub tasks: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoosenedEntry {
    pub value: String,
    pub reason: String,
}

impl ListenEntry {
    /// Every address, whoever opens it.
    pub fn addresses(&self) -> impl Iterator<Item = &SocketAddr> {
        self.tcp.iter().chain(&self.tls).chain(&self.own)
    }
}

const fn native() -> Platform {
    Platform::native()
}
const fn one() -> u32 {
    1
}
const fn two() -> f64 {
    2.0
}
const fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}
const fn a_minute() -> Duration {
    Duration::from_secs(60)
}
const fn half_minute() -> Duration {
    Duration::from_secs(30)
}
const fn quarter_second() -> Duration {
    Duration::from_millis(250)
}

impl HostDefinition {
    pub fn parse(file: &Path, text: &str) -> Result<Self, DefinitionError> {
        Self::of(&Sources::of(file, text))
    }

    pub fn of(sources: &Sources) -> Result<Self, DefinitionError> {
        let definition: Self = sources.parse()?;
        definition.check(sources.main())?;
        Ok(definition)
    }

    /// Whether something runs here once before traffic moves.
    pub fn has_tasks(&self) -> bool {
        self.services.values().any(|service| service.kind == KindEntry::Task)
    }

    fn check(&self, file: &Path) -> Result<(), DefinitionError> {
        let fail = |at: String, message: String, help: &str| {
            let help = (!help.is_empty()).then(|| help.to_owned());
            Err(DefinitionError::Value { file: file.to_owned(), at, message, help })
        };
        match (&self.machine, &self.ssh) {
            (None, None) if self.pull.is_none() => {
                return fail(
                    "host".into(),
                    "nothing says how to reach it".into(),
                    "add [ssh] with an address, [machine] for a machine on this computer, or [pull] for hosts that fetch by themselves",
                );
            }
            (Some(_), Some(_)) => {
                return fail(
                    "ssh".into(),
                    "the host is a [machine] on this computer already".into(),
                    "keep one of the two sections",
                );
            }
            _ => {}
        }
        if let Some(ssh) = &self.ssh {
            // A leading dash would be read as an option by ssh.
            let plain =
                !ssh.address.is_empty() && !ssh.address.starts_with('-') && !ssh.address.contains(char::is_whitespace);
            if !plain {
                return fail("ssh.address".into(), format!("`{}` is not a host name or address", ssh.address), "");
            }
            if ssh.port_before.is_some() && (ssh.port.is_none() || ssh.port == ssh.port_before) {
                return fail(
                    "ssh.port_before".into(),
                    "the port does not change".into(),
                    "write the new one as `port`; take `port_before` away when the host has moved",
                );
            }
        }
        if let Some(Err(misplaced)) = self.pull.as_ref().map(PullSection::check) {
            return fail(format!("pull.{}", misplaced.key), misplaced.message, misplaced.help);
        }
        if let Some(tag) = self.tags.iter().find(|tag| !is_plain(tag)) {
            return fail("tags".into(), format!("`{tag}` is not a tag"), PLAIN);
        }
        if let Some(Err(misplaced)) = self.rollout.as_ref().map(RolloutEntry::check) {
            return fail(format!("rollout.{}", misplaced.key), misplaced.message.to_owned(), misplaced.help);
        }
        if !(2..=1000).contains(&self.generations.keep) {
            return fail(
                "generations.keep".into(),
                format!("{} generations", self.generations.keep),
                "write a number from 2 (the live one and the one to go back to) to 1000",
            );
        }
        let mut addresses: Vec<(SocketAddr, &str)> = Vec::new();
        for (name, service) in &self.services {
            let at = |key: &str| format!("services.{name}.{key}");
            if !is_plain(name) {
                return fail("services".into(), format!("`{name}` is not a service name"), PLAIN);
            }
            if !(1..=64).contains(&service.replicas) {
                return fail(at("replicas"), format!("{} replicas", service.replicas), "write a number from 1 to 64");
            }
            if !(0.0..=10.0).contains(&service.exposure) {
                return fail(
                    at("exposure"),
                    format!("{} is not an exposure", service.exposure),
                    "write a number from 0 (closed) to 10, as `systemd-analyze security` gives it",
                );
            }
            if service.replicas > 1 && !service.listen.unix {
                return fail(
                    at("replicas"),
                    "only a service that listens on UNIX sockets can have replicas".into(),
                    "add listen = { unix = true }",
                );
            }
            let listen = &service.listen;
            let lists = [("tcp", &listen.tcp), ("tls", &listen.tls), ("own", &listen.own)];
            for (key, address) in lists.iter().flat_map(|(key, list)| list.iter().map(move |address| (key, *address))) {
                if let Some((taken, other)) = addresses.iter().find(|(taken, _)| collide(taken, &address)) {
                    return fail(
                        at(&format!("listen.{key}")),
                        format!("{address} is taken by service `{other}`, which listens on {taken}"),
                        "give one of them another port",
                    );
                }
                addresses.push((address, name));
            }
            if let Some(health) = &service.health
                && !health.path.starts_with('/')
            {
                return fail(
                    at("health.path"),
                    format!("`{}` is not the path of a URL", health.path),
                    "write it as in \"/health\"",
                );
            }
            if (service.kind == KindEntry::Timer) != service.schedule.is_some() {
                return fail(
                    at("schedule"),
                    "a timer has a schedule, and nothing else has".into(),
                    "write kind = \"timer\" and schedule = \"daily\", or a time as in systemd.time(7)",
                );
            }
            for read in service.reads.keys().chain(service.shares.keys()) {
                let owner = read.split_once('/').map(|(owner, _)| owner);
                if !owner.is_some_and(|owner| self.services.contains_key(owner)) {
                    return fail(
                        at("reads"),
                        format!("`{read}` is not the state of a service of this host"),
                        "write it as in \"certbot/certificates\"",
                    );
                }
            }
            for before in &service.after {
                if !self.services.contains_key(before) || before == name {
                    return fail(at("after"), format!("`{before}` is not another service of this host"), "");
                }
            }
            for upstream in &service.upstreams {
                let Some(target) = self.services.get(upstream) else {
                    let near = nearest(upstream, self.services.keys().map(String::as_str));
                    let help = near.map(|n| format!("did you mean `{n}`?")).unwrap_or_default();
                    return fail(at("upstreams"), format!("there is no service `{upstream}`"), &help);
                };
                if !target.listen.unix {
                    return fail(
                        at("upstreams"),
                        format!("service `{upstream}` has no UNIX socket"),
                        "give it listen = { unix = true }",
                    );
                }
            }
            for (directive, loosened) in &service.hardening {
                if loosened.reason.trim().is_empty() {
                    return fail(
                        at(&format!("hardening.{directive}.reason")),
                        "a loosened setting needs its reason".into(),
                        "",
                    );
                }
            }
        }
        Ok(())
    }
}

const PLAIN: &str = "use lower-case letters, digits and `-`, at most 32, starting with a letter";

/// Of services and tags.
fn is_plain(name: &str) -> bool {
    name.len() <= 32
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const GOOD: &str = r#"
platform = "linux/amd64"
[machine]
[services.api]
image = "api"
replicas = 3
listen = { unix = true }
[services.api.health]
path = "/health"
[services.proxy]
image = "proxy"
listen = { tcp = ["0.0.0.0:8080"] }
upstreams = ["api"]
"#;

    #[test]
    fn a_host_is_read() {
        let host = HostDefinition::parse(Path::new("hosts/x.toml"), GOOD).unwrap();
        assert_eq!(host.services["api"].replicas, 3);
        assert_eq!(host.services["proxy"].listen.tcp[0].port(), 8080);
        assert_eq!(host.services["api"].exposure, 2.0);
        assert_eq!((host.generations.keep, host.generations.keep_for), (10, None));
    }

    #[test]
    fn what_stays_of_the_generations_is_read() {
        let text = GOOD.replace("[machine]", "[machine]\n[generations]\nkeep_for = \"30d\"");
        let generations = HostDefinition::parse(Path::new("hosts/x.toml"), &text).unwrap().generations;
        let month = Duration::from_secs(30 * 86_400);
        assert_eq!(generations, GenerationsSection { keep: 10, keep_for: Some(month) });
    }

    #[test]
    fn each_fault_is_named() {
        for (from, to, wanted) in [
            ("[machine]", "", "nothing says how to reach it"),
            ("[machine]", "[machine]\n[ssh]\naddress = \"x\"", "is a [machine] on this computer already"),
            ("[machine]", "[ssh]\naddress = \"-oProxyCommand=x\"", "is not a host name"),
            ("replicas = 3", "replicas = 0", "services.api.replicas: 0 replicas"),
            ("listen = { unix = true }", "", "only a service that listens on UNIX sockets"),
            ("upstreams = [\"api\"]", "upstreams = [\"apo\"]", "did you mean `api`?"),
            ("\"/health\"", "\"health\"", "`health` is not the path of a URL"),
            ("[services.proxy]", "[services.Proxy]", "`Proxy` is not a service name"),
            ("[machine]", "tags = [\"@web\"]\n[machine]", "tags: `@web` is not a tag"),
            ("[machine]", "[machine]\n[rollout]\nstrategy = \"rollin\"", "did you mean `rolling`?"),
            ("[machine]", "[machine]\n[rollout]\nbatch = \"0%\"", "`0%` is not a batch"),
            ("[machine]", "[machine]\n[rollout]\nwait = \"1s\"", "rollout.wait: there is nothing to wait for"),
            (
                "[services.api.health]",
                "[services.web]\nimage = \"web\"\nlisten = { own = [\"127.0.0.1:8080\"] }\n[services.api.health]",
                "services.web.listen.own: 127.0.0.1:8080 is taken by service `proxy`, which listens on 0.0.0.0:8080",
            ),
            ("image = \"proxy\"", "imag = \"proxy\"", "did you mean `image`?"),
            ("upstreams = [\"api\"]", "names = [\"a.example\", \"a_b.example\"]", "\"a_b.example\" is not allowed"),
            ("replicas = 3", "exposure = 11", "services.api.exposure: 11 is not an exposure"),
            ("replicas = 3", "exposure = \"1.5\"", "expected f64"),
            (
                "[machine]",
                "[pull]\ncache = \"cache\"\ntrusted_public_keys = []",
                "pull.cache: `cache` is not the address",
            ),
            ("[machine]", "[pull]\ncache = \"s3://b\"\ntrusted_public_keys = []", "no key is trusted"),
            (
                "[machine]",
                "[pull]\ncache = \"s3://b\"\ntrusted_public_keys = [\"k:A\"]\ninterval = \"1s\"",
                "pull.interval",
            ),
            (
                "[machine]",
                "[pull]\ncache = \"s3://b\"\ntrusted_public_keys = [\"k:A\"]\nrecipient = \"age1x\"",
                "pull.recipient",
            ),
            ("[machine]", "[machine]\n[generations]\nkeep = 1", "generations.keep: 1 generations"),
            ("[machine]", "[machine]\n[generations]\nkeep_for = \"30\"", "`30` is not a duration"),
            ("linux/amd64", "linux/riscv", "`linux/riscv` is not a platform"),
            ("[machine]", "[ssh]\naddress = \"x\"\nport_before = 22", "the port does not change"),
            ("[machine]", "[machine]\n[etc.\"../motd\"]\ntext = \"x\"", "\"../motd\" is not allowed"),
            ("[machine]", "[machine]\n[users.root]\nuid = 1000", "\"root\" is not allowed"),
            ("[machine]", "[machine]\n[mounts.\"/etc\"]\nwhat = \"x\"\ntype = \"ext4\"", "\"/etc\" is not allowed"),
            ("[machine]", "[machine]\n[etc.motd]\ntxt = \"x\"", "did you mean `text`?"),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let error =
                HostDefinition::parse(Path::new("hosts/x.toml"), &GOOD.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}\nwanted: {wanted}");
        }
    }
}
