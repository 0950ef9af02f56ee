//! `deploy ssh`: a person's way to a host, the one that deploy takes.

use std::io::IsTerminal as _;
use std::os::unix::process::CommandExt as _;

use anyhow::{Context as _, Result};
use cairn_fleet::Fleet;
use cairn_recipe::project::Host;

use crate::arguments::SshOptions;
use crate::context::Context;
use crate::terminal::Stream;

pub fn run(context: &Context, options: &SshOptions) -> Result<u8> {
    let project = context.project()?;
    let host = project.host(&options.host)?;
    let store = context.store()?;
    let remote = (!options.command.is_empty()).then(|| options.command.join(" "));
    become_ssh(&context.fleet(&store)?, &host, remote.as_deref())
}

/// Only returns when it fails: `ssh` takes our place, with our terminal if there is one.
///
/// What the host writes from then on reaches the terminal as it is, on purpose: an operator who opens a
/// shell or an editor there wants the host to draw on the screen. It is the only way around
/// [`crate::terminal`], of `deploy ssh` and `deploy exec`.
pub fn become_ssh(fleet: &Fleet, host: &Host, remote: Option<&str>) -> Result<u8> {
    let terminal = std::io::stdin().is_terminal() && Stream::Out.is_terminal();
    let mut command = fleet.ssh(host, terminal, remote)?;
    Err(command.exec())
        .with_context(|| format!("cannot run {}: install the OpenSSH client", fleet.options.ssh.display()))
}
