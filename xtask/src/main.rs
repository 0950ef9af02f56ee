//! The project's own tasks: `cargo xtask TASK`.
//!
//! Each task first installs what it needs and finds missing (`setup`), so that a fresh machine
//! with Rust and root is enough. Compiled programs and tools stay below `target/`.

mod bench;
mod build;
mod demo;
mod dependencies;
mod fuzz;
mod nix;
mod process;
mod setup;
mod test;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
Usage: cargo xtask TASK

  setup            install what is missing: Debian packages, Rust targets, Python tools
  test [FILTER]    format, lints, unit and end-to-end tests, other platforms
  demo             build, start the local machine, switch it, show the address
  build            the three programs, static, for this processor
  audit            licences, bans and sources of all crates, by deny.toml
  notices          write the licence texts that the programs carry
  nix-build IMAGE  build an image with Nix and compare its digest with ours
  nix-env          print what to eval, for `nix build --impure .#IMAGE` by hand
  fuzz [TARGET…] [--minutes N] [--jobs N] [--list]
                   run fuzz targets with libFuzzer, each for one minute or N
  bench [ROW…]     measure, and print a table with a peer beside us
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["setup"] => setup::all(),
        ["test", filter @ ..] => test::all(filter),
        ["demo"] => demo::run(),
        ["build"] => setup::compilers().and_then(|()| build::programs().map(|_| ())),
        ["audit"] => dependencies::audit(),
        ["notices"] => dependencies::notices(),
        ["nix-build", image] => nix::build(image),
        ["nix-env"] => nix::env(),
        ["fuzz", words @ ..] => fuzz::run(words),
        ["bench", only @ ..] => bench::run(only),
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The checkout's top folder.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Where compiled things and tools go.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}
