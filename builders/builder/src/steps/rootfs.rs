//! `rootfs`: the trees of an image laid over each other, as the root directory of a service.

use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, Result};
use crate::inputs::Inputs;
use crate::tree::{Kind, Union};

/// More copies at once gain nothing on one disk.
const MAX_COPIES_AT_ONCE: usize = 4;

pub fn run(inputs: &Inputs, out: &Path) -> Result<()> {
    let union = Union::read(inputs.several("trees")?)?;
    make_directory(out)?;
    let mut files = Vec::new();
    for (path, found) in union.entries() {
        let to = out.join(path.as_path());
        match &found.kind {
            Kind::Directory => make_directory(&to)?,
            Kind::Link { target } => {
                symlink(std::ffi::OsStr::from_bytes(target), &to).map_err(Error::io("link", &to))?;
            }
            Kind::File { .. } => files.push((union.physical(path, found), to)),
        }
    }
    copy_all(&files)
}

fn make_directory(path: &Path) -> Result<()> {
    fs::create_dir(path)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o755)))
        .map_err(Error::io("create", path))
}

/// Copies with as many threads as help. Which thread copies what leaves no trace in the result.
fn copy_all(files: &[(PathBuf, PathBuf)]) -> Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_COPIES_AT_ONCE);
    let next = AtomicUsize::new(0);
    let worker = || -> Result<()> {
        while let Some((from, to)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            fs::copy(from, to).map_err(Error::io("copy to", to))?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (1..threads).map(|_| scope.spawn(worker)).collect();
        let own = worker();
        // A panic of a worker goes on here: nothing is left to save.
        let others = workers.into_iter().map(|w| w.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        std::iter::once(own).chain(others).collect()
    })
}
