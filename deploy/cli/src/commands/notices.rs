//! `deploy notices`.

use std::io;

use anyhow::{Context as _, Result};

use crate::terminal;

/// Written by `cargo xtask notices`. Compiled in, so that a copy of the program alone has it.
const NOTICES: &str = include_str!("../../THIRD-PARTY-NOTICES");

pub fn run() -> Result<u8> {
    match terminal::verbatim(NOTICES.as_bytes()) {
        // A pager that was left before the end has what it wanted.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        result => result.context("cannot write to standard output").map(|()| 0),
    }
}
