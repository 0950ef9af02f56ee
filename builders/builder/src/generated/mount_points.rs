//! What must exist in a root that nobody can write to: a mount cannot make its own mount point.

use crate::tree::Attributes;

/// A directory that every image has, and why.
pub struct MountPoint {
    pub path: &'static str,
    pub attributes: Attributes,
}

const fn directory(path: &'static str, mode: u32) -> MountPoint {
    MountPoint { path, attributes: Attributes::root(mode) }
}

pub const DIRECTORIES: [MountPoint; 13] = [
    // What systemd's MountAPIVFS= and every container engine mount.
    directory("proc", 0o755),
    directory("sys", 0o755),
    directory("dev", 0o755),
    directory("run", 0o755),
    // PrivateTmp=, or a place for everybody where nothing is mounted.
    directory("tmp", 0o1777),
    directory("var/tmp", 0o1777),
    // StateDirectory=, CacheDirectory= and LogsDirectory= are mounted below these.
    directory("var/lib", 0o755),
    directory("var/cache", 0o755),
    directory("var/log", 0o755),
    // Sockets of services, where /run is not mounted anew.
    directory("run/cairn", 0o755),
    // Units refer to files of the host closure by their store paths.
    directory("nix/store", 0o755),
    // Where programs that run as root look for their settings.
    directory("root", 0o700),
    // For what a host mounts by hand.
    directory("mnt", 0o755),
];

/// Files that are mounted over, or that programs want to find. Only where no tree brings them.
pub const FILES: [(&str, &str); 4] = [
    // The host's own may be mounted over each.
    ("etc/resolv.conf", ""),
    ("etc/machine-id", ""),
    // Without this one `localhost` is asked of a name server.
    ("etc/hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"),
    ("etc/hostname", "localhost\n"),
];
