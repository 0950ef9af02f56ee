//! Entry points for the fuzz targets in `fuzz/`: private parsers of foreign bytes. Not an API.

use cairn_formats::StorePath;

use crate::contents;

/// Name and version in a stanza of `/var/lib/dpkg/status.d`.
pub fn debian_package(stanza: &str) -> Option<(String, String)> {
    contents::debian(stanza)
}

/// Name and version in the name of a `.dist-info` folder.
pub fn wheel(folder: &str) -> Option<(String, String)> {
    contents::wheel(folder)
}

/// The configuration that a unit mounts.
pub fn config_of(unit: &str) -> Option<StorePath> {
    contents::config_of(unit)
}
