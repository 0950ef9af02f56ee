//! What `ssh` prints and returns when it fails, as a type with advice.
//!
//! The patterns are the messages of OpenSSH (`ssh.c`, `sshconnect.c`, `sshconnect2.c`,
//! `clientloop.c`), unchanged from 7.x to 9.x; the table in the tests holds them verbatim. `ssh`
//! exits with 255 for faults of its own and with the remote command's code otherwise.

use crate::bootstrap;
use crate::silence::Fired;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SshFault {
    #[error("cannot be reached: {detail}; check its address and port, that it is up, and what lies between")]
    Unreachable { detail: String },
    /// The host showed another key than the one it must have.
    #[error(
        "host key mismatch: expected {expected}, the host showed {}; if the host was reinstalled, pin its new key \
         (`host_key` in the host's definition, or `ssh-keygen -R` and a first login by hand where none is pinned); \
         if not, somebody may be between you and the host",
        .shown.as_deref().unwrap_or("another")
    )]
    HostKeyMismatch { expected: String, shown: Option<String> },
    /// No key is pinned and the user's known hosts have none.
    #[error(
        "its host key is not known: pin it (`host_key` in the host's definition; `ssh-keyscan` prints it, compare it \
         with the host's console) or log in once by hand"
    )]
    HostKeyUnknown,
    #[error("authentication refused{}; check user and key, and that the key is in the host's authorized_keys", detail_of(.detail))]
    AuthRefused { detail: String },
    #[error(
        "no permission to become root without a password ({detail}): log in as root, or put `USER ALL=(root) NOPASSWD: ALL`, \
         USER being who logs in, into /etc/sudoers.d/cairn on the host (`visudo -f` checks it)"
    )]
    NoPrivilege { detail: String },
    #[error("the host has no {what}: {detail}")]
    CommandMissing { what: String, detail: String },
    #[error(
        "no directory on the host lets us execute the agent (tried $TMPDIR, /var/tmp, $HOME, /run): mount one without `noexec`"
    )]
    NoDirectory,
    #[error("the agent could not be written on the host{}: is a disk full?", detail_of(.detail))]
    NotWritten { detail: String },
    #[error("nothing came from it for {seconds} s: log in by hand and look what hangs there")]
    Silent { seconds: u64 },
    #[error(
        "its agent did not speak within {seconds} s, though something came from it: log in by hand and look what comes"
    )]
    TooLong { seconds: u64 },
    #[error("ssh ended before the agent spoke ({status}){}", detail_of(.detail))]
    Other { status: String, detail: String },
}

/// How `ssh` begins the line that says that a server closed the connection before its greeting.
const NO_GREETING: &str = "kex_exchange_identification";

impl SshFault {
    /// A limit of time ended the connection.
    pub(crate) const fn of(fired: Fired) -> Self {
        match fired {
            Fired::Silence(limit) => Self::Silent { seconds: limit.as_secs() },
            Fired::Total(limit) => Self::TooLong { seconds: limit.as_secs() },
        }
    }

    /// Whether it may work a moment later: see [`crate::crowd`].
    pub fn is_crowded(&self) -> bool {
        matches!(self, Self::Unreachable { detail } if detail.contains(NO_GREETING))
    }
}

fn detail_of(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(" ({detail})") }
}

/// Finds the fault in `ssh`'s exit code (`None`: killed) and what it printed. `pinned` is the key
/// that the host must have, when the definition names one.
pub fn classify(code: Option<i32>, stderr: &str, pinned: Option<&str>) -> SshFault {
    let line_with = |needles: &[&str]| {
        stderr.lines().rev().find(|line| needles.iter().any(|n| line.contains(n))).map(|l| l.trim().to_owned())
    };
    let last = || stderr.lines().rev().map(str::trim).find(|l| !l.is_empty()).unwrap_or_default().to_owned();
    match code {
        Some(bootstrap::NO_DIRECTORY) => return SshFault::NoDirectory,
        Some(bootstrap::NOT_WRITTEN) => return SshFault::NotWritten { detail: last() },
        Some(bootstrap::NO_SUDO) => return SshFault::NoPrivilege { detail: last() },
        _ => {}
    }
    if let Some(detail) = line_with(&["sudo: "]) {
        return SshFault::NoPrivilege { detail };
    }
    if stderr.contains("REMOTE HOST IDENTIFICATION HAS CHANGED") {
        let expected = pinned.map_or_else(|| "the key in your known hosts".to_owned(), str::to_owned);
        return SshFault::HostKeyMismatch { expected, shown: shown_fingerprint(stderr) };
    }
    if stderr.contains("Host key verification failed") || stderr.contains("host key is known for") {
        return match pinned {
            // The host has no key of the pinned kind: what it showed is not the pinned one either.
            Some(key) => SshFault::HostKeyMismatch { expected: key.to_owned(), shown: shown_kind(stderr) },
            None => SshFault::HostKeyUnknown,
        };
    }
    if let Some(detail) =
        line_with(&["Permission denied (", "Too many authentication failures", "No more authentication"])
    {
        let key = line_with(&["Load key", "UNPROTECTED PRIVATE KEY", "not accessible", "sign_and_send_pubkey"]);
        return SshFault::AuthRefused { detail: key.map_or(detail.clone(), |key| format!("{detail}; {key}")) };
    }
    if let Some(detail) = line_with(&[NO_GREETING]) {
        return SshFault::Unreachable { detail };
    }
    if let Some(detail) = line_with(&[
        "connect to host",
        "Could not resolve hostname",
        "banner exchange",
        "Connection closed by",
        "Connection reset by",
        "Connection timed out",
        "Unable to negotiate",
        "proxy command",
        "not responding",
    ]) {
        return SshFault::Unreachable { detail };
    }
    match code {
        Some(126 | 127) => SshFault::CommandMissing { what: missing_command(&last()), detail: last() },
        Some(code) => SshFault::Other { status: format!("exit code {code}"), detail: last() },
        None => SshFault::Other { status: "killed".to_owned(), detail: last() },
    }
}

