//! Where things are on a host. The units and the agent must agree on it, so it stands here.

use std::path::{Path, PathBuf};

use crate::{InstanceId, ServiceName};

/// Sockets, at `/run/cairn/SERVICE/INSTANCE/N.sock`.
pub const RUN_DIR: &str = "/run/cairn";
/// Where each service sees its own instance's directory, whatever its id.
pub const SELF_DIR: &str = "/run/cairn/self";
/// The link in `/run/cairn/SERVICE` to the instance that takes traffic.
pub const CURRENT: &str = "current";
/// Two more links in `/run/cairn/SERVICE`, which instances take in turn. In the directory of one that
/// has the second there is a file of that name.
pub const SLOTS: [&str; 2] = ["a", "b"];
/// Where each service sees its configuration.
pub const CONFIG_DIR: &str = "/run/cairn/config";
/// Where each service sees the files that it may be told to read again; on the host in
/// `/run/cairn/live/SERVICE/INSTANCE`.
pub const LIVE_DIR: &str = "/run/cairn/live";
/// Decrypted secrets, in memory.
pub const SECRETS_DIR: &str = "/run/cairn/secrets";
/// State of services, at `/var/lib/cairn/state/SERVICE/NAME`.
pub const STATE_DIR: &str = "/var/lib/cairn/state";
/// Files that `/etc` links to: `current` leads to a folder of them, and a switch renames it.
pub const ETC_DIR: &str = "/run/cairn/etc";
/// In that folder: `authorized_keys` of people, by name. No path below `/etc` begins with a dot.
pub const KEYS_DIR: &str = ".keys";
/// The generations, as a Nix profile.
pub const PROFILE: &str = "/nix/var/nix/profiles/cairn";
/// The profile's name in the store.
pub const PROFILE_NAME: &str = "cairn";
/// The agent's program, below its store path.
pub const AGENT_PROGRAM: &str = "bin/cairn-agent";

/// The file name of a replica's socket.
pub fn socket_name(replica: u32) -> String {
    format!("{replica}.sock")
}

/// Replaces `{socket}` and `{replica}` in an argument or a value of the environment.
pub fn fill(text: &str, replica: u32) -> String {
    let socket = format!("{SELF_DIR}/{}", socket_name(replica));
    text.replace("{socket}", &socket).replace("{replica}", &replica.to_string())
}

pub fn service_dir(run_dir: &Path, service: &ServiceName) -> PathBuf {
    run_dir.join(service.as_str())
}

pub fn instance_dir(run_dir: &Path, service: &ServiceName, instance: &InstanceId) -> PathBuf {
    service_dir(run_dir, service).join(instance.as_str())
}
