//! Secrets on the host.
//!
//! They arrive sealed to the host's SSH key and stay so on the disk, at
//! `/nix/var/cairn/secrets/NAME.vVERSION`, as long as a generation names them. An activation, and
//! the step at boot, opens those of its closure into a file system in memory that is never swapped,
//! where systemd takes them from (`LoadCredential=`). A service sees only its own.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use cairn_closure::{Manifest, Secret, SecretName};
use cairn_protocol::SealedSecret;
use nix::mount::{MsFlags, mount};

use crate::error::{AgentError, Fault, Result, file};
use crate::files;
use crate::paths::Paths;

/// Names of the sealed secrets that the host keeps.
pub fn kept(paths: &Paths) -> Vec<String> {
    let listed = fs::read_dir(paths.sealed_secrets()).into_iter().flatten().flatten();
    let mut names: Vec<String> = listed.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// The key that secrets are to be sealed to.
pub fn public_key(paths: &Paths) -> Option<String> {
    let text = fs::read_to_string(paths.host_key().with_extension("pub")).ok()?;
    let mut words = text.split_whitespace();
    Some(format!("{} {}", words.next()?, words.next()?))
}

/// Takes in sealed secrets, each of which must open here.
pub fn keep(paths: &Paths, secrets: &[SealedSecret]) -> Result<()> {
    let folder = paths.sealed_secrets();
    if secrets.is_empty() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(file("cannot make", &folder))?;
    let key = host_key(paths)?;
    for sealed in secrets {
        let name = SecretName::parse(&sealed.name).map_err(|e| Fault::new(e.to_string()))?;
        let secret = Secret { name, version: sealed.version };
        open(&secret, sealed.ciphertext.as_bytes(), &key)?;
        files::replace(&folder.join(secret.file_name()), sealed.ciphertext.as_bytes())?;
    }
    Ok(())
}

/// Refuses a closure whose secrets are not there or do not open. Changes nothing.
pub fn check(paths: &Paths, manifest: &Manifest) -> Result<()> {
    let secrets = manifest.secrets();
    if secrets.is_empty() {
        return Ok(());
    }
    let key = host_key(paths)?;
    secrets.into_iter().try_for_each(|secret| open(secret, &sealed(paths, secret)?, &key).map(drop))
}

/// Opens the secrets of a closure into memory, beside those that are there.
pub fn place(paths: &Paths, manifest: &Manifest) -> Result<()> {
    let secrets = manifest.secrets();
    if secrets.is_empty() {
        return Ok(());
    }
    let folder = paths.secrets();
    in_memory(&folder)?;
    let mut key = None;
    for secret in secrets {
        let place = folder.join(secret.file_name());
        if place.exists() {
            continue;
        }
        let key: &Vec<u8> = match &key {
            Some(key) => key,
            None => key.insert(host_key(paths)?),
        };
        let value = open(secret, &sealed(paths, secret)?, key)?;
        write(&place, value.expose())?;
    }
    Ok(())
}

/// Whole or absent: a unit that starts meanwhile must not load half a secret.
fn write(place: &Path, value: &[u8]) -> Result<()> {
    let half = place.with_extension("half");
    files::remove(&half)?;
    let mut out =
        File::options().write(true).create_new(true).mode(0o400).open(&half).map_err(file("cannot create", &half))?;
    out.write_all(value).and_then(|()| fs::rename(&half, place)).map_err(file("cannot write", place))
}

/// Makes the folder, as a file system in memory of its own where that is allowed.
fn in_memory(folder: &Path) -> Result<()> {
    match DirBuilder::new().recursive(true).mode(0o700).create(folder) {
        Ok(()) => {}
        Err(e) => return Err(file("cannot make the directory", folder)(e)),
    }
    let is_mounted = fs::read_to_string("/proc/self/mountinfo").is_ok_and(|mounts| {
        mounts.lines().any(|line| line.split(' ').nth(4).is_some_and(|at| Path::new(at) == folder))
    });
    if is_mounted {
        return Ok(());
    }
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_NOSUID;
    // Unlike tmpfs it is never swapped out. /run is in memory, too, where this is not allowed.
    match mount(Some("ramfs"), folder, Some("ramfs"), flags, Some("mode=0700")) {
        Ok(()) | Err(nix::errno::Errno::EPERM | nix::errno::Errno::ENODEV) => Ok(()),
        Err(e) => Err(file("cannot mount a file system in memory at", folder)(e.into())),
    }
}

/// Takes away secrets in memory that the closure does not name.
pub fn sweep(paths: &Paths, keep: Option<&Manifest>) -> Result<()> {
    remove_others(&paths.secrets(), &names(keep))
}

/// A secret arrives before the switch that names it, and another one's collection may come between.
const ON_THEIR_WAY: Duration = Duration::from_secs(3600);

/// Takes away sealed secrets that none of these closures names.
pub fn forget(paths: &Paths, kept: &[Manifest]) -> Result<()> {
    let mut kept = names(kept);
    for entry in fs::read_dir(paths.sealed_secrets()).into_iter().flatten().flatten() {
        let modified = entry.metadata().and_then(|meta| meta.modified());
        // A clock that was set back makes it young: it goes another time.
        if modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age < ON_THEIR_WAY)) {
            kept.extend(entry.file_name().into_string());
        }
    }
    remove_others(&paths.sealed_secrets(), &kept)
}

fn names<'a>(manifests: impl IntoIterator<Item = &'a Manifest>) -> BTreeSet<String> {
    manifests.into_iter().flat_map(Manifest::secrets).map(Secret::file_name).collect()
}

fn remove_others(folder: &Path, kept: &BTreeSet<String>) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(file("cannot list", folder))?,
    };
    for entry in entries.flatten() {
        if !entry.file_name().to_str().is_some_and(|name| kept.contains(name)) {
            files::remove(&entry.path())?;
        }
    }
    Ok(())
}

fn sealed(paths: &Paths, secret: &Secret) -> Result<Vec<u8>> {
    let path = paths.sealed_secrets().join(secret.file_name());
    match fs::read(&path) {
        Ok(bytes) => Ok(bytes),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            Err(Fault::new(format!("the host has no secret `{}`, version {}", secret.name, secret.version))
                .advice("switch from a project that has it: `deploy secrets check` says what is missing there")
                .into())
        }
        Err(e) => Err(file("cannot read", &path)(e)),
    }
}

fn host_key(paths: &Paths) -> Result<Vec<u8>> {
    let path = paths.host_key();
    fs::read(&path).map_err(file("secrets need the host's SSH key; cannot read", &path))
}

fn open(secret: &Secret, ciphertext: &[u8], key: &[u8]) -> Result<cairn_secrets::SecretBytes> {
    cairn_secrets::open(ciphertext, key).map_err(|e| {
        AgentError::from(
            Fault::new(format!("the host cannot open the secret `{}`, version {}: {e}", secret.name, secret.version))
                .advice("if the host's SSH key has changed, give it to the project: `deploy secrets rekey`"),
        )
    })
}
