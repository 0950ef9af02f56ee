//! State of services, at `/var/lib/cairn/state/SERVICE/NAME`: what outlives every generation.
//!
//! An activation makes what is missing and never removes anything: switching, rolling back,
//! collecting and removing a service all leave it. The owner alone comes in; other services that
//! were given it to read are in the owner's group.

use cairn_closure::Manifest;

use crate::error::{AgentError, Fault, Result};
use crate::files;
use crate::folder::Folder;
use crate::paths::Paths;

pub fn ensure(paths: &Paths, manifest: &Manifest) -> Result<()> {
    for (name, service) in &manifest.services {
        let folder = paths.state_of(name);
        for state in &service.state {
            files::make_directories(&folder)?;
            let mode = if manifest.is_shared(name, state) { 0o770 } else { 0o750 };
            own(&Folder::trusted(&folder)?, state.as_str(), mode, (service.user.uid, service.user.gid))?;
        }
    }
    Ok(())
}

/// Makes a folder that belongs to the service, or checks that it does.
fn own(all: &Folder, name: &str, mode: u32, owner: (u32, u32)) -> Result<()> {
    let (uid, gid) = owner;
    let (folder, made) = all.make(name, 0o700).map_err(|error| match error {
        AgentError::File { path, source, .. } => Fault::new(format!("{} is in the way: {source}", path.display()))
            .advice("move it away, and switch again")
            .into(),
        other => other,
    })?;
    let found = folder.owner()?;
    // Owned by root and empty: a crash came between making it and giving it away.
    if made || found == uid || (found == 0 && folder.names()?.is_empty()) {
        return folder.give(mode, Some(owner));
    }
    let path = folder.path().display();
    Err(Fault::new(format!("{path} belongs to user {found}, and the service runs as user {uid}"))
        .advice(format!(
            "give the image's user the id {found} again, or hand the data over: `chown -R {uid}:{gid} {path}`"
        ))
        .into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use super::*;

    #[test]
    fn a_folder_of_somebody_else_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let (folder, all) = (root.path().join("data"), Folder::trusted(root.path()).unwrap());
        let (uid, gid) = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
        own(&all, "data", 0o750, (uid, gid)).unwrap();
        own(&all, "data", 0o750, (uid, gid)).unwrap();
        fs::write(folder.join("x"), "").unwrap();
        let error = own(&all, "data", 0o750, (uid + 1, gid)).unwrap_err().to_string();
        assert!(error.contains(&format!("belongs to user {uid}")), "{error}");
        fs::write(root.path().join("file"), "").unwrap();
        std::os::unix::fs::symlink(&folder, root.path().join("link")).unwrap();
        for name in ["file", "link"] {
            let error = own(&all, name, 0o750, (uid, gid)).unwrap_err().to_string();
            assert!(error.contains("in the way"), "{error}");
        }
    }
}
