//! The one function that touches the disk.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::{Closure, ClosureError, Content};

/// Writes the closure's files below `out`, which must not exist yet.
pub fn write(closure: &Closure, out: &Path) -> Result<(), ClosureError> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |source| ClosureError::Write { path, source }
    };
    fs::create_dir(out).map_err(failed(out))?;
    for (path, content) in &closure.files {
        let full = out.join(path.as_path());
        if let Some(parent) = full.parent() {
            fs::create_dir_all(parent).map_err(failed(parent))?;
        }
        match content {
            Content::File(bytes) => fs::write(&full, bytes),
            Content::Link(target) => symlink(target, &full),
        }
        .map_err(failed(&full))?;
    }
    Ok(())
}
