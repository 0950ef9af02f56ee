//! Space that an activation keeps for itself. A disk that fills up while it is under way must keep it
//! neither from going back nor from saying how it ended, and each of its phases begins with a line
//! on that disk.

use std::fs::{self, File};
use std::path::PathBuf;

use cairn_protocol::ActivationId;
use nix::fcntl::{FallocateFlags, fallocate};

use crate::error::{AgentError, Result, file};
use crate::files;
use crate::paths::Paths;

/// A record with the last lines of a service's log, a dozen times over, and all events.
const BYTES: i64 = 256 << 10;

fn place(paths: &Paths, id: &ActivationId) -> PathBuf {
    paths.activation(id).join("reserve")
}

/// Takes the space.
pub fn hold(paths: &Paths, id: &ActivationId) -> Result<()> {
    let path = place(paths, id);
    let fail = |source| file("cannot reserve space for", &path)(source);
    let reserve = File::create(&path).map_err(fail)?;
    fallocate(&reserve, FallocateFlags::empty(), 0, BYTES).map_err(|errno| fail(errno.into()))
}

pub fn is_held(paths: &Paths, id: &ActivationId) -> bool {
    place(paths, id).exists()
}

/// Gives it back, at the end.
pub fn release(paths: &Paths, id: &ActivationId) -> Result<()> {
    files::remove(&place(paths, id))
}

/// Writes; on a disk that is full, once more with the space that was kept.
pub fn write(paths: &Paths, id: &ActivationId, write: impl Fn() -> Result<()>) -> Result<()> {
    match write() {
        Err(error) if error.is_no_space() && fs::remove_file(place(paths, id)).is_ok() => write(),
        other => other,
    }
}

impl AgentError {
    fn is_no_space(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::File { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::cell::Cell;

    use super::*;
    use crate::error::Fault;

    #[test]
    fn what_did_not_fit_is_written_with_the_reserve_and_once() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::new(root.path());
        let id = ActivationId::parse("1-1").unwrap();
        fs::create_dir_all(paths.activation(&id)).unwrap();
        hold(&paths, &id).unwrap();
        let there = || place(&paths, &id).exists();
        let tries = Cell::new(0);
        let try_it = |errno: i32| {
            write(&paths, &id, || {
                tries.set(tries.get() + 1);
                match there() {
                    true => Err(file("cannot write", root.path())(std::io::Error::from_raw_os_error(errno))),
                    false => Ok(()),
                }
            })
        };
        assert!(try_it(nix::libc::EROFS).is_err() && there());
        assert_eq!(tries.get(), 1);
        try_it(nix::libc::ENOSPC).unwrap();
        assert_eq!(tries.get(), 3);
        // There is no second one.
        assert!(write(&paths, &id, || Err(Fault::new("no").into())).is_err());
        release(&paths, &id).unwrap();
    }
}
