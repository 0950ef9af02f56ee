//! State of services, at `/var/lib/cairn/state/SERVICE/NAME`: what outlives every generation.
//!
//! An activation makes what is missing and never removes anything: switching, rolling back,
//! collecting and removing a service all leave it. The owner alone comes in; other services that
//! were given it to read are in the owner's group.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;

use cairn_closure::Manifest;

use crate::error::{Fault, Result, file};
use crate::files;
use crate::paths::Paths;

pub fn ensure(paths: &Paths, manifest: &Manifest) -> Result<()> {
    for (name, service) in &manifest.services {
        let folder = paths.state_of(name);
        for state in &service.state {
            files::make_directories(&folder)?;
            let mode = if manifest.is_shared(name, state) { 0o770 } else { 0o750 };
            own(&folder.join(state.as_str()), mode, service.user.uid, service.user.gid)?;
        }
    }
    Ok(())
}

/// Makes a folder that belongs to the service, or sees that it does.
fn own(folder: &Path, mode: u32, uid: u32, gid: u32) -> Result<()> {
    let give = || {
        chown(folder, Some(uid), Some(gid)).map_err(file("cannot give away", folder))?;
        fs::set_permissions(folder, Permissions::from_mode(mode)).map_err(file("cannot set the mode of", folder))
    };
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => give(),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            let found = fs::symlink_metadata(folder).map_err(file("cannot read", folder))?;
            match (found.is_dir(), found.uid()) {
                (true, owner) if owner == uid => give(),
                // A crash came between making it and giving it away.
                (true, 0) if is_empty(folder)? => give(),
                (true, owner) => Err(Fault::new(format!(
                    "{} belongs to user {owner}, and the service runs as user {uid}",
                    folder.display()
                ))
                .advice(format!(
                    "give the image's user the id {owner} again, or hand the data over: `chown -R {uid}:{gid} {}`",
                    folder.display()
                ))
                .into()),
                (false, _) => Err(Fault::new(format!("{} is in the way: it is no folder", folder.display()))
                    .advice("move it away")
                    .into()),
            }
        }
        Err(e) => Err(file("cannot make the directory", folder)(e)),
    }
}

fn is_empty(folder: &Path) -> Result<bool> {
    Ok(fs::read_dir(folder).map_err(file("cannot list", folder))?.next().is_none())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_folder_of_somebody_else_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("data");
        let (uid, gid) = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
        own(&folder, 0o750, uid, gid).unwrap();
        own(&folder, 0o750, uid, gid).unwrap();
        fs::write(folder.join("x"), "").unwrap();
        let error = own(&folder, 0o750, uid + 1, gid).unwrap_err().to_string();
        assert!(error.contains(&format!("belongs to user {uid}")), "{error}");
        fs::write(root.path().join("file"), "").unwrap();
        assert!(own(&root.path().join("file"), 0o750, uid, gid).unwrap_err().to_string().contains("no folder"));
    }
}
