//! Keeps the agent's locks and records from the other users of the host.
//!
//! `flock` needs no more than a descriptor that is open for reading, so any user that can open a lock
//! file can hold it: no switch, no rollback and no revert would run. Records hold the output of tasks,
//! which the journal shows to a few groups only. So `/nix/var/cairn` is 0700 and lock files are 0600.
//! On a host where no other Nix works, the store's database folder is 0700 too: a reader's lock on
//! SQLite's file keeps writers waiting.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use crate::error::{Result, file};
use crate::paths::Paths;
use crate::{files, host_record, output};

const FOLDER: u32 = 0o700;
const LOCK: u32 = 0o600;

/// Makes `/nix/var/cairn`, and the folders above it for everybody to pass through.
pub fn make_state_dir(paths: &Paths) -> Result<()> {
    let state = paths.state_dir();
    if let Some(above) = state.parent() {
        files::make_directories(above)?;
    }
    match DirBuilder::new().mode(FOLDER).create(&state) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(file("cannot make the directory", &state)(e)),
        _ => Ok(()),
    }
}

/// Opens a lock file, which is made if there is none.
pub fn open_lock(path: &Path) -> Result<File> {
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(LOCK).open(path);
    opened.map_err(file("cannot open", path))
}

/// Corrects what an agent of an earlier version has made. Costs three `stat`s when nothing is wrong.
/// What cannot be corrected is said, and keeps nothing from being done: a revert matters more.
pub fn correct(paths: &Paths) {
    if let Err(error) = correct_state(paths).and(correct_database(paths)) {
        output::warn(&format!("cairn-agent: other users of this host may hold its locks: {error}"));
    }
}

fn correct_state(paths: &Paths) -> Result<()> {
    let state = paths.state_dir();
    if !is_other(&state, FOLDER)? {
        return Ok(());
    }
    // The folder last: a process that is killed between leaves a sign that there is more to do.
    let locks = fs::read_dir(&state).map_err(file("cannot list", &state))?.flatten().filter(|entry| {
        let name = entry.file_name();
        name == "lock" || name.as_encoded_bytes().ends_with(b".lock")
    });
    let corrected = locks.map(|lock| set(&lock.path(), LOCK)).fold(Ok(()), Result::and);
    corrected.and(set(&state, FOLDER))
}

fn correct_database(paths: &Paths) -> Result<()> {
    let database = paths.at("/nix/var/nix/db");
    match is_other(&database, FOLDER)? && host_record::is_ours_alone(paths)? {
        true => set(&database, FOLDER),
        false => Ok(()),
    }
}

/// Whether the mode is another one. What is not there needs no mode.
fn is_other(path: &Path, mode: u32) -> Result<bool> {
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        other => Ok(other.map_err(file("cannot read", path))?.permissions().mode() & 0o7777 != mode),
    }
}

/// A file system that cannot be written to keeps the mode it has: no lock of ours can be taken on it.
fn set(path: &Path, mode: u32) -> Result<()> {
    if !is_other(path, mode)? {
        return Ok(());
    }
    match fs::set_permissions(path, Permissions::from_mode(mode)) {
        Err(e) if e.kind() == io::ErrorKind::ReadOnlyFilesystem => Ok(()),
        other => other.map_err(file("cannot set the mode of", path)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn what_is_made_is_private_from_the_first_moment() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::new(root.path());
        make_state_dir(&paths).unwrap();
        make_state_dir(&paths).unwrap();
        assert_eq!(mode(&paths.state_dir()), 0o700);
        assert_eq!(mode(&paths.at("/nix/var")) & 0o005, 0o005, "others pass through to the store");
        drop(open_lock(&paths.lock_file()).unwrap());
        assert_eq!(mode(&paths.lock_file()), 0o600);
    }

    #[test]
    fn a_host_of_an_earlier_version_is_corrected() {
        for other_nix in [false, true] {
            let root = tempfile::tempdir().unwrap();
            let paths = Paths::new(root.path());
            correct(&paths);
            assert!(!paths.state_dir().exists(), "a host that is not ours stays as it is");
            let database = paths.at("/nix/var/nix/db");
            for folder in [&paths.state_dir(), &database] {
                fs::create_dir_all(folder).unwrap();
                fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
            }
            if other_nix {
                fs::create_dir_all(paths.at("/nix/var/nix/daemon-socket")).unwrap();
            }
            let locks = ["lock", "pull.lock", "fleet-web.lock"].map(|name| paths.state_dir().join(name));
            for lock in &locks {
                fs::write(lock, "{}").unwrap();
                fs::set_permissions(lock, Permissions::from_mode(0o644)).unwrap();
            }
            correct(&paths);
            // Killed before the folder was done, or with a lock that has gone since.
            fs::set_permissions(&locks[1], Permissions::from_mode(0o644)).unwrap();
            fs::set_permissions(paths.state_dir(), Permissions::from_mode(0o755)).unwrap();
            symlink("nowhere", paths.state_dir().join("gone.lock")).unwrap();
            correct(&paths);
            correct(&paths);
            assert_eq!(mode(&paths.state_dir()), 0o700);
            assert_eq!(locks.map(|lock| mode(&lock)), [0o600; 3]);
            assert_eq!(mode(&database), if other_nix { 0o755 } else { 0o700 });
        }
    }
}
