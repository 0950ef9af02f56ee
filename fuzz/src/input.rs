//! What targets share: inputs as text, inputs in parts, and a folder for parsers that read files.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders in memory, where a file costs little; unless `TMPDIR` says where they belong.
const IN_MEMORY: &str = "/dev/shm";

/// A folder of this thread's own, the same for every input.
#[derive(Debug)]
pub struct Scratch {
    folder: tempfile::TempDir,
}

impl Scratch {
    fn new() -> std::io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("cairn-fuzz.");
        let in_memory = std::env::var_os("TMPDIR").is_none() && Path::new(IN_MEMORY).is_dir();
        let folder = match in_memory {
            true => builder.tempdir_in(IN_MEMORY)?,
            false => builder.tempdir()?,
        };
        Ok(Self { folder })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file, over what an earlier input left there, and makes its parents.
    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path().join(name);
        if let Some(parent) = path.parent() {
            must(fs::create_dir_all(parent), parent);
        }
        must(fs::write(&path, bytes), &path);
        path
    }

    /// A path at which nothing lies.
    pub fn vacant(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => must(Err(error), &path),
            _ => path,
        }
    }
}

/// Without its folder a target cannot run: that is a fault of the machine, not of the parser.
fn must<T>(result: std::io::Result<T>, path: &Path) -> T {
    result.unwrap_or_else(|error| panic!("cannot prepare {}: {error}", path.display()))
}

thread_local! {
    static SCRATCH: RefCell<Option<Scratch>> = const { RefCell::new(None) };
}

/// Gives the thread's folder to `work`.
pub fn with_scratch<T>(work: impl FnOnce(&Scratch) -> T) -> T {
    SCRATCH.with_borrow_mut(|slot| {
        let scratch = slot.get_or_insert_with(|| must(Scratch::new(), Path::new(IN_MEMORY)));
        work(scratch)
    })
}

/// The input as text, if it is UTF-8.
pub fn text(input: &[u8]) -> Option<&str> {
    std::str::from_utf8(input).ok()
}

/// Splits an input that stands for several files at the lines `%%`.
pub fn parts<const N: usize>(input: &[u8]) -> [&[u8]; N] {
    let mut rest = input;
    std::array::from_fn(|_| {
        let at = rest.windows(4).position(|four| four == b"\n%%\n");
        let (part, after) = at.map_or((rest, &[][..]), |at| (&rest[..=at], &rest[at + 4..]));
        rest = after;
        part
    })
}
