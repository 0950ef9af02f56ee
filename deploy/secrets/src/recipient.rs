//! Public keys that a file can be encrypted to.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest as _, Sha256};

/// `age1…` or `ssh-ed25519 AAAA…`, without a comment.
///
/// RSA keys are refused: opening with them leaks timing, and every host and person has or can make
/// an ed25519 key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Recipient(String);

impl Recipient {
    /// The reason, when it is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let key = match (words.next(), words.next()) {
            (Some("ssh-ed25519"), Some(key)) => format!("ssh-ed25519 {key}"),
            (Some(kind), Some(_))
                if kind.starts_with("ssh-") || kind.starts_with("ecdsa-") || kind.starts_with("sk-") =>
            {
                return Err(format!("a key of type {kind} cannot be used; make one with `ssh-keygen -t ed25519`"));
            }
            (Some(key), None) if key.starts_with("AGE-SECRET-KEY-") => {
                // Not repeated here: it is a secret that went to the wrong place.
                return Err("this is a private key; write the public one, and make a new pair".into());
            }
            (Some(key), None) => key.to_owned(),
            _ => return Err(format!("{text:?} is no public key: write `age1…` or `ssh-ed25519 AAAA…`")),
        };
        let recipient = Self(key);
        recipient.to_age().map(|_| recipient).ok_or_else(|| {
            format!("{text:?} is no public key (it is cut off or mistyped): write `age1…` or `ssh-ed25519 AAAA…`")
        })
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// For people to compare: of an SSH key the fingerprint that `ssh-keygen -l` prints, and an `age1…` key
    /// as a whole, since it is no longer than that.
    pub fn shown(&self) -> String {
        match self.ssh_blob() {
            Some(blob) => format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(blob))),
            None => self.0.clone(),
        }
    }

    /// 16 hexadecimal digits of the key's SHA-256, to tell keys apart.
    pub fn fingerprint(&self) -> String {
        hex::encode(&Sha256::digest(&self.0)[..8])
    }

    pub(crate) fn to_age(&self) -> Option<Box<dyn age::Recipient + Send>> {
        match self.ssh_blob() {
            Some(_) => match self.0.parse().ok()? {
                key @ age::ssh::Recipient::SshEd25519(..) => Some(Box::new(key)),
                _ => None,
            },
            None => Some(Box::new(self.0.parse::<age::x25519::Recipient>().ok()?)),
        }
    }

    /// What names this key in a file's header; `age1…` keys stand there without a name.
    pub(crate) fn tag(&self) -> Option<String> {
        let hash = Sha256::digest(self.ssh_blob()?);
        Some(STANDARD_NO_PAD.encode(&hash[..4]))
    }

    fn ssh_blob(&self) -> Option<Vec<u8>> {
        STANDARD.decode(self.0.strip_prefix("ssh-ed25519 ")?).ok()
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_taken_and_everything_else_is_explained() {
        let native = age::x25519::Identity::generate().to_public().to_string();
        assert_eq!(Recipient::parse(&format!(" {native}\n")).expect("a key").as_str(), native);
        let ssh = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJiICLLLLn4FVWrAmDdtKJt84DzIAFZLMRGNmrPIrATt";
        assert_eq!(Recipient::parse(&format!("{ssh} root@host")).expect("a key").as_str(), ssh);
        // As `ssh-keygen -l` prints it.
        let fingerprint = "SHA256:eAxVI/WgdeVGL6/ksH8mj7ydL22VmPdRpaHMtDjPAJM";
        assert_eq!(Recipient::parse(ssh).expect("a key").shown(), fingerprint);
        for (text, said) in [
            ("", "is no public key"),
            ("age1abc", "cut off or mistyped"),
            ("ssh-ed25519 AAAA", "cut off or mistyped"),
            ("ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQ", "type ssh-rsa cannot be used"),
            ("AGE-SECRET-KEY-1QQQ", "private key"),
            ("alice bob", "is no public key"),
        ] {
            let error = Recipient::parse(text).expect_err(text);
            assert!(error.contains(said), "{text}: {error}");
        }
        assert!(!Recipient::parse("AGE-SECRET-KEY-1QQQ").expect_err("a private key").contains("1QQQ"));
    }
}
