//! `deploy ssh`: a person's way to a host, the one that deploy takes.

use std::io::IsTerminal as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::arguments::SshOptions;
use crate::context::Context;
use crate::terminal::Stream;

pub fn run(context: &Context, options: &SshOptions) -> Result<u8> {
    let project = context.project()?;
    let host = project.host(&options.host)?;
    let store = context.store()?;
    let remote = (!options.command.is_empty()).then(|| options.command.join(" "));
    become_ssh(context.fleet(&store)?.ssh(&host, has_terminal(), remote.as_deref())?)
}

/// Whether `ssh` gets a terminal from us to pass on.
pub fn has_terminal() -> bool {
    std::io::stdin().is_terminal() && Stream::Out.is_terminal()
}

/// Only returns when it fails: `ssh` replaces this process.
///
/// What the host writes from then on reaches the terminal as it is, on purpose: an operator who opens a
/// shell or an editor there wants the host to draw on the screen. It is the only way around
/// [`crate::terminal`], of `deploy ssh` and `deploy exec`.
pub fn become_ssh(mut command: Command) -> Result<u8> {
    let error = command.exec();
    let program = command.get_program().to_string_lossy().into_owned();
    Err(error).with_context(|| format!("cannot run {program}: install the OpenSSH client"))
}
