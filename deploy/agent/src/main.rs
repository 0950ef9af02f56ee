//! `cairn-agent`: one program for all that happens on a host.
//!
//! | call | by | for |
//! |---|---|---|
//! | `serve` | SSH | the conversation with an operator's `deploy` |
//! | `activate ID` | a transient unit | the activation itself |
//! | `revert ID` | that unit's `ExecStopPost=` | going back when it died |
//! | `confirm ID` | an operator on the host | as a confirmation over SSH |
//! | `pull` | the unit of a timer | what a pointer in a cache names, fetched and made live |
//! | `pull-here` | `pull` | the same, as the agent that the closure brought along |
//! | `exec SERVICE REPLICA WORD…` | SSH | a command where a replica runs (`-`: the first that runs) |
//! | `generator NORMAL EARLY LATE` | systemd at boot and reload | units of the committed generation |
//! | `boot` | a unit at boot | what the generator cannot do |
//! | `await SERVICE…` | sockets at boot | waits until these are healthy |
//! | `shutdown` | a unit when the host goes down | lets nobody in any more, before services end |
//! | `expire` | a timer | ends maintenance whose time is over |
//! | `host` | an early unit at boot | files, people and settings of the host |
//! | `notices` | an operator on the host | licences of what this program is made of |
//!
//! Arguments are parsed by hand: nobody types them, and the program travels to every new host.

#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cairn_agent::error::AgentError;
use cairn_agent::paths::Paths;
use cairn_agent::{activation, boot, enter, generator, maintenance, output, private, pull, serve, shutdown, system};
use cairn_protocol::{ActivationId, decode_word};

const USAGE: u8 = 2;

/// Written by `cargo xtask notices`. Compiled in: the agent comes to a host, and is published, alone.
const NOTICES: &str = include_str!("../THIRD-PARTY-NOTICES");

fn main() -> ExitCode {
    // The store and the run directories must be readable to services, whatever umask the login set.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_default();
    let arguments: Vec<OsString> = arguments.collect();
    // systemd calls what lies in its directory of generators, with three directories.
    let as_generator = Path::new(&program).parent().is_some_and(|dir| dir.ends_with("system-generators"));
    let outcome = if as_generator { generate(&arguments) } else { dispatch(&arguments) };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop::Usage(message)) => {
            output::warn(&format!("cairn-agent: {message}"));
            ExitCode::from(USAGE)
        }
        Err(Stop::Failed(message)) => {
            output::warn(&format!("cairn-agent: {message}"));
            ExitCode::FAILURE
        }
    }
}

enum Stop {
    Usage(String),
    Failed(String),
}

fn failed(error: impl std::fmt::Display) -> Stop {
    Stop::Failed(error.to_string())
}

fn dispatch(arguments: &[OsString]) -> Result<(), Stop> {
    let words: Vec<&str> = arguments.iter().map(|word| word.to_str().unwrap_or("?")).collect();
    if let ["activate" | "revert" | "pull" | "boot", ..] = words.as_slice() {
        private::correct(&Paths::host());
    }
    match words.as_slice() {
        ["serve", options @ ..] => serve_with(options),
        ["activate", id] => activation::run(&parse(id)?).map_err(failed),
        ["revert", id] => activation::revert(&parse(id)?).map_err(failed),
        ["confirm", id] => activation::confirm(&parse(id)?, "root on the host").map_err(failed),
        ["pull"] => pull::run(false).map_err(advised),
        ["pull-here"] => pull::run(true).map_err(advised),
        ["exec", service, replica, command @ ..] => exec(service, replica, command),
        ["generator", ..] => generate(&arguments[1..]),
        ["boot"] => boot::run().map_err(advised),
        ["await", services @ ..] => boot::wait_for(services).map_err(advised),
        ["shutdown"] => shutdown::run().map_err(advised),
        ["expire"] => maintenance::expire(&Paths::host()).map_err(advised),
        ["host"] => system::boot(&Paths::host()).map_err(advised),
        ["version"] => {
            output::note(concat!("cairn-agent ", env!("CARGO_PKG_VERSION")));
            Ok(())
        }
        ["notices"] => std::io::stdout().write_all(NOTICES.as_bytes()).map_err(failed),
        _ => Err(Stop::Usage(format!(
            "`{}` is no call of this program: serve | activate ID | revert ID | confirm ID | pull | \
             exec SERVICE REPLICA WORD… | generator NORMAL EARLY LATE | boot | host | await SERVICE… | shutdown | expire | notices | version",
            words.join(" ")
        ))),
    }
}

fn advised(error: AgentError) -> Stop {
    let help = error.advice().map(|advice| format!("\n  help: {advice}")).unwrap_or_default();
    failed(format!("{error}{help}"))
}

/// The words are such as no shell on the way changes.
fn exec(service: &str, replica: &str, command: &[&str]) -> Result<(), Stop> {
    let number = match replica {
        "-" => None,
        number => Some(number.parse().map_err(|_| Stop::Usage(format!("`{number}` is no number of a replica")))?),
    };
    let word = |word: &&str| decode_word(word).ok_or_else(|| Stop::Usage(format!("`{word}` is no encoded word")));
    let command = command.iter().map(word).collect::<Result<Vec<_>, Stop>>()?;
    match enter::run(service, number, &command) {
        Ok(never) => match never {},
        Err(error) => Err(advised(error)),
    }
}

fn parse(id: &str) -> Result<ActivationId, Stop> {
    ActivationId::parse(id).map_err(|e| Stop::Usage(e.to_string()))
}

fn generate(directories: &[OsString]) -> Result<(), Stop> {
    let [normal, early, late] = directories else {
        return Err(Stop::Usage("a generator is called with three directories".to_owned()));
    };
    generator::run(Path::new(normal), Path::new(early), Path::new(late)).map_err(failed)
}

fn serve_with(options: &[&str]) -> Result<(), Stop> {
    let (mut root, mut arrived) = (PathBuf::from("/"), false);
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match (*option, options.len()) {
            ("--remove-self", _) => {
                arrived = true;
                if let Ok(program) = std::env::current_exe() {
                    serve::remove_self(&program);
                }
            }
            ("--root", 1..) => root = options.next().map_or(root, PathBuf::from),
            (other, _) => return Err(Stop::Usage(format!("`serve` has no option `{other}`"))),
        }
    }
    serve::serve(&root, arrived).map_err(failed)
}
