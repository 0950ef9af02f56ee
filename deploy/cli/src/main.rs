//! `deploy`: reads arguments, shows progress, prints results. What it does lies in other crates.
//!
//! Results go to standard output, everything else to standard error. Exit codes: 0 done; 1 failed,
//! nothing changed; 2 usage; 3 failed and reverted; 4 some hosts failed; 5 locked by another.

// Everything goes through `terminal`.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod arguments;
mod commands;
mod context;
mod display;
mod environment;
mod host_keys;
mod interrupt;
mod news;
mod programs;
mod secrets;
mod source;
mod terminal;

use std::process::ExitCode;

use clap::Parser as _;

use crate::arguments::{Arguments, Command};
use crate::context::Context;

/// Wrong arguments.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    if let Err(error) = environment::correct() {
        display::error(&anyhow::Error::new(error).context("cannot start again in a corrected environment"));
        return ExitCode::FAILURE;
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // As clap does: nothing is to be done about a stream that is closed.
            let _ = terminal::usage::<Arguments>(&error);
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE));
        }
    };
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_env("DEPLOY_LOG").unwrap_or_default())
        .with_ansi(false)
        .with_writer(|| terminal::Log)
        .init();
    match run(&arguments) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            display::error(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    // These need neither a project nor a store.
    match &arguments.command {
        Command::Completions { shell } => return commands::shell::completions(*shell),
        Command::CacheKey(action) => return commands::cache_key::run(&arguments.global, action),
        Command::Man { dir } => return commands::shell::manual(dir.as_deref()),
        Command::Notices => return commands::notices::run(),
        _ => {}
    }
    let context = Context::new(&arguments.global)?;
    match &arguments.command {
        Command::Lock(options) => commands::lock::run(&context, options),
        Command::Build(options) => commands::build::run(&context, options),
        Command::Notify(action) => commands::notify::run(&context, action),
        Command::Certs(action) => commands::certs::run(&context, action),
        Command::Config(action) => commands::config::run(&context, action),
        Command::Copy(options) => commands::copy::run(&context, options),
        Command::Publish(options) => commands::publish::run(&context, options),
        Command::UserData(options) => commands::user_data::run(&context, options),
        Command::Switch(options) => commands::switch::run(&context, options),
        Command::Rollback(options) => commands::rollback::run(&context, options),
        Command::Generations(options) => commands::generations::run(&context, options),
        Command::Status(options) => commands::status::run(&context, options),
        Command::Logs(options) => commands::logs::run(&context, options),
        Command::Ssh(options) => commands::ssh::run(&context, options),
        Command::Exec(options) => commands::exec::run(&context, options),
        Command::Restart(options) => commands::restart::run(&context, options),
        Command::Maintenance(action) => commands::maintenance::run(&context, action),
        Command::Secrets(options) => commands::secrets::run(&context, options),
        Command::Machine(action) => commands::machine::run(&context, action),
        Command::Store(action) => commands::store::run(&context, action),
        Command::Plan(options) => commands::plan::run(&context, options),
        Command::History(options) => commands::history::run(&context, options),
        Command::Diff(options) => commands::diff::run(&context, options),
        Command::Pin(options) => commands::pin::run(&context, options, true),
        Command::Unpin(options) => commands::pin::run(&context, options, false),
        Command::Gc(options) => commands::gc::run(&context, options),
        Command::Unlock(options) => commands::unlock::run(&context, options),
        Command::Bootstrap(options) => commands::bootstrap::run(&context, options),
        Command::Doctor(options) => commands::doctor::run(&context, options),
        Command::Adopt(options) => commands::adopt::run(&context, options),
        Command::Uninstall(options) => commands::uninstall::run(&context, options),
        Command::CacheKey(_) | Command::Completions { .. } | Command::Man { .. } | Command::Notices => Ok(0),
    }
}
