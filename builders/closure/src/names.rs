//! Names that become parts of unit names and paths, so each is checked once, here.

use std::borrow::Borrow;
use std::fmt;

use cairn_formats::{Sha256, StorePath};
use serde::{Deserialize, Serialize};

use crate::ClosureError;

/// A name of lower-case letters, digits and single dashes in between.
fn is_label(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
        && !text.contains("--")
}

/// Parts with dots between, and no address: the last part begins with a letter.
fn is_dns_name(text: &str) -> bool {
    let part = |part: &str| {
        (1..=63).contains(&part.len())
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    (3..=253).contains(&text.len())
        && text.contains('.')
        && text.split('.').all(part)
        && last.starts_with(|c: char| c.is_ascii_lowercase())
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            pub fn parse(text: &str) -> Result<Self, ClosureError> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(ClosureError::Name {
                        what: $what,
                        value: text.chars().take(100).collect(),
                        rule: $rule,
                    })
                }
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = ClosureError;
            fn try_from(text: String) -> Result<Self, ClosureError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        /// So that a map keyed by the name can be asked with a plain string.
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// A host, as in `hosts/NAME.toml`.
    HostName,
    "the host name",
    "it takes 1 to 63 lower-case letters, digits and single dashes",
    |text| is_label(text, 63)
);

name!(
    /// A service of a host. `boot` and `activation` would clash with the agent's own units, and
    /// the others with directories beside those of services' sockets.
    ServiceName,
    "the service name",
    "it takes 1 to 32 lower-case letters, digits and single dashes, begins with a letter, and is not boot, activation, self, live, config, secrets or etc",
    |text| {
        is_label(text, 32)
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && !["boot", "activation", "self", "live", "config", "secrets", "etc"].contains(&text)
    }
);

name!(
    /// A name under which clients reach a service, in full.
    DnsName,
    "the DNS name",
    "it takes lower-case letters, digits and dashes, with a dot between its parts, as in \"www.example.com\"",
    is_dns_name
);

name!(
    /// A folder of a service's state.
    StateName,
    "the name of a state folder",
    "it takes 1 to 32 lower-case letters, digits and single dashes",
    |text| is_label(text, 32)
);

name!(
    /// A secret of the project.
    SecretName,
    "the name of a secret",
    "it takes 1 to 63 lower-case letters, digits and single dashes",
    |text| is_label(text, 63)
);

name!(
    /// A secret as a service sees it: a file name.
    CredentialName,
    "the name of a credential",
    "it takes 1 to 63 lower-case letters, digits and single dashes",
    |text| is_label(text, 63)
);

name!(
    /// One way of running a service: the first 12 hexadecimal digits of a hash over its unit.
    InstanceId,
    "the instance id",
    "it takes 12 hexadecimal digits",
    |text| text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
);

name!(
    /// A unit of ours: `cairn-…` or `cairn.target`, with the suffix.
    UnitName,
    "the unit name",
    "it begins with \"cairn\", ends with .service, .socket, .timer or .target, and takes letters, digits and -.:_",
    |text| {
        (text.starts_with("cairn-") || text.starts_with("cairn."))
            && [".service", ".socket", ".timer", ".target"].iter().any(|s| text.ends_with(s))
            && text.len() < 250
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:_".contains(&b))
    }
);

name!(
    /// A file below `/etc`, as in `ssh/sshd_config.d/10-team.conf`.
    EtcPath,
    "the path below /etc",
    "it is relative, of letters, digits and ._@+-, and not a file that other tools write or that is read before \
     anything is placed: passwd, shadow, group, gshadow and their like, machine-id, hostname, fstab (use mounts), \
     crypttab, mtab, ld.so.cache, ld.so.preload, systemd/system (use units), systemd/system.conf, \
     systemd/system-generators, keys of hosts in ssh/",
    is_etc_path
);

name!(
    /// A kernel setting, as in `net.core.somaxconn`.
    SysctlName,
    "the name of a kernel setting",
    "it takes letters, digits, _ and -, with a dot between its parts, as in \"net.core.somaxconn\"",
    |text| {
        let part = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
        };
        text.contains('.') && text.len() < 200 && text.split('.').all(part)
    }
);

name!(
    /// Somebody's login on a host.
    UserName,
    "the name of a user",
    "it takes 1 to 31 lower-case letters, digits, _ and -, begins with a letter, and is not root nor cairn-…",
    |text| {
        (1..32).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b))
            && text != "root"
            && !text.starts_with("cairn-")
    }
);

name!(
    /// Where something is mounted.
    MountPoint,
    "the place of a mount",
    "it is an absolute path of letters, digits and ._-, and none that the system needs to come up or that \
     Cairn runs from: /, /nix, /etc, /run, /usr, /boot, /var, /var/lib, …",
    is_mount_point
);

