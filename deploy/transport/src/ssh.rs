//! How `ssh` is called: which host, which keys, and nothing that could ask a question.
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
    let mut command = command(options, target, Manner::Conversation, Some(remote))?;
    // ssh translates its messages on no system we know, but its libraries do.
    command.env("LC_ALL", "C");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

/// `ssh` to `target` for a person, by the same way in: with a terminal if `terminal` says so, running
/// `remote` (already quoted for a shell) or a login shell. `ssh` may ask for what a key needs.
pub fn interactive(
    options: &Options,
    target: &Target,
    terminal: bool,
    remote: Option<&str>,
) -> Result<Command, TransportError> {
    command(options, target, Manner::Person { terminal }, remote)
}

fn command(
    options: &Options,
    target: &Target,
    manner: Manner,
    remote: Option<&str>,
) -> Result<Command, TransportError> {
    let known_hosts = target.host_key.as_ref().map(|key| keep(&options.keys, key)).transpose();
    let known_hosts = known_hosts.map_err(TransportError::Local)?;
    let mut command = Command::new(&options.ssh);
    command.args(arguments(target, known_hosts.as_deref(), options.connect_timeout, manner, remote));
    Ok(command)
}

/// Arguments that only learn the host's key, into the file `known_hosts`: no way to log in is tried.
pub fn learning(target: &Target, known_hosts: &Path, connect_timeout: Duration) -> Vec<OsString> {
    // ssh takes the first value that it is given for an option.
    let first = ["StrictHostKeyChecking=accept-new", "PreferredAuthentications=none", "HashKnownHosts=no"];
    let mut args: Vec<OsString> = first.iter().flat_map(|option| ["-o".into(), (*option).into()]).collect();
    args.extend(arguments(target, Some(known_hosts), connect_timeout, Manner::Conversation, Some("true")));
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

/// Who speaks with the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// We and the agent.
    Conversation,
    Person {
        terminal: bool,
    },
}

/// Under this name the pinned key stands in the known-hosts file.
const ALIAS: &str = "cairn-host";

fn arguments(
    target: &Target,
    known_hosts: Option<&Path>,
    connect_timeout: Duration,
    manner: Manner,
    remote: Option<&str>,
) -> Vec<OsString> {
    let terminal = manner == Manner::Person { terminal: true };
    // Twice: also if our own input is no terminal.
    let mut args: Vec<OsString> = vec![if terminal { "-tt" } else { "-T" }.into()];
    let mut option = |text: OsString| args.extend(["-o".into(), text]);
    if manner == Manner::Conversation {
        // Never a question on the terminal: many hosts are reached at once.
        option("BatchMode=yes".into());
        // A fresh connection is one, though the user's configuration may share them.
        option("ControlPath=none".into());
    }
    for fixed in [
        "StrictHostKeyChecking=yes",
        "ClearAllForwardings=yes",
        // Our own streams are compressed.
        "Compression=no",
        // A host that vanished is noticed within 45 seconds.
        "ServerAliveInterval=15",
        "ServerAliveCountMax=3",
        "LogLevel=INFO",
    ] {
        option(fixed.into());
    }
    option(format!("ConnectTimeout={}", connect_timeout.as_secs().max(1)).into());
    if let Some(path) = known_hosts {
        let mut file = OsString::from("UserKnownHostsFile=\"");
        file.push(path);
        file.push("\"");
        option(file);
        option("GlobalKnownHostsFile=/dev/null".into());
        option(format!("HostKeyAlias={ALIAS}").into());
        option("UpdateHostKeys=no".into());
        option("CheckHostIP=no".into());
    }
    if let Some(identity) = &target.identity {
        option("IdentitiesOnly=yes".into());
        args.extend(["-i".into(), identity.into()]);
    }
    if let Some(port) = target.port {
        args.extend(["-p".into(), port.to_string().into()]);
    }
    if let Some(user) = &target.user {
        args.extend(["-l".into(), user.into()]);
    }
    // After `--` an address that begins with a dash is no option.
    args.extend(["--".into(), target.address.clone().into()]);
    args.extend(remote.map(OsString::from));
    args
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn text(target: &Target, files: Option<&Path>) -> Vec<String> {
        said(target, files, Manner::Conversation, Some("exec true"))
    }

    fn said(target: &Target, files: Option<&Path>, manner: Manner, remote: Option<&str>) -> Vec<String> {
        let known_hosts = files.map(|dir| dir.join("known_hosts"));
        let args = arguments(target, known_hosts.as_deref(), Duration::from_secs(7), manner, remote);
        args.into_iter().map(|a| a.into_string().unwrap()).collect()
    }

    #[test]
    fn the_whole_command_line() {
        let mut target = Target::new("web-1", "192.0.2.1");
        target.port = Some(2222);
        target.user = Some("deploy".into());
        target.identity = Some("/keys/id".into());
        let expected = "-T -o BatchMode=yes -o ControlPath=none -o StrictHostKeyChecking=yes -o ClearAllForwardings=yes -o Compression=no \
            -o ServerAliveInterval=15 -o ServerAliveCountMax=3 -o LogLevel=INFO -o ConnectTimeout=7 \
            -o UserKnownHostsFile=\"/t/known_hosts\" -o GlobalKnownHostsFile=/dev/null -o HostKeyAlias=cairn-host \
            -o UpdateHostKeys=no -o CheckHostIP=no -o IdentitiesOnly=yes -i /keys/id -p 2222 -l deploy -- 192.0.2.1 ";
        assert_eq!(text(&target, Some(Path::new("/t"))).join(" "), format!("{expected}exec true"));
    }

    #[test]
    fn without_a_pinned_key_the_users_known_hosts_decide() {
        let args = text(&Target::new("a", "-oProxyCommand=evil"), None);
        assert!(!args.iter().any(|a| a.contains("KnownHosts")));
        assert_eq!(args[args.len() - 3..], ["--", "-oProxyCommand=evil", "exec true"]);
    }

    #[test]
    fn a_person_takes_the_same_way_and_may_be_asked() {
        let mut target = Target::new("web-1", "192.0.2.1");
        target.port = Some(2222);
        for (terminal, remote) in [(true, None), (false, Some("uptime"))] {
            let args = said(&target, Some(Path::new("/t")), Manner::Person { terminal }, remote);
            assert_eq!(args[0], if terminal { "-tt" } else { "-T" });
            assert_eq!(args.last().unwrap(), remote.unwrap_or("192.0.2.1"));
            let same = text(&target, Some(Path::new("/t")));
            assert!(!args.contains(&"BatchMode=yes".to_owned()) && same.contains(&"BatchMode=yes".to_owned()));
            assert!(args.iter().skip(1).all(|word| same.contains(word) || Some(word.as_str()) == remote), "{args:?}");
        }
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
