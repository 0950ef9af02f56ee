//! The host closure: what one host is to run.
//!
//! A [`HostSpec`] (made from `hosts/NAME.toml`) goes in; [`render`] gives the files of a store
//! path: `closure.json` (a [`Manifest`], which the agent reads), the systemd units, and a link to
//! the agent. [`write()`] puts them on disk; nothing else here touches a file.
//!
//! These ideas carry the rest of the deployment:
//!
//! * **An instance** is one way of running a service: its id is a hash over everything in the
//!   unit's text (root file system, command, environment, hardening), so an unchanged service has
//!   an unchanged id and is not restarted, and a changed one has other unit names and runs beside
//!   the old one until traffic moves.
//! * **Traffic** goes through one symbolic link per service, `/run/cairn/SERVICE/current`, whose
//!   target is the directory with the instance's sockets. TCP ports are held by systemd socket
//!   units whose names do not change with the instance.
//! * **Kinds** ([`Kind`]): besides services there are tasks (once before traffic moves), checks
//!   (once before the commit) and timers; all are units in the same sandbox.
//! * **What outlives a generation** lies outside of the store: state folders, and secrets, of
//!   which a closure knows only names and version numbers.
//! * **The host itself** ([`SystemSpec`]): files below `/etc`, kernel settings, people, mounts and plain
//!   units belong to the closure as services do.
//! * **Hardened by default**: see [`hardening`]; a definition loosens single directives, by name
//!   and with a reason, which stands in the unit as a comment.
//!
//! ```
//! let spec: cairn_closure::HostSpec = serde_json::from_str(
//!     r#"{"version": 1, "name": "local", "platform": "linux/amd64",
//!         "agent": "/nix/store/0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-cairn-agent",
//!         "services": {"api": {
//!             "rootfs": "/nix/store/1mdqa9w1p6cmli6976v4wi0sw9r4p5pr-api",
//!             "image": "api", "replicas": 2, "command": ["/usr/local/bin/serve", "{socket}"],
//!             "user": {"name": "app", "uid": 10001, "gid": 10001},
//!             "listen": {"unix": true}}}}"#,
//! )?;
//! let closure = cairn_closure::render(&spec)?;
//! let api = &closure.manifest.services["api"];
//! let unit = format!("units/cairn-api-{}-2.service", api.instance);
//! assert!(closure.files.keys().any(|path| path.as_bytes() == unit.as_bytes()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod address;
mod change;
mod check;
mod error;
pub mod hardening;
pub mod layout;
mod manifest;
mod names;
mod quote;
mod render;
mod spec;
mod system;
mod unit;
mod write;

pub use address::{collide, reachable};
pub use change::Change;
pub use error::ClosureError;
pub use manifest::{Health, Job, Manifest, Replica, Service, Socket};
pub use names::{
    CredentialName, DnsName, EtcPath, HostName, HostUnit, InstanceId, MountPoint, SecretName, ServiceName, StateName,
    StoreDir, SysctlName, UnitName, UserName,
};
pub use quote::environment;
pub use render::{Closure, Content, render};
pub use spec::{
    HealthSpec, HostSpec, Inherit, Kind, Limits, Listen, Loosened, Millis, Read, Ready, Reload, ReloadSignal, Replace,
    Secret, ServiceSpec, StopSignal, User, VERSION,
};
pub use system::{Account, EtcFile, EtcSpec, Mount, System, SystemSpec, UnitFile, UnitSpec};
pub use unit::BOOT_SERVICE;
pub use write::write;
