//! What a host is besides its services: files below `/etc`, kernel settings, people, mounts and
//! plain units.
//!
//! A [`SystemSpec`] goes in with the host; the closure then holds the files at `etc/PATH`, the units
//! beside those of services, and in its manifest a [`System`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use cairn_formats::Sha256;
use serde::{Deserialize, Serialize};

use crate::layout::STATE_DIR;
use crate::names::{EtcPath, HostUnit, MountPoint, SysctlName, UserName};
use crate::{Change, ClosureError, HostSpec, InstanceId, Manifest, ServiceName};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SystemSpec {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub etc: BTreeMap<EtcPath, EtcSpec>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctl: BTreeMap<SysctlName, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub users: BTreeMap<UserName, Account>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub mounts: BTreeMap<MountPoint, Mount>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub units: BTreeMap<HostUnit, UnitSpec>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EtcSpec {
    pub text: String,
    /// Permission bits; the owner is root.
    pub mode: u32,
    /// Units of the host that read it again when it changes, or start anew.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub reload: BTreeSet<HostUnit>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub restart: BTreeSet<HostUnit>,
}

/// Somebody with a home at `/home/NAME` and a group of the same name and number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    pub uid: u32,
    /// Groups of the host besides the own one.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<String>,
    pub shell: String,
    /// Lines of `authorized_keys`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    pub what: String,
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitSpec {
    pub text: String,
    /// Whether it is up as long as the generation is live; else something else starts it.
    pub start: bool,
}

/// The manifest's share of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct System {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub etc: BTreeMap<EtcPath, EtcFile>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctl: BTreeMap<SysctlName, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub users: BTreeMap<UserName, Account>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub units: BTreeMap<HostUnit, UnitFile>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EtcFile {
    pub hash: Sha256,
    pub mode: u32,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub reload: BTreeSet<HostUnit>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub restart: BTreeSet<HostUnit>,
}

/// A unit of the host, a mount among them, whose name says nothing of us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitFile {
    pub hash: Sha256,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub start: bool,
    /// What it mounts, and where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount: Option<(MountPoint, Mount)>,
}

impl System {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Of the files as a whole, keys of people among them: equal files have an equal id.
    pub fn files_id(&self) -> InstanceId {
        let mut text = String::new();
        for (path, file) in &self.etc {
            let _ = writeln!(text, "{path} {:o} {}", file.mode, file.hash.hex());
        }
        for (name, account) in &self.users {
            let _ = writeln!(text, "{name} {:?}", account.keys);
        }
        InstanceId::of(&text)
    }

    /// Units that are up as long as the generation is live.
    pub fn lasting_units(&self) -> impl Iterator<Item = &HostUnit> {
        self.units.iter().filter(|(_, unit)| unit.start).map(|(name, _)| name)
    }

    /// Units that read, or start with, a file that is another one here than there: to reload, and to
    /// restart.
    pub fn listeners(&self, other: &Self) -> (BTreeSet<HostUnit>, BTreeSet<HostUnit>) {
        let (mut reload, mut restart) = (BTreeSet::new(), BTreeSet::new());
        for path in self.etc.keys().chain(other.etc.keys()) {
            let [here, there] = [self.etc.get(path), other.etc.get(path)];
            let content = |file: &EtcFile| (file.hash, file.mode);
            if here.map(content) != there.map(content) {
                for file in [here, there].into_iter().flatten() {
                    reload.extend(file.reload.iter().cloned());
                    restart.extend(file.restart.iter().cloned());
                }
            }
        }
        reload.retain(|unit| !restart.contains(unit));
        (reload, restart)
    }

