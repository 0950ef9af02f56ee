//! `hosts/NAME.toml`: what runs on a host, and how to reach it.

mod check;
mod service;
mod ssh;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use cairn_closure::{EtcPath, HostUnit, MountPoint, SysctlName, UserName};
use cairn_formats::Platform;
use serde::Deserialize;

pub use self::service::{HealthEntry, KindEntry, LimitsEntry, ListenEntry, LoosenedEntry, ServiceEntry};
pub use self::ssh::{IdentityPath, SshAddress, SshSection, SshUser};
use crate::duration;
use crate::error::DefinitionError;
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

const fn native() -> Platform {
    Platform::native()
}

impl HostDefinition {
    pub fn parse(file: &Path, text: &str) -> Result<Self, DefinitionError> {
        Self::of(&Sources::of(file, text))
    }

    pub fn of(sources: &Sources) -> Result<Self, DefinitionError> {
        let definition: Self = sources.parse()?;
        check::check(&definition).map_err(|(at, message, help)| DefinitionError::Value {
            file: sources.main().to_owned(),
            at,
            message,
            help,
        })?;
        Ok(definition)
    }

    /// Whether something runs here once before traffic moves.
    pub fn has_tasks(&self) -> bool {
        self.services.values().any(|service| service.kind == KindEntry::Task)
    }
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
                "[pull]\ncache = \"s3://b\"\ntrusted_public_keys = [\"k:A\"]\nwarn_after = \"4m\"",
                "pull.warn_after",
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
            ("[machine]", "[ssh]\naddress = \"x\"\nport = 0", "ssh.port: 0 is not the port"),
            ("[machine]", "[ssh]\naddress = \"$(touch x)\"", "hosts/x.toml:4:11: ssh.address: \"$(touch x)\" is not"),
            ("[machine]", "[ssh]\naddress = \"x\"\nuser = \"`id`\"", "hosts/x.toml:5:8: ssh.user: \"`id`\" is not"),
            ("[machine]", "[ssh]\naddress = \"x\"\nidentity = \"-x\"", "ssh.identity: \"-x\" is not"),
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
