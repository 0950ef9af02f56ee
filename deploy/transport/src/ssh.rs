//! How `ssh` is started: which host, and which keys. [`crate::arguments`] has its options.
//!
//! A host whose key the definition pins gets a known-hosts file of its own, under an alias, so that
//! neither the user's `known_hosts` nor an address that moved to another machine has a say. Without
//! a pinned key the user's own known hosts decide; an unknown host is refused, never learnt.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use cairn_formats::{Platform, StorePath};

use crate::arguments::{ALIAS, Purpose, arguments};
use crate::{Options, TransportError};

/// A host and how to reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The host's name in the project, for messages.
    pub name: String,
    /// What `ssh` connects to: a name (also one from `~/.ssh/config`) or an address.
    pub address: String,
    pub port: Option<u16>,
    /// `None`: as the user's `ssh` configuration says.
    pub user: Option<String>,
    /// The key the host must have.
    pub host_key: Option<HostKey>,
    /// Only this private key is offered.
    pub identity: Option<PathBuf>,
}

impl Target {
    pub fn new(name: impl Into<String>, address: impl Into<String>) -> Self {
        Self { name: name.into(), address: address.into(), port: None, user: None, host_key: None, identity: None }
    }
}

/// A public host key as `ssh-keyscan` and `/etc/ssh/ssh_host_*_key.pub` print it, without the
/// comment: `ssh-ed25519 AAAA…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostKey {
    kind: String,
    key: String,
}

impl HostKey {
    /// Reads `KIND BASE64 [COMMENT]`.
    pub fn parse(text: &str) -> Result<Self, TransportError> {
        let bad = || TransportError::HostKeyForm { value: text.chars().take(120).collect() };
        let mut words = text.split_ascii_whitespace();
        let (kind, key) = (words.next().ok_or_else(bad)?, words.next().ok_or_else(bad)?);
        let kind_ok = kind.bytes().all(|b| b.is_ascii_alphanumeric() || b"-@.".contains(&b));
        let key_ok = key.len() >= 16 && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b));
        if kind_ok && key_ok && !text.contains('\n') {
            Ok(Self { kind: kind.to_owned(), key: key.to_owned() })
        } else {
            Err(bad())
        }
    }
}

impl std::fmt::Display for HostKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind, self.key)
    }
}

/// The agent to run on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// The store path that holds `bin/cairn-agent`. It belongs to the host closure and so gets
    /// into the host's store by the ordinary copy.
    pub store_path: StorePath,
    /// The same program on this machine, for a host that lacks it.
    pub file: PathBuf,
    pub platform: Platform,
}

/// `ssh` to `target`, running `remote` (already quoted for a shell).
pub fn conversation(options: &Options, target: &Target, remote: &str) -> Result<Command, TransportError> {
    let mut command = command(options, target, Purpose::Conversation, Some(remote))?;
    // ssh translates its messages on no system we know, but its libraries do.
    command.env("LC_ALL", "C");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

/// `ssh` to `target` for a person's own session, by the same way in: with a terminal if `terminal` says
/// so, running `remote` (already quoted for a shell) or a login shell. `ssh` may ask for what a key needs,
/// and forwards the key agent where the user's configuration says so.
pub fn interactive(
    options: &Options,
    target: &Target,
    terminal: bool,
    remote: Option<&str>,
) -> Result<Command, TransportError> {
    command(options, target, Purpose::Session { terminal }, remote)
}

/// `ssh` to `target` for one command of ours on the user's standard streams. `ssh` may ask for what a key
/// needs; nothing is forwarded, as in a conversation.
pub fn attended(options: &Options, target: &Target, terminal: bool, remote: &str) -> Result<Command, TransportError> {
    command(options, target, Purpose::Attended { terminal }, Some(remote))
}

fn command(
    options: &Options,
    target: &Target,
    purpose: Purpose,
    remote: Option<&str>,
) -> Result<Command, TransportError> {
    let known_hosts = target.host_key.as_ref().map(|key| keep(&options.keys, key)).transpose();
    let known_hosts = known_hosts.map_err(TransportError::Local)?;
    let mut command = Command::new(&options.ssh);
    command.args(arguments(target, known_hosts.as_deref(), options.connect_timeout, purpose, remote));
    Ok(command)
}

/// Arguments that only learn the host's key, into the file `known_hosts`: no way to log in is tried.
pub fn learning(target: &Target, known_hosts: &Path, connect_timeout: Duration) -> Vec<OsString> {
    // ssh takes the first value that it is given for an option.
    let first = ["StrictHostKeyChecking=accept-new", "PreferredAuthentications=none", "HashKnownHosts=no"];
    let mut args: Vec<OsString> = first.iter().flat_map(|option| ["-o".into(), (*option).into()]).collect();
    args.extend(arguments(target, Some(known_hosts), connect_timeout, Purpose::Conversation, Some("true")));
    args
}

/// A file for each key, so that none is ever changed while somebody reads it. It stays: whoever starts
/// `ssh` may end at any moment, and nothing of it is to be left.
fn keep(folder: &Path, key: &HostKey) -> io::Result<PathBuf> {
    let text = format!("{ALIAS} {key}\n");
    let file = folder.join(cairn_formats::Sha256::of(text.as_bytes()).hex());
    if fs::read_to_string(&file).ok().as_ref() != Some(&text) {
        fs::create_dir_all(folder)?;
        let mut new = tempfile::NamedTempFile::new_in(folder)?;
        io::Write::write_all(&mut new, text.as_bytes())?;
        new.persist(&file)?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_pinned_key_has_a_file_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let key = HostKey::parse("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ").unwrap();
        let kept = keep(&folder.path().join("keys"), &key).unwrap();
        assert_eq!(keep(&folder.path().join("keys"), &key).unwrap(), kept);
        assert_eq!(fs::read_to_string(kept).unwrap(), format!("{ALIAS} {key}\n"));
    }

    #[test]
    fn host_keys_are_one_line_of_two_words() {
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ";
        assert_eq!(HostKey::parse(&format!("{key} root@web-1")).unwrap().to_string(), key);
        for bad in ["", "ssh-ed25519", "ssh-ed25519 !", "* ssh-ed25519 AAAA", &format!("{key}\n{key}"), "SHA256:abc"] {
            assert!(HostKey::parse(bad).is_err(), "{bad}");
        }
    }
}
