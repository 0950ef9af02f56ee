//! Python byte code, compiled by the image's own interpreter so that it fits, and the same on
//! every run so that its hash says something.
//!
//! The interpreter belongs to another root, so it is started through the dynamic loader of that
//! root. The byte code carries the hash of its source and is never checked against it ("unchecked
//! hash", PEP 552): times mean nothing in a store. `compile.py` says how it gets to be the same.
//! Files that do not compile (templates, tests of syntax errors) are left out, as pip does.

mod interpreter;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use cairn_formats::RelPath;
use cairn_sandbox::last_bytes;
use nix::sys::personality::{self, Persona};

pub use interpreter::Interpreter;

use crate::error::Result;
use crate::inputs::Inputs;
use crate::tree::TreeWriter;

const COMPILE: &str = include_str!("compile.py");
/// Of a path and the NUL behind it: Linux takes no longer ones.
const LONGEST_PATH: usize = 4096;
/// So much of the end of what the interpreter complains about is kept.
const KEPT_BYTES: usize = 16 << 10;

/// What every step with byte code is told about it.
#[derive(Debug, Clone, Copy)]
pub struct Python<'a> {
    /// Path in the image: `/usr/bin/python3.11`.
    pub interpreter: &'a str,
    /// Whether this machine can run it. If not, the image starts without byte code.
    pub native: bool,
}

impl Python<'_> {
    /// Adds the byte code of the files that `select` wants to the tree they are in, and says where
    /// it went. The step's input `python` is the root to find the interpreter in.
    pub fn compile_tree(
        &self,
        inputs: &Inputs,
        tree: &mut TreeWriter,
        select: impl Fn(&RelPath) -> bool,
    ) -> Result<Vec<RelPath>> {
        let sources: Vec<RelPath> =
            tree.regular_files().filter(|path| is_source(path) && select(path)).cloned().collect();
        let sources: Vec<Source> = sources.iter().map(|path| Source::new(tree.physical(path), path)).collect();
        self.compile(inputs, &sources, tree)
    }

    /// Compiles files that lie anywhere to byte code in `tree`.
    pub fn compile(&self, inputs: &Inputs, sources: &[Source], tree: &mut TreeWriter) -> Result<Vec<RelPath>> {
        if !self.native || sources.is_empty() {
            return Ok(Vec::new());
        }
        let interpreter = Interpreter::find(inputs.one("python")?, self.interpreter)?;
        // The parents of the new directories; those themselves come only with their first file.
        let mut written = Vec::new();
        let parents: BTreeSet<RelPath> = sources.iter().filter_map(|source| source.path.parent()).collect();
        for parent in parents {
            tree.adopt_parents(&parent).map_err(|problem| interpreter.fault(format!("`{parent}` {problem}")))?;
        }
        for (source, name) in sources.iter().zip(run(&interpreter, sources, tree)?) {
            let Some(name) = name else { continue };
            let path = source
                .cache_directory()
                .and_then(|directory| directory.join(name.as_bytes()).ok())
                .ok_or_else(|| interpreter.fault(format!("it named its output `{}`", name.display())))?;
            tree.adopt(&path).map_err(|problem| interpreter.fault(format!("`{path}` {problem}")))?;
            written.push(path);
        }
        Ok(written)
    }
}

/// One file to compile.
pub struct Source {
    /// Where it lies now.
    physical: PathBuf,
    /// Where it lies in the image, which tracebacks show.
    path: RelPath,
}

impl Source {
    pub fn new(physical: PathBuf, path: &RelPath) -> Self {
        Self { physical, path: path.clone() }
    }

    fn cache_directory(&self) -> Option<RelPath> {
        self.path.parent()?.join(b"__pycache__").ok()
    }
}

pub fn is_source(path: &RelPath) -> bool {
    path.file_name().strip_suffix(b".py").is_some_and(|stem| !stem.is_empty())
}

/// Whether a path is byte code that somebody else compiled. It is never taken over: whether it fits
/// depends on times that a store does not keep.
pub fn is_cache(path: &RelPath) -> bool {
    path.parts().any(|part| part == b"__pycache__")
}

/// The file name of the byte code of each source, or none where the source does not compile.
fn run(interpreter: &Interpreter, sources: &[Source], tree: &TreeWriter) -> Result<Vec<Option<std::ffi::OsString>>> {
    let mut request = Vec::new();
    for source in sources {
        let directory = source.cache_directory().map(|directory| tree.physical(&directory)).unwrap_or_default();
        for field in [source.physical.as_os_str(), directory.as_os_str()] {
            request.extend_from_slice(field.as_bytes());
            request.push(0);
        }
        request.push(b'/');
        request.extend_from_slice(source.path.as_bytes());
        request.push(0);
    }
    let limit = sources.len().saturating_mul(LONGEST_PATH);
    let answer = converse(interpreter.command(COMPILE), &request, limit).map_err(|error| interpreter.fault(error))?;
    let names: Vec<_> = answer
        .split_inclusive(|b| *b == 0)
        .map(|path| Path::new(OsStr::from_bytes(&path[..path.len() - 1])).file_name().map(OsStr::to_owned))
        .collect();
    if names.len() == sources.len() {
        Ok(names)
    } else {
        Err(interpreter.fault(format!("it answered for {} of {} files", names.len(), sources.len())))
    }
}

/// Starts a program, sends it everything, then takes everything it says, up to `limit` bytes.
fn converse(mut command: Command, request: &[u8], limit: usize) -> Result<Vec<u8>, String> {
    let mut child = start(&mut command).map_err(|error| format!("it cannot be started: {error}"))?;
    // Meanwhile, so that a program with much to complain about does not wait for a reader.
    let said = child.stderr.take().map(|stderr| thread::spawn(move || last_bytes(stderr, KEPT_BYTES)));
    // It reads to the end before it writes, so neither waits for the other. If it is gone
    // already, its own words say more than the broken pipe.
    let sent = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(request));
    let mut answer = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(limit as u64 + 1).read_to_end(&mut answer).map_err(|error| error.to_string())?;
    }
    if answer.len() > limit {
        child.kill().and_then(|()| child.wait()).map_err(|error| error.to_string())?;
        return Err(format!("it answered with more than the {limit} bytes that the paths can have"));
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    if !status.success() {
        // A panic of the reader has written its own message.
        let said = said.and_then(|said| said.join().ok()).unwrap_or(Ok(Vec::new())).unwrap_or_default();
        return Err(format!("it ended with {status}: {}", String::from_utf8_lossy(&said).trim_end()));
    }
    sent.map_err(|error| error.to_string())?;
    Ok(answer)
}

fn start(command: &mut Command) -> std::io::Result<Child> {
    // Without random addresses nothing in the child can depend on them. Where that is forbidden,
    // nothing should either; it is a belt to the braces.
    let before = personality::get().ok();
    if let Some(before) = before {
        _ = personality::set(before | Persona::ADDR_NO_RANDOMIZE);
    }
    let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    if let Some(before) = before {
        _ = personality::set(before);
    }
    started
}
