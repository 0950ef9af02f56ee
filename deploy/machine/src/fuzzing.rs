//! Entry points for the fuzz targets in `fuzz/`: private parsers of foreign bytes. Not an API.

use std::path::PathBuf;

use crate::{Result, mounts, network, supervisor};

/// The mount points of `/proc/self/mountinfo`.
pub fn mount_points(text: &str) -> Vec<PathBuf> {
    mounts::parse(text).into_iter().map(|mount| mount.point).collect()
}

/// Whether a line is one of `/proc/PID/stat`.
pub fn stat(text: &str) -> bool {
    supervisor::Stat::parse(text).is_some()
}

/// Whether a network of ours is free beside the routes that `ip -json route` prints.
pub fn is_free(routes: &str) -> Result<bool> {
    network::is_free_beside(routes)
}
