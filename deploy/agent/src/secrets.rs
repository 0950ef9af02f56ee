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
use cairn_secrets::{OpenError, SecretBytes};
use nix::mount::{MsFlags, mount};

use crate::error::{AgentError, Fault, Result, file};
use crate::paths::Paths;
use crate::{files, manifests};

/// Names of the sealed secrets that the host keeps and can open. One that was damaged, or sealed to
/// a key that the host had before, is not among them, so that it is sent again.
pub fn kept(paths: &Paths) -> Vec<String> {
    let Ok(keys) = keys(paths) else { return Vec::new() };
    // NAME.vVERSION
    let name = |file: &Path| Some(file.file_stem()?.to_str()?.to_owned());
    let opens = |file: &Path| {
        let name = name(file).unwrap_or_default();
        fs::read(file).is_ok_and(|sealed| open_with(&name, &sealed, &keys).is_ok())
    };
    let listed = fs::read_dir(paths.sealed_secrets()).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        listed.filter(|entry| opens(&entry.path())).filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// The key that secrets are to be sealed to.
pub fn public_key(paths: &Paths) -> Option<String> {
    let text = fs::read_to_string(paths.host_key().with_extension("pub")).ok()?;
    let mut words = text.split_whitespace();
    Some(format!("{} {}", words.next()?, words.next()?))
}

/// Takes in sealed secrets, each of which must open here. Those of the live closure go into memory
/// as well: a host that could not open them at its boot is whole again.
pub fn keep(paths: &Paths, secrets: &[SealedSecret]) -> Result<()> {
    let folder = paths.sealed_secrets();
    if secrets.is_empty() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(file("cannot make", &folder))?;
    let keys = keys(paths)?;
    let mut taken = BTreeSet::new();
    for sealed in secrets {
        let name = SecretName::parse(&sealed.name).map_err(|e| Fault::new(e.to_string()))?;
        let secret = Secret { name, version: sealed.version };
        open(&secret, sealed.ciphertext.as_bytes(), &keys, SEALED_TO_ANOTHER)?;
        files::replace(&folder.join(secret.file_name()), sealed.ciphertext.as_bytes())?;
        taken.insert(secret);
    }
    let Some((_, closure)) = manifests::committed(paths)? else { return Ok(()) };
    let live = manifests::of(paths, &closure)?;
    place_these(paths, live.secrets().into_iter().filter(|secret| taken.contains(*secret)))
}

/// Refuses a closure whose secrets are not there or do not open. Changes nothing.
pub fn check(paths: &Paths, manifest: &Manifest) -> Result<()> {
    let secrets = manifest.secrets();
    if secrets.is_empty() {
        return Ok(());
    }
    let keys = keys(paths)?;
    secrets.into_iter().try_for_each(|secret| open(secret, &sealed(paths, secret)?, &keys, COMES_AGAIN).map(drop))
}

/// Opens the secrets of a closure into memory, beside those that are there.
pub fn place(paths: &Paths, manifest: &Manifest) -> Result<()> {
    place_these(paths, manifest.secrets())
}

/// One that does not open keeps no other from its place; the first fault is told.
fn place_these<'a>(paths: &Paths, secrets: impl IntoIterator<Item = &'a Secret>) -> Result<()> {
    let folder = paths.secrets();
    let mut missing = secrets.into_iter().filter(|secret| !folder.join(secret.file_name()).exists()).peekable();
    if missing.peek().is_none() {
        return Ok(());
    }
    in_memory(&folder)?;
    let keys = keys(paths)?;
    let mut placed = Ok(());
    for secret in missing {
        let value = sealed(paths, secret).and_then(|sealed| open(secret, &sealed, &keys, COMES_AGAIN));
        placed = placed.and(value.and_then(|value| write(&folder.join(secret.file_name()), value.expose())));
    }
    placed
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

/// The host's SSH key, and the key of hosts that pull if there is one. Either is enough.
fn keys(paths: &Paths) -> Result<Vec<Vec<u8>>> {
    let path = paths.host_key();
    let own = fs::read(&path).map_err(file("secrets need the host's SSH key; cannot read", &path));
    match fs::read(paths.pull_key()) {
        Ok(shared) => Ok(own.into_iter().chain([shared]).collect()),
        Err(_) => Ok(vec![own?]),
    }
}

/// The first key that opens it; if none does, what the host's own said.
fn open_with(name: &str, ciphertext: &[u8], keys: &[Vec<u8>]) -> std::result::Result<SecretBytes, OpenError> {
    let mut first = None;
    for key in keys {
        match cairn_secrets::open_secret(name, ciphertext, key) {
            Ok(value) => return Ok(value),
            Err(error) => first = first.or(Some(error)),
        }
    }
    Err(first.unwrap_or(OpenError::NotARecipient))
}

/// What helps when a secret that arrives does not open.
const SEALED_TO_ANOTHER: &str = "if the host's SSH key has changed, put the new one at [hosts] in secrets/secrets.toml and run `deploy secrets rekey`; a host that pulls needs the private half of pull.recipient at /etc/cairn/pull.key";
/// What helps when a kept file does not open.
const COMES_AGAIN: &str = "its file on the host is damaged, or the host's SSH key was replaced: `deploy switch` sends it again, sealed to the key that the host has now; an earlier version opens only with the old key";

fn open(secret: &Secret, ciphertext: &[u8], keys: &[Vec<u8>], advice: &str) -> Result<SecretBytes> {
    let Secret { name, version } = secret;
    open_with(name.as_str(), ciphertext, keys).map_err(|e| {
        AgentError::from(
            Fault::new(format!("the host cannot open the secret `{name}`, version {version}: {e}")).advice(advice),
        )
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::process::Command;

    use tempfile::TempDir;

    use super::*;

    fn tool(command: &mut Command) {
        let output = command.output().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Gives the host below `root` another key.
    fn new_key(root: &TempDir) -> Paths {
        let paths = Paths::new(root.path());
        let key = paths.host_key();
        fs::create_dir_all(key.parent().unwrap()).unwrap();
        files::remove(&key).unwrap();
        tool(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key));
        paths
    }

    /// As the real tool seals it to the host's key.
    fn sealed_to(paths: &Paths, name: &str) -> SealedSecret {
        let folder = tempfile::tempdir().unwrap();
        let (value, file) = (folder.path().join("value"), folder.path().join("file"));
        fs::write(&value, name).unwrap();
        let public = paths.host_key().with_extension("pub");
        tool(Command::new("age").arg("-a").arg("-R").arg(public).arg("-o").arg(&file).arg(&value));
        SealedSecret { name: name.to_owned(), version: 1, ciphertext: fs::read_to_string(file).unwrap() }
    }

    #[test]
    fn what_the_host_cannot_open_is_to_come_again() {
        let root = tempfile::tempdir().unwrap();
        let paths = new_key(&root);
        let before = [sealed_to(&paths, "one"), sealed_to(&paths, "two")];
        keep(&paths, &before).unwrap();
        assert_eq!(kept(&paths), ["one.v1", "two.v1"]);

        fs::write(paths.sealed_secrets().join("one.v1"), &before[0].ciphertext[..100]).unwrap();
        assert_eq!(kept(&paths), ["two.v1"]);
        new_key(&root);
        assert!(kept(&paths).is_empty());
        let error = keep(&paths, &before).unwrap_err();
        assert!(error.to_string().contains("cannot open the secret `one`, version 1"), "{error}");
        assert!(error.advice().is_some_and(|advice| advice.contains("deploy secrets rekey")), "{error}");

        keep(&paths, &["one", "two"].map(|name| sealed_to(&paths, name))).unwrap();
        assert_eq!(kept(&paths), ["one.v1", "two.v1"]);
        fs::remove_file(paths.host_key()).unwrap();
        assert!(kept(&paths).is_empty());
    }
}
