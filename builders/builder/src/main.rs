//! The program that runs build steps.
//!
//! * `cairn-builder enter < sandbox.json`: makes a sandbox and starts itself inside it;
//!   `start-nested` is how it starts there when the step opens a second sandbox.
//! * `cairn-builder probe`: exit 0 where user namespaces can be made.
//! * `cairn-builder enter-image`, `start-in-image`: how a step runs a command of an image in a
//!   sandbox of its own; see [`cairn_sandbox::image`].
//! * `cairn-builder run < request.json`: runs one step; exit 0 and the output is there, or exit 1
//!   and one JSON line on standard error says why not. Where the caller can give no standard
//!   input, the variable `requestPath` names the file: so Nix passes it (`passAsFile`).

use std::fs::File;
use std::io::{BufReader, Read};
use std::process::ExitCode;

use cairn_builder::Error;
use cairn_recipe::step::Request;

/// musl's own gives large blocks back to the kernel at once, which clears them anew for the next
/// file: a third of all page faults of a build.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["enter"] => cairn_sandbox::enter(),
        ["probe"] => cairn_sandbox::probe(),
        ["start-nested", rest @ ..] => cairn_sandbox::start_nested(rest),
        ["enter-image"] => cairn_sandbox::image::enter(),
        ["start-in-image"] => cairn_sandbox::image::start(),
        ["run"] => run(),
        _ => {
            eprintln!("usage: cairn-builder run < request.json\n       cairn-builder enter < sandbox.json");
            ExitCode::from(2)
        }
    }
}

fn run() -> ExitCode {
    cairn_sandbox::die_with_parent();
    let done = request().and_then(|request| cairn_builder::run(&request).map_err(|e| e.to_string()));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", serde_json::json!({ "error": error }));
            ExitCode::FAILURE
        }
    }
}

fn request() -> Result<Request, String> {
    let from: Box<dyn Read> = match std::env::var_os("requestPath") {
        Some(file) => {
            let opened = File::open(&file).map_err(|e| format!("cannot read {}: {e}", file.to_string_lossy()))?;
            Box::new(BufReader::new(opened))
        }
        None => Box::new(std::io::stdin().lock()),
    };
    serde_json::from_reader(from).map_err(|e| Error::from(e).to_string())
}
