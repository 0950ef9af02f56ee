//! The options that `ssh` is started with.
//!
//! The user's configuration says how a host is reached (aliases, jump hosts, keys, ciphers). It must not
//! say what a conversation of ours is: `ForwardAgent yes` would hand the user's key agent to every host
//! that is asked for its status, `RemoteCommand` or `SessionType none` would break the conversation, and
//! `LocalCommand` would run on each connection. So everything that concerns the session is set here, on
//! the command line, where the first value counts.
//!
//! Some of these options are younger than the `ssh` of a supported system (`RemoteCommand` 7.6, the
//! others below it 8.7; RHEL 8 has 8.0), and an option that `ssh` does not know ends it. `IgnoreUnknown`
//! on the command line replaces the user's own (again the first value counts), so a list of our options
//! would make the `UseKeychain` of a configuration fatal that its `IgnoreUnknown` line lets pass. We
//! therefore pass `*`, which covers their list as well as ours. Its price: a misspelt line of the user's
//! configuration is skipped in conversations; `deploy ssh` and plain `ssh` report it. Asking `ssh -G` or
//! `ssh -V` first would cost a process for each run and a time limit of its own.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use crate::ssh::Target;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A conversation of this program with the agent; no person is asked anything.
    Conversation,
    /// One command of ours on the user's standard streams (`deploy exec`).
    Attended { terminal: bool },
    /// A person's own session on the host (`deploy ssh`).
    Session { terminal: bool },
}

impl Purpose {
    const fn terminal(self) -> bool {
        matches!(self, Self::Attended { terminal: true } | Self::Session { terminal: true })
    }
}

/// Under this name the pinned key stands in the known-hosts file.
pub const ALIAS: &str = "cairn-host";

/// Of all but a person's own session. `IgnoreUnknown` comes first: it holds for what follows it.
const OURS_ALONE: [&str; 11] = [
    "IgnoreUnknown=*",
    "ForwardAgent=no",
    "ForwardX11=no",
    "ForwardX11Trusted=no",
    "Tunnel=no",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "SessionType=default",
    "StdinNull=no",
    "ForkAfterAuthentication=no",
    // A fresh connection, opened with these options, though the configuration may share them.
    "ControlPath=none",
];

/// Of every connection.
const ALWAYS: [&str; 6] = [
    "StrictHostKeyChecking=yes",
    "ClearAllForwardings=yes",
    // Our own streams are compressed.
    "Compression=no",
    // A host that vanished is noticed within 45 seconds.
    "ServerAliveInterval=15",
    "ServerAliveCountMax=3",
    "LogLevel=INFO",
];

pub fn arguments(
    target: &Target,
    known_hosts: Option<&Path>,
    connect_timeout: Duration,
    purpose: Purpose,
    remote: Option<&str>,
) -> Vec<OsString> {
    // `-tt`: also if our own input is not a terminal. Either one overrides `RequestTTY`.
    let mut args: Vec<OsString> = vec![if purpose.terminal() { "-tt" } else { "-T" }.into()];
    let is_session = matches!(purpose, Purpose::Session { .. });
    if !is_session {
        // Kerberos credentials stay here. The option's name is an error where `ssh` lacks Kerberos.
        args.push("-k".into());
    }
    let mut option = |text: OsString| args.extend(["-o".into(), text]);
    if !is_session {
        OURS_ALONE.iter().for_each(|fixed| option(fixed.into()));
    }
    if purpose == Purpose::Conversation {
        // Never a question on the terminal: many hosts are reached at once.
        option("BatchMode=yes".into());
    }
    if is_session && remote.is_some() {
        // `ssh` refuses a command beside one of the configuration.
        option("RemoteCommand=none".into());
    }
    ALWAYS.iter().for_each(|fixed| option(fixed.into()));
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
    // After `--` an address that begins with a dash is not an option.
    args.extend(["--".into(), target.address.clone().into()]);
    args.extend(remote.map(OsString::from));
    args
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn text(target: &Target, known_hosts: Option<&str>, purpose: Purpose, remote: Option<&str>) -> Vec<String> {
        let args = arguments(target, known_hosts.map(Path::new), Duration::from_secs(7), purpose, remote);
        args.into_iter().map(|a| a.into_string().unwrap()).collect()
    }

    #[test]
    fn the_whole_command_line() {
        let mut target = Target::new("web-1", "192.0.2.1");
        target.port = Some(2222);
        target.user = Some("deploy".into());
        target.identity = Some("/keys/id".into());
        let expected = "-T -k -o IgnoreUnknown=* -o ForwardAgent=no -o ForwardX11=no -o ForwardX11Trusted=no -o Tunnel=no \
            -o PermitLocalCommand=no -o RemoteCommand=none -o SessionType=default -o StdinNull=no \
            -o ForkAfterAuthentication=no -o ControlPath=none -o BatchMode=yes -o StrictHostKeyChecking=yes \
            -o ClearAllForwardings=yes -o Compression=no \
            -o ServerAliveInterval=15 -o ServerAliveCountMax=3 -o LogLevel=INFO -o ConnectTimeout=7 \
            -o UserKnownHostsFile=\"/t/known_hosts\" -o GlobalKnownHostsFile=/dev/null -o HostKeyAlias=cairn-host \
            -o UpdateHostKeys=no -o CheckHostIP=no -o IdentitiesOnly=yes -i /keys/id -p 2222 -l deploy -- 192.0.2.1 \
            exec true";
        let args = text(&target, Some("/t/known_hosts"), Purpose::Conversation, Some("exec true"));
        assert_eq!(args.join(" "), expected);
    }

    #[test]
    fn without_a_pinned_key_the_users_known_hosts_decide() {
        let args = text(&Target::new("a", "-oProxyCommand=evil"), None, Purpose::Conversation, Some("exec true"));
        assert!(!args.iter().any(|a| a.contains("KnownHosts")));
        assert_eq!(args[args.len() - 3..], ["--", "-oProxyCommand=evil", "exec true"]);
    }

    #[test]
    fn only_a_persons_own_session_is_as_the_users_configuration_says() {
        let target = Target::new("web-1", "192.0.2.1");
        let has = |args: &[String], word: &str| args.iter().any(|arg| arg == word);
        for (terminal, remote) in [(true, None), (false, Some("uptime"))] {
            let args = text(&target, Some("/t"), Purpose::Session { terminal }, remote);
            assert_eq!(args[0], if terminal { "-tt" } else { "-T" });
            assert_eq!(args.last().unwrap(), remote.unwrap_or("192.0.2.1"));
            for ours in OURS_ALONE.iter().filter(|option| **option != "RemoteCommand=none") {
                assert!(!has(&args, ours), "{ours}: {args:?}");
            }
            assert!(!has(&args, "BatchMode=yes") && !has(&args, "-k"), "{args:?}");
            assert_eq!(has(&args, "RemoteCommand=none"), remote.is_some(), "{args:?}");
            assert!(has(&args, "StrictHostKeyChecking=yes") && has(&args, "HostKeyAlias=cairn-host"), "{args:?}");
        }
        let args = text(&target, Some("/t"), Purpose::Attended { terminal: true }, Some("exec true"));
        assert!(args[0] == "-tt" && !has(&args, "BatchMode=yes"), "{args:?}");
        assert!(OURS_ALONE.iter().all(|option| has(&args, option)), "{args:?}");
    }
}