/// The line after "The fingerprint for the ED25519 key sent by the remote host is".
fn shown_fingerprint(stderr: &str) -> Option<String> {
    let mut lines = stderr.lines();
    let head = lines.find(|l| l.contains("key sent by the remote host is"))?;
    let kind = head.split_ascii_whitespace().skip_while(|w| *w != "the").nth(1).unwrap_or("");
    Some(format!("{kind} {}", lines.next()?.trim().trim_end_matches('.')).trim().to_owned())
}

/// From "No ED25519 host key is known for …".
fn shown_kind(stderr: &str) -> Option<String> {
    let line = stderr.lines().find(|l| l.contains("host key is known for"))?;
    Some(format!("a key of kind {}", line.trim().strip_prefix("No ")?.split(' ').next()?))
}

/// `sh: 1: head: not found` and its relatives name the command before the last colon.
fn missing_command(line: &str) -> String {
    let name = line.rsplit(": ").nth(1).unwrap_or("sh");
    format!("`{}` command", name.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGED: &str = "\
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!
Someone could be eavesdropping on you right now (man-in-the-middle attack)!
It is also possible that a host key has just been changed.
The fingerprint for the ED25519 key sent by the remote host is
SHA256:q6yv7dVQDSzpmyUYGTPDIhAFZBCWnnYpjyCbXbiRRA0.
Please contact your system administrator.
Host key verification failed.
";

    #[test]
    fn faults_by_what_ssh_prints() {
        let unreachable = |detail: &str| SshFault::Unreachable { detail: detail.to_owned() };
        let refused = "ssh: connect to host 127.0.0.1 port 9: Connection refused";
        let resolve = "ssh: Could not resolve hostname nowhere.invalid: Name or service not known";
        let denied = "root@127.0.0.1: Permission denied (publickey).";
        let sudo = "sudo: a password is required";
        let table = [
            (Some(255), refused, None, unreachable(refused)),
            (Some(255), resolve, None, unreachable(resolve)),
            (
                Some(255),
                "Connection timed out during banner exchange",
                None,
                unreachable("Connection timed out during banner exchange"),
            ),
            (
                Some(255),
                "kex_exchange_identification: Connection closed by remote host\nConnection closed by UNKNOWN port 65535",
                None,
                unreachable("kex_exchange_identification: Connection closed by remote host"),
            ),
            (Some(255), denied, None, SshFault::AuthRefused { detail: denied.to_owned() }),
            (
                Some(255),
                CHANGED,
                Some("ssh-ed25519 AAAA"),
                SshFault::HostKeyMismatch {
                    expected: "ssh-ed25519 AAAA".to_owned(),
                    shown: Some("ED25519 SHA256:q6yv7dVQDSzpmyUYGTPDIhAFZBCWnnYpjyCbXbiRRA0".to_owned()),
                },
            ),
            (
                Some(255),
                "No RSA host key is known for cairn-host and you have requested strict checking.\nHost key verification failed.",
                Some("ssh-ed25519 AAAA"),
                SshFault::HostKeyMismatch {
                    expected: "ssh-ed25519 AAAA".to_owned(),
                    shown: Some("a key of kind RSA".to_owned()),
                },
            ),
            (
                Some(255),
                "No ED25519 host key is known for [web-1]:22 and you have requested strict checking.\nHost key verification failed.",
                None,
                SshFault::HostKeyUnknown,
            ),
            (Some(1), sudo, None, SshFault::NoPrivilege { detail: sudo.to_owned() }),
            (
                Some(127),
                "cairn: 1: mktemp: not found",
                None,
                SshFault::CommandMissing {
                    what: "`mktemp` command".to_owned(),
                    detail: "cairn: 1: mktemp: not found".to_owned(),
                },
            ),
            (Some(90), "", None, SshFault::NoDirectory),
            (None, "", None, SshFault::Other { status: "killed".to_owned(), detail: String::new() }),
        ];
        for (code, stderr, pinned, expected) in table {
            assert_eq!(classify(code, stderr, pinned), expected, "{stderr}");
        }
    }
}
