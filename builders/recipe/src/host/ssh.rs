//! `[ssh]`: how a remote host is reached.
//!
//! These values become arguments of `ssh`, which puts address and user into commands of the user's own
//! configuration (`ProxyCommand`, `Match exec`), run by a shell; OpenSSH refuses the worst of them only
//! since 9.6. A definition may come from a pull request, so nothing that a shell or `ssh` would expand gets
//! past its reading.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use serde::Deserialize;

use super::check::{Fault, fail};

/// `[ssh]`: a remote host. What is absent comes from the user's own ssh configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SshSection {
    pub address: SshAddress,
    pub user: Option<SshUser>,
    pub port: Option<u16>,
    /// Where sshd listens as long as it does not yet at `port`: a switch that moves it begins there,
    /// and is confirmed at `port`.
    pub port_before: Option<u16>,
    /// The host's public key, `ssh-ed25519 AAAA…`; without it the user's known hosts decide.
    pub host_key: Option<String>,
    /// A private key file; without it the user's agent and configuration decide.
    pub identity: Option<IdentityPath>,
}

impl SshSection {
    /// What the keys say of one another.
    pub(super) fn check(&self) -> Result<(), Fault> {
        for (key, port) in [("ssh.port", self.port), ("ssh.port_before", self.port_before)] {
            if port == Some(0) {
                return Err(fail(key, "0 is not the port of a server", "write a number from 1 to 65535"));
            }
        }
        if self.port_before.is_some() && (self.port.is_none() || self.port == self.port_before) {
            return Err(fail(
                "ssh.port_before",
                "the port does not change",
                "write the new one as `port`; take `port_before` away when the host has moved",
            ));
        }
        Ok(())
    }
}

macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $parse:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            /// What is wrong, and what helps.
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                let parse: fn(&str) -> Result<String, String> = $parse;
                parse(&text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text!(
    /// A host name, a `Host` of `~/.ssh/config`, or an IP address; one of version 6 is kept without its
    /// brackets, as `ssh` takes it.
    SshAddress,
    address
);

text!(
    /// A login name, also of a directory service: `alice@example.com`, `EXAMPLE\alice`.
    SshUser,
    user
);

text!(
    /// The path of a private key file.
    IdentityPath,
    identity
);

fn refused(value: &str, what: &str, help: &str) -> String {
    let shown: String = value.chars().take(100).collect();
    format!("{shown:?} is not {what}\n  help: {help}")
}

fn address(text: &str) -> Result<String, String> {
    const PLAIN: &str = "write a host name, a `Host` of ~/.ssh/config, or an IP address";
    let refuse = |help: &str| Err(refused(text, "a host name or address", help));
    if text.contains("://") {
        return refuse("write the host's name alone, without scheme and path");
    }
    if let Some((_, host)) = text.rsplit_once('@') {
        let host = if is_host_name(host) { host } else { "the host's name" };
        return refuse(&format!("write the login name as `user`, and as `address` {host} alone"));
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Some(bare) = bare {
        return bare.parse::<Ipv6Addr>().map_or_else(|_| refuse(PLAIN), |_| Ok(bare.to_owned()));
    }
    if text.parse::<IpAddr>().is_ok() || is_host_name(text) {
        return Ok(text.to_owned());
    }
    match text.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) && !host.is_empty() => {
            refuse(&format!("write the port apart, as `port = {}`", port.chars().take(5).collect::<String>()))
        }
        _ if text.contains('%') => refuse("name the interface of a link-local address in ~/.ssh/config (`HostName`)"),
        _ => refuse(PLAIN),
    }
}

fn is_host_name(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// What useradd(8) takes, and what sssd and winbind make of the accounts of a directory.
fn user(text: &str) -> Result<String, String> {
    let plain = |name: &str| {
        (1..=64).contains(&name.len())
            && name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    let good = match (text.split_once('\\'), text.split_once('@')) {
        (Some((domain, name)), _) => plain(domain) && plain(name),
        (None, Some((name, domain))) => plain(name) && is_host_name(domain),
        (None, None) => plain(text),
    };
    let help = "use letters, digits, `.`, `_` and `-`, as in \"admin\", \"alice@example.com\" or 'EXAMPLE\\alice'";
    if good { Ok(text.to_owned()) } else { Err(refused(text, "a login name", help)) }
}

fn identity(text: &str) -> Result<String, String> {
    let help = match text.contains(['%', '$']) {
        true => "`ssh` would expand `%` and `$`: write the path out; `~/` stands for the user's home",
        false => "write the path of a private key file, as in \"~/.ssh/deploy\"",
    };
    let bad = |c: char| c.is_control() || ['%', '$', '`', '"'].contains(&c);
    let good = !text.is_empty() && !text.starts_with('-') && !text.contains(bad) && text.trim() == text;
    if good { Ok(text.to_owned()) } else { Err(refused(text, "the path of a private key", help)) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_address_is_a_name_or_an_ip_address_and_nothing_else() {
        for (good, kept) in [
            ("web-1.example", "web-1.example"),
            ("alias_of-mine", "alias_of-mine"),
            ("web.example.", "web.example."),
            ("192.0.2.1", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
        ] {
            assert_eq!(address(good).unwrap(), kept);
        }
        for (bad, said) in [
            ("", "write a host name"),
            ("web:22", "`port = 22`"),
            ("[::1]:22", "`port = 22`"),
            ("http://web", "without scheme"),
            ("ssh://web", "without scheme"),
            ("root@web", "as `user`, and as `address` web alone"),
            ("$(touch x)@web", "as `user`"),
            ("$(touch${IFS}x)", "write a host name"),
            ("`id`", "write a host name"),
            ("a b", "write a host name"),
            ("-oProxyCommand=x", "write a host name"),
            ("%h", "~/.ssh/config"),
            ("fe80::1%eth0", "~/.ssh/config"),
            ("a;b", "write a host name"),
            ("a\nb", "write a host name"),
            ("[web]", "write a host name"),
            ("wéb", "write a host name"),
        ] {
            let error = address(bad).unwrap_err();
            assert!(error.contains("is not a host name or address") && error.contains(said), "{bad}: {error}");
            assert!(!error.trim_end().contains("\nb"), "{error}");
        }
    }

    #[test]
    fn a_login_name_is_one_that_systems_have() {
        for good in ["root", "ec2-user", "first.last", "_svc", "1user", "alice@example.com", r"EXAMPLE\alice"] {
            assert_eq!(user(good).unwrap(), good);
        }
        for bad in [
            "", "-l", "a b", "$(id)", "`id`", "%h", "a;b", "a'b", "a\n", r"a\", r"\a", r"A\b\c", "a@", "a@b@c",
            "a@$(id)", "é",
        ] {
            let error = user(bad).unwrap_err();
            assert!(error.contains("is not a login name") && error.contains("help: use letters"), "{bad}: {error}");
        }
    }

    #[test]
    fn an_identity_is_a_path_that_ssh_takes_as_it_is() {
        for good in ["/home/me/.ssh/deploy", "~/.ssh/deploy", "keys/a key"] {
            assert_eq!(identity(good).unwrap(), good);
        }
        for bad in ["", "-i", "/k/%u", "${HOME}/k", "$(id)", "`id`", "/k\n", " /k", "/k\""] {
            assert!(identity(bad).unwrap_err().contains("is not the path of a private key"), "{bad}");
        }
    }
}
