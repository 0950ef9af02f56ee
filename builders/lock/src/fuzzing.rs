//! Entry points for the fuzz targets in `fuzz/`: private parsers of foreign bytes. Not an API.

pub use crate::pypi::fuzzing::*;