name!(
    /// A unit of the host that is not made for a service of ours, as in `ssh.service`.
    HostUnit,
    "the name of a unit",
    "it ends with .service, .timer, .socket, .path, .target or .mount, takes letters, digits and -.:_@\\, and does \
     not begin with \"cairn\"",
    |text| {
        [".service", ".timer", ".socket", ".path", ".target", ".mount"]
            .iter()
            .any(|suffix| text.strip_suffix(suffix).is_some_and(|stem| !stem.is_empty()))
            && text.len() < 250
            && !text.starts_with(['-', '.'])
            && !text.starts_with("cairn")
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:_@\\".contains(&b))
    }
);

/// Parts that neither leave their place nor surprise a shell.
fn is_plain_parts(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._@+-".contains(&b);
    let part = |part: &str| (1..=100).contains(&part.len()) && part != "." && part != ".." && part.bytes().all(plain);
    text.len() < 250 && text.split('/').all(part)
}

/// What other tools write, and what is read before anything of ours can be in its place.
const NOT_OF_ETC: [&str; 17] = [
    "passwd",
    "shadow",
    "group",
    "gshadow",
    "subuid",
    "subgid",
    "machine-id",
    "hostname",
    "fstab",
    "crypttab",
    "mtab",
    "ld.so.cache",
    "ld.so.preload",
    "systemd/system",
    "systemd/system.conf",
    "systemd/system-generators",
    "cairn",
];

fn is_etc_path(text: &str) -> bool {
    let within = |kept: &str| text.trim_end_matches('-') == kept || text.starts_with(&format!("{kept}/"));
    is_plain_parts(text)
        && !text.starts_with('.')
        && !NOT_OF_ETC.iter().any(|kept| within(kept))
        && !text.starts_with("systemd/system.conf.d/")
        && !text.starts_with("ssh/ssh_host_")
}

fn is_mount_point(text: &str) -> bool {
    let Some(path) = text.strip_prefix('/') else { return false };
    let top = path.split('/').next().unwrap_or_default();
    let of_the_system = [
        "nix", "etc", "run", "usr", "bin", "sbin", "lib", "lib32", "lib64", "boot", "proc", "sys", "dev", "tmp", "root",
    ];
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-/".contains(&b);
    is_plain_parts(path)
        && path.bytes().all(plain)
        && !of_the_system.contains(&top)
        && !["var", "var/lib", "var/log", "var/tmp", "home"].contains(&path)
}

impl MountPoint {
    /// Named as systemd-escape(1) does it.
    pub fn unit(&self) -> Result<HostUnit, ClosureError> {
        let mut name = String::new();
        for (at, c) in self.0.trim_matches('/').char_indices() {
            match c {
                '/' => name.push('-'),
                '.' if at == 0 => name.push_str("\\x2e"),
                c if c.is_ascii_alphanumeric() || c == '.' || c == '_' => name.push(c),
                c => name.push_str(&format!("\\x{:02x}", c as u32)),
            }
        }
        HostUnit::parse(&format!("{name}.mount"))
    }
}

impl InstanceId {
    pub(crate) fn of(text: &str) -> Self {
        Self(Sha256::of(text.as_bytes()).hex()[..12].to_owned())
    }
}

impl UnitName {
    pub fn is_socket(&self) -> bool {
        self.0.ends_with(".socket")
    }

    /// Whether it is `cairn-SERVICE.target`.
    pub fn is_target_of_service(&self) -> bool {
        self.0.starts_with("cairn-") && self.0.ends_with(".target")
    }

    /// Whether it is `cairn-SERVICE-INSTANCE-N.service`, or `.timer`.
    pub fn is_replica(&self) -> bool {
        self.service().is_some()
    }

    /// The service that a replica or a timer is of.
    pub fn service(&self) -> Option<ServiceName> {
        let name = self.0.strip_prefix("cairn-")?;
        let name = name.strip_suffix(".service").or_else(|| name.strip_suffix(".timer"))?;
        let (rest, number) = name.rsplit_once('-')?;
        let (service, instance) = rest.rsplit_once('-')?;
        number.parse::<u32>().ok()?;
        InstanceId::parse(instance).ok()?;
        ServiceName::parse(service).ok()
    }
}

/// A store path that serialises absolutely, `/nix/store/<base name>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StoreDir(pub StorePath);

impl fmt::Display for StoreDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.absolute())
    }
}

impl TryFrom<String> for StoreDir {
    type Error = cairn_formats::FormatError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        StorePath::from_absolute(&text).map(Self)
    }
}

