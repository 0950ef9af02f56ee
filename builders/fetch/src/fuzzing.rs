//! Entry points for the fuzz targets in `fuzz/`: private parsers of foreign bytes. Not an API.

use std::path::Path;

use crate::AptSource;
use crate::apt;

/// The sources that the files of a folder like `/etc/apt` declare.
pub fn apt_sources_below(folder: &Path) -> Vec<AptSource> {
    apt::sources_below(folder)
}
