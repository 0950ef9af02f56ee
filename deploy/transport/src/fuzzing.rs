//! Entry points for the fuzz targets in `fuzz/`: private parsers of foreign bytes. Not an API.

use std::io::{self, BufRead};

use crate::bootstrap;

/// Reads up to the agent's first line; whether it came, and what was printed before it.
pub fn opening(from: &mut impl BufRead) -> io::Result<(bool, String)> {
    bootstrap::read_opening(from).map(|(opening, noise)| (opening.is_some(), noise))
}