impl From<StoreDir> for String {
    fn from(dir: StoreDir) -> Self {
        dir.0.absolute()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn kinds_of_units_are_told_apart() {
        for (name, replica, target) in [
            ("cairn-api-527e9101fede-1.service", true, false),
            ("cairn-node-exporter-527e9101fede-12.service", true, false),
            ("cairn-activation-1795409227776-63.service", false, false),
            ("cairn-certbot-527e9101fede-1.timer", true, false),
            ("cairn-boot.service", false, false),
            ("cairn-api.target", false, true),
            ("cairn.target", false, false),
        ] {
            let unit = UnitName::parse(name).unwrap();
            assert_eq!((unit.is_replica(), unit.is_target_of_service()), (replica, target), "{name}");
        }
    }

    #[test]
    fn paths_below_etc_stay_there_and_leave_alone_what_is_not_theirs() {
        for bad in [
            "",
            "/etc/motd",
            "../motd",
            "a/../b",
            "a//b",
            "a/",
            ".",
            "a/./b",
            "a\nb",
            "a b",
            "a\0b",
            "passwd",
            "passwd-",
            "shadow",
            "gshadow",
            "machine-id",
            "fstab",
            "systemd/system/x.service",
            "systemd/system.conf",
            "systemd/system.conf.d/x.conf",
            "systemd/system-generators/x",
            "ssh/ssh_host_ed25519_key",
            "ä",
            "$(id)",
            ".keys/a",
        ] {
            assert!(EtcPath::parse(bad).is_err(), "{bad:?}");
        }
        for good in
            ["motd", "ssh/sshd_config.d/10-team.conf", "systemd/journald.conf.d/x.conf", "passwd.d/x", "sudoers.d/a"]
        {
            assert!(EtcPath::parse(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn names_of_the_host_itself_are_checked() {
        for bad in ["", "somaxconn", "net..x", "net/core", "../x.y", "net.core\n.x", ".a"] {
            assert!(SysctlName::parse(bad).is_err(), "{bad:?}");
        }
        assert!(SysctlName::parse("net.ipv4.conf.eth0-1.rp_filter").is_ok());
        for bad in ["", "root", "Alice", "a b", "-a", "cairn-1", "a:b", "a\n", "1a"] {
            assert!(UserName::parse(bad).is_err(), "{bad:?}");
        }
        for bad in
            ["/", "srv", "/etc", "/etc/x", "/nix/store", "/var", "/run/x", "/srv/../etc", "/srv/a b", "/srv/", "/srv/@"]
        {
            assert!(MountPoint::parse(bad).is_err(), "{bad:?}");
        }
        for bad in ["ssh", "cairn-x.service", "../x.service", "-x.service", "a b.service", ".service"] {
            assert!(HostUnit::parse(bad).is_err(), "{bad:?}");
        }
        assert!(HostUnit::parse("ssh@a.service").is_ok());
        // systemd-escape --path --suffix=mount
        for (point, unit) in [
            ("/srv/data", "srv-data.mount"),
            ("/srv/my-data", "srv-my\\x2ddata.mount"),
            ("/.hidden/x", "\\x2ehidden-x.mount"),
            ("/var/lib/cairn/state", "var-lib-cairn-state.mount"),
        ] {
            assert_eq!(MountPoint::parse(point).unwrap().unit().unwrap().as_str(), unit);
        }
    }

    #[test]
    fn names_that_could_leave_their_place_are_refused() {
        for bad in ["", "-a", "a-", "a--b", "A", "a/b", "a.b", "a b", "..", "boot", "self", "1a", "ä"] {
            assert!(ServiceName::parse(bad).is_err(), "{bad}");
        }
        for good in ["api", "a-1", "node-exporter"] {
            assert!(ServiceName::parse(good).is_ok(), "{good}");
        }
        let long = format!("{}.com", "a".repeat(64));
        for bad in [
            "",
            "com",
            "Example.com",
            "*.example.com",
            "a..com",
            ".com",
            "-a.com",
            "a-.com",
            "10.0.0.1",
            "a.com.",
            &long,
        ] {
            assert!(DnsName::parse(bad).is_err(), "{bad}");
        }
        for good in ["example.com", "a-1.b2.example.com", "xn--bcher-kva.example", "1.example.com"] {
            assert!(DnsName::parse(good).is_ok(), "{good}");
        }
        for bad in ["cairn-a", "ssh.service", "cairn-../x.service", "cairn-a%i.service"] {
            assert!(UnitName::parse(bad).is_err(), "{bad}");
        }
        for good in ["cairn.target", "cairn-proxy-0.0.0.0:8080.socket", "cairn-a-::1:80.socket"] {
            assert!(UnitName::parse(good).is_ok(), "{good}");
        }
    }
}
