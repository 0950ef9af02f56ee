//! Finding an interpreter in a root that is not ours, and the command that runs it in place.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use cairn_formats::RelPath;

use crate::elf::Elf;
use crate::error::{Error, Result};
use crate::tree::resolve_links;

/// Where libraries of a root lie, besides the directory of its loader.
const LIBRARIES: [&str; 3] = ["usr/lib", "usr/lib64", "usr/local/lib"];

/// A Python of another root, with all that its start takes. Paths are those of this machine.
#[derive(Debug)]
pub struct Interpreter {
    program: PathBuf,
    loader: PathBuf,
    libraries: Vec<PathBuf>,
    /// `PYTHONHOME`: the `usr` of that root.
    home: PathBuf,
}

impl Interpreter {
    /// `path` is absolute in `root`: `/usr/bin/python3.11`.
    pub fn find(root: &Path, path: &str) -> Result<Self> {
        let wrong = |reason: &str| Error::Bytecode {
            interpreter: root.join(path.trim_start_matches('/')),
            reason: reason.to_owned(),
        };
        let in_root = path
            .strip_prefix('/')
            .and_then(|path| RelPath::parse(path.as_bytes()).ok())
            .and_then(|path| resolve(root, &path))
            .ok_or_else(|| wrong("there is no such file in that root; is its package in the image?"))?;
        let program = root.join(in_root.as_path());
        let elf = Elf::read(&program)
            .map_err(Error::io("read", &program))?
            .ok_or_else(|| wrong("it is not a program of a 64-bit Linux"))?;
        let loader = elf
            .interpreter
            .as_deref()
            .and_then(|loader| loader.strip_prefix(b"/"))
            .and_then(|loader| RelPath::parse(loader).ok())
            .and_then(|loader| resolve(root, &loader))
            .ok_or_else(|| wrong("its dynamic loader is not in that root; is libc6 in the image?"))?;
        let beside = loader.parent().unwrap_or_default();
        let home = in_root.parent().and_then(|bin| bin.parent()).unwrap_or_default();
        let libraries = std::iter::once(root.join(beside.as_path()))
            .chain(LIBRARIES.map(|directory| root.join(directory)))
            .filter(|directory| directory.is_dir())
            .collect();
        Ok(Self { program, loader: root.join(loader.as_path()), libraries, home: root.join(home.as_path()) })
    }

    /// A command that runs `script` in this interpreter and in nothing else of this machine.
    ///
    /// Not `-I`: that ignores the environment, and with it the home and the seed of hashes. What
    /// else `-I` keeps out is kept out by clearing the environment, `-s`, and by the script, which
    /// imports only what is built in.
    pub fn command(&self, script: &str) -> Command {
        let mut libraries = std::ffi::OsString::new();
        for (index, directory) in self.libraries.iter().enumerate() {
            if index > 0 {
                libraries.push(":");
            }
            libraries.push(directory);
        }
        let mut command = Command::new(&self.loader);
        command
            .args(["--inhibit-cache", "--library-path"])
            .arg(libraries)
            .arg(&self.program)
            .args(["-s", "-S", "-B", "-X", "utf8", "-c", script])
            .env_clear()
            .env("PYTHONHOME", &self.home)
            .env("PYTHONHASHSEED", "0")
            .env("PYTHONSAFEPATH", "1")
            .env("LC_ALL", "C.UTF-8")
            .current_dir("/");
        command
    }

    pub(super) fn fault(&self, reason: impl Into<String>) -> Error {
        Error::Bytecode { interpreter: self.program.clone(), reason: reason.into() }
    }
}

/// Follows links inside the root; `None` if nothing is there.
fn resolve(root: &Path, path: &RelPath) -> Option<RelPath> {
    let end = resolve_links(path, &mut |at| {
        let target = fs::read_link(root.join(at.as_path())).ok()?;
        Some(target.as_os_str().as_bytes().to_vec())
    })?;
    fs::symlink_metadata(root.join(end.as_path())).is_ok().then_some(end)
}