    /// What there is, each with a text that is another one when it changes.
    fn items(&self) -> BTreeMap<String, String> {
        let mut items = BTreeMap::new();
        for (path, file) in &self.etc {
            items.insert(format!("/etc/{path}"), format!("{:o} {}", file.mode, file.hash.hex()));
        }
        for (name, value) in &self.sysctl {
            items.insert(format!("sysctl {name}"), value.clone());
        }
        for (name, account) in &self.users {
            items.insert(format!("user {name}"), format!("{account:?}"));
        }
        for (name, unit) in &self.units {
            let what =
                unit.mount.as_ref().map_or_else(|| format!("unit {name}"), |(point, _)| format!("mount {point}"));
            items.insert(what, format!("{} {}", unit.start, unit.hash.hex()));
        }
        items
    }

    /// Kernel settings and people as text, for comparisons.
    pub fn texts(&self) -> BTreeMap<String, String> {
        let mut texts = BTreeMap::new();
        let sysctl: String = self.sysctl.iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
        if !sysctl.is_empty() {
            texts.insert("sysctl".to_owned(), sysctl);
        }
        for (name, account) in &self.users {
            let groups: Vec<&str> = account.groups.iter().map(String::as_str).collect();
            let mut text = format!("uid {}\ngroups {}\nshell {}\n", account.uid, groups.join(" "), account.shell);
            account.keys.iter().for_each(|key| text.push_str(&format!("key {key}\n")));
            texts.insert(format!("users/{name}"), text);
        }
        texts
    }
}

impl Manifest {
    /// What changes of the host besides its services: only what is new, other than it was, or gone.
    pub fn system_changes_from(&self, old: Option<&Self>) -> Vec<(String, Change)> {
        let before = old.map(|old| old.system.items()).unwrap_or_default();
        let now = self.system.items();
        let names: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
        let change = |name: &String| match (before.get(name), now.get(name)) {
            (None, _) => Some(Change::New),
            (_, None) => Some(Change::Removed),
            (one, other) if one != other => Some(Change::Replaced),
            _ => None,
        };
        names.into_iter().filter_map(|name| Some((name.clone(), change(name)?))).collect()
    }
}

impl SystemSpec {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn check(&self, host: &HostSpec) -> Result<(), ClosureError> {
        let refuse = |what: String, value: &str, rule| {
            Err(ClosureError::System { what, value: value.chars().take(100).collect(), rule })
        };
        for (path, file) in &self.etc {
            if file.mode & !0o755 != 0 || file.mode & 0o400 == 0 {
                let rule = "it is readable by its owner and writable by nobody else, as in \"0644\"";
                return refuse(format!("the mode of /etc/{path}"), &format!("{:04o}", file.mode), rule);
            }
            // One name cannot be a file and a folder.
            let mut folders = path.as_str().match_indices('/').map(|(at, _)| &path.as_str()[..at]);
            if let Some(folder) = folders.find(|folder| self.etc.contains_key(*folder)) {
                return refuse(format!("/etc/{path}"), folder, "it is declared as a file as well");
            }
        }
        for (name, value) in &self.sysctl {
            if value.is_empty() || value.len() > 200 || value.chars().any(char::is_control) {
                return refuse(format!("sysctl {name}"), value, "a value is one line");
            }
        }
        let mut ids: BTreeMap<u32, String> = BTreeMap::new();
        for (name, service) in &host.services {
            ids.insert(service.user.uid, format!("service {name}"));
        }
        for (name, account) in &self.users {
            let at = |key: &str| format!("{key} of user {name}");
            if !(1000..60_000).contains(&account.uid) {
                return refuse(at("uid"), &account.uid.to_string(), "people have 1000 to 59999");
            }
            if ids.insert(account.uid, format!("user {name}")).is_some() {
                return refuse(at("uid"), &account.uid.to_string(), "somebody else of this host has it");
            }
            let path = |text: &str| text.starts_with('/') && text.bytes().all(|b| plain(b) || b == b'/');
            if !path(&account.shell) {
                return refuse(at("shell"), &account.shell, "it is an absolute path");
            }
            if let Some(group) = account.groups.iter().find(|group| UserName::parse(group).is_err()) {
                return refuse(at("groups"), group, "it is no name of a group");
            }
            if let Some(key) = account.keys.iter().find(|key| !is_key(key)) {
                return refuse(at("keys"), key, "it is a line of authorized_keys, as in \"ssh-ed25519 AAAA… alice\"");
            }
        }
        for (point, mount) in &self.mounts {
            let option = |text: &String| !text.is_empty() && text.bytes().all(|b| plain(b) || b"=/:%".contains(&b));
            if mount.what.is_empty() || !mount.what.bytes().all(|b| b.is_ascii_graphic()) {
                return refuse(format!("mount {point}"), &mount.what, "`what` is a device or a name without blanks");
            }
            if mount.kind.is_empty() || !mount.kind.bytes().all(plain) {
                return refuse(format!("mount {point}"), &mount.kind, "it is no type of file system");
            }
            if let Some(option) = mount.options.iter().find(|text| !option(text)) {
                return refuse(format!("mount {point}"), option, "an option takes letters, digits and =/:%._@+-");
            }
        }
        if let Some(name) = self.units.keys().find(|name| name.as_str().ends_with(".mount")) {
            return refuse("unit".to_owned(), name.as_str(), "mounts are declared as such");
        }
        Ok(())
    }

