//! `deploy notices`.

use std::io::{self, Write as _};

use anyhow::{Context as _, Result};

/// Written by `cargo xtask notices`. Compiled in, so that a copy of the program alone has it.
const NOTICES: &str = include_str!("../../THIRD-PARTY-NOTICES");

pub fn run() -> Result<u8> {
    match io::stdout().write_all(NOTICES.as_bytes()) {
        // A pager that was left before the end has what it wanted.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        result => result.context("cannot write to standard output").map(|()| 0),
    }
}
