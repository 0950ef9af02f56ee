//! Keys that sign, and those that are trusted: ed25519, in the spelling of Nix.
//!
//! A public key is `NAME:BASE64` of 32 bytes; a secret one `NAME:BASE64` of 64, the seed and the
//! public key behind it; a signature `NAME:BASE64` of 64. `nix-store --generate-binary-cache-key`
//! makes such pairs as well.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

use crate::error::{CacheError, Result, short};

/// Names of signers in a message: a file may have as many signatures as it likes.
const SHOWN: usize = 5;

#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    name: String,
    key: [u8; 32],
}

pub struct SecretKey {
    name: String,
    pair: Ed25519KeyPair,
}

impl PublicKey {
    pub fn parse(text: &str) -> Result<Self> {
        let what = || format!("`{}` is no public key", text.chars().take(120).collect::<String>());
        let help = "write NAME:BASE64, as `deploy cache-key show FILE` prints it";
        let (name, bytes) = split(text).ok_or_else(|| CacheError::Key { what: what(), reason: help.to_owned() })?;
        match bytes.len() {
            64 => Err(CacheError::Key {
                // Not repeated: it is a secret that went to the wrong place.
                what: format!("`{name}:…` is a secret key where a public one belongs"),
                reason: "make a new pair with `deploy cache-key generate`".to_owned(),
            }),
            _ => {
                let key = bytes.try_into().map_err(|_| CacheError::Key { what: what(), reason: help.to_owned() })?;
                Ok(Self { name, key })
            }
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key itself in base64, without its name. The name says nothing about a key: a signature can
    /// be relabelled with another name by anything that can write the file.
    pub fn id(&self) -> String {
        STANDARD.encode(self.key)
    }

    /// Whether `signature` (`NAME:BASE64`) is this key's, over `message`.
    pub fn verifies(&self, message: &[u8], signature: &str) -> bool {
        split(signature).is_some_and(|(name, bytes)| {
            name == self.name && UnparsedPublicKey::new(&ED25519, self.key).verify(message, &bytes).is_ok()
        })
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, STANDARD.encode(self.key))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl SecretKey {
    /// Makes a pair; gives the secret key's text as well, which is kept nowhere.
    pub fn generate(name: &str) -> Result<(Self, String)> {
        let fail = |reason: &str| CacheError::Key { what: format!("key `{name}`"), reason: reason.to_owned() };
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) {
            return Err(fail("a name has letters, digits, dots, dashes and underscores, such as cache.example-1"));
        }
        let mut seed = [0; 32];
        SystemRandom::new().fill(&mut seed).map_err(|_| fail("the system has no random numbers"))?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|e| fail(&e.to_string()))?;
        let whole = [&seed[..], pair.public_key().as_ref()].concat();
        let text = format!("{name}:{}", STANDARD.encode(whole));
        Ok((Self { name: name.to_owned(), pair }, text))
    }

    /// Reads the text of a secret key. No error holds a part of it.
    pub fn parse(text: &str) -> Result<Self> {
        let fail = || CacheError::Key {
            what: "this is no secret key".to_owned(),
            reason: "its file holds NAME:BASE64, as `deploy cache-key generate NAME FILE` writes it".to_owned(),
        };
        let (name, bytes) = split(text.trim()).ok_or_else(fail)?;
        let (seed, public) = bytes.split_at_checked(32).ok_or_else(fail)?;
        let pair = Ed25519KeyPair::from_seed_and_public_key(seed, public).map_err(|_| fail())?;
        Ok(Self { name, pair })
    }

    pub fn public(&self) -> PublicKey {
        let mut key = [0; 32];
        key.copy_from_slice(self.pair.public_key().as_ref());
        PublicKey { name: self.name.clone(), key }
    }

    pub fn sign(&self, message: &[u8]) -> String {
        format!("{}:{}", self.name, STANDARD.encode(self.pair.sign(message).as_ref()))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.name)
    }
}

fn split(text: &str) -> Option<(String, Vec<u8>)> {
    let (name, bytes) = text.trim().split_once(':')?;
    let bytes = STANDARD.decode(bytes).ok()?;
    (!name.is_empty()).then(|| (name.to_owned(), bytes))
}

/// Whether one of the keys has made one of the signatures.
pub fn is_trusted(trusted: &[PublicKey], message: &[u8], signatures: &[String]) -> bool {
    signatures.iter().any(|signature| trusted.iter().any(|key| key.verifies(message, signature)))
}

/// The keys that have made one of the signatures.
pub fn signed_by(trusted: &[PublicKey], message: &[u8], signatures: &[String]) -> Vec<PublicKey> {
    let signed = |key: &&PublicKey| signatures.iter().any(|signature| key.verifies(message, signature));
    trusted.iter().filter(signed).cloned().collect()
}

/// For messages: who signed.
pub fn signers(signatures: &[String]) -> String {
    let names: Vec<String> =
        signatures.iter().filter_map(|signature| Some(short(signature.split_once(':')?.0, 60))).collect();
    match (names.get(..SHOWN), names.len()) {
        (_, 0) => "no key".to_owned(),
        (Some(first), count @ SHOWN..) if count > SHOWN => format!("{} and {} more", first.join(", "), count - SHOWN),
        _ => names.join(", "),
    }
}

/// For messages: whom we trust.
pub fn names(trusted: &[PublicKey]) -> String {
    trusted.iter().map(PublicKey::name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_signature_holds_for_its_key_name_and_message_alone() {
        let (key, text) = SecretKey::generate("cache-1").unwrap();
        let again = SecretKey::parse(&format!("{text}\n")).unwrap();
        let public = PublicKey::parse(&key.public().to_string()).unwrap();
        assert_eq!(again.public(), public);
        let signature = again.sign(b"message");
        assert!(public.verifies(b"message", &signature));
        assert!(!public.verifies(b"massage", &signature));
        assert!(!public.verifies(b"message", &signature.replace("cache-1", "cache-2")));
        let (other, _) = SecretKey::generate("cache-1").unwrap();
        assert!(!other.public().verifies(b"message", &signature));
        assert!(is_trusted(&[other.public(), public], b"message", &[signature]));
    }

    #[test]
    fn what_is_no_key_is_refused_and_a_secret_is_not_repeated() {
        let (_, secret) = SecretKey::generate("k").unwrap();
        let error = PublicKey::parse(&secret).unwrap_err().to_string();
        assert!(error.contains("secret key where a public one") && !error.contains(&secret[10..20]), "{error}");
        for bad in ["", "k", "k:", ":AAAA", "k:AAAA", "k:!!!"] {
            assert!(PublicKey::parse(bad).is_err() && SecretKey::parse(bad).is_err(), "{bad}");
        }
        // Another public half than the seed's.
        let mut bytes = STANDARD.decode(&secret[2..]).unwrap();
        bytes[40] ^= 1;
        assert!(SecretKey::parse(&format!("k:{}", STANDARD.encode(bytes))).is_err());
        assert!(SecretKey::generate("a b").is_err());
    }
}