    /// Every unit's text, and what the manifest says.
    pub(crate) fn render(&self) -> Result<(System, BTreeMap<HostUnit, String>), ClosureError> {
        let mut system = System { sysctl: self.sysctl.clone(), users: self.users.clone(), ..System::default() };
        for (path, file) in &self.etc {
            let EtcSpec { text, mode, reload, restart } = file.clone();
            let hash = Sha256::of(text.as_bytes());
            system.etc.insert(path.clone(), EtcFile { hash, mode, reload, restart });
        }
        let mut texts = BTreeMap::new();
        for (point, mount) in &self.mounts {
            let (name, text) = (point.unit()?, mount_unit(point, mount));
            let hash = Sha256::of(text.as_bytes());
            system
                .units
                .insert(name.clone(), UnitFile { hash, start: true, mount: Some((point.clone(), mount.clone())) });
            texts.insert(name, text);
        }
        for (name, unit) in &self.units {
            let hash = Sha256::of(unit.text.as_bytes());
            system.units.insert(name.clone(), UnitFile { hash, start: unit.start, mount: None });
            texts.insert(name.clone(), unit.text.clone());
        }
        Ok((system, texts))
    }

    /// The mounts that a service's state lies on.
    pub(crate) fn mounts_below(&self, service: &ServiceName) -> impl Iterator<Item = &MountPoint> {
        let folder = format!("{STATE_DIR}/{service}/");
        self.mounts.keys().filter(move |point| {
            let point = format!("{point}/");
            folder.starts_with(&point) || point.starts_with(&folder)
        })
    }
}

fn plain(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"._@+-".contains(&b)
}

fn is_key(line: &str) -> bool {
    let kinds = ["ssh-ed25519 ", "ssh-rsa ", "ecdsa-sha2-", "sk-ssh-ed25519@openssh.com ", "sk-ecdsa-sha2-"];
    let printable = line.chars().all(|c| !c.is_control());
    printable && kinds.iter().any(|kind| line.starts_with(kind) || line.contains(&format!(" {kind}")))
}

fn mount_unit(point: &MountPoint, mount: &Mount) -> String {
    let literal = |text: &str| text.replace('%', "%%");
    let mut out = format!(
        "# cairn: rendered from the host's definition into the store. Do not edit: change the definition and switch.\n\n\
         [Unit]\nDescription={point}\nBefore=cairn-boot.service\n\n\
         [Mount]\nWhat={}\nWhere={point}\nType={}\n",
        literal(&mount.what),
        mount.kind
    );
    if !mount.options.is_empty() {
        out.push_str(&format!("Options={}\n", literal(&mount.options.join(","))));
    }
    out
}
