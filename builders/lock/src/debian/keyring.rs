//! OpenPGP: which keys of a keyring have signed a text.
//!
//! A signature counts when it is a text signature with a SHA-2 hash, made by a strong key of the
//! keyring that was bound to sign by its owner, also with a SHA-2 hash, is neither expired nor revoked
//! now, and matches the text. [`strength`](super::strength) says what is strong.
//! One is enough, as for apt: archives sign with the old key and the new while they change keys.

use std::io::Read as _;
use std::time::{Duration, SystemTime};

use pgp::armor::Dearmor;
use pgp::composed::{Deserializable as _, DetachedSignature, SignedPublicKey, SignedPublicSubKey};
use pgp::packet::{Signature, SignatureType};
use pgp::types::{KeyDetails, KeyId, Tag, Timestamp};

use super::clearsign::ClearSigned;
use super::strength::{check_key, is_strong};

/// More signatures than any archive has; the rest is not looked at.
const MAX_SIGNATURES: usize = 32;
/// A clock this far behind the archive's is not taken for an attack.
const CLOCK_SKEW: Duration = Duration::from_secs(24 * 3600);

/// Keys that are trusted to sign an archive.
#[derive(Debug)]
pub struct Keyring {
    keys: Vec<SignedPublicKey>,
}

/// Why a signature does not count, in the reader's words.
pub type Fault = String;

/// More bytes than any keyring or set of signatures has.
const MAX_BYTES: u64 = 16 << 20;

/// The packets, out of their armour if they have one (RFC 9580, 6.2; the first bit of a packet is set).
///
/// All at once: the library's reader of armour panics when it is read again after an error, and its
/// reader of packets does so.
fn without_armour(bytes: &[u8]) -> Result<Vec<u8>, Fault> {
    if bytes.first().is_some_and(|first| first & 0x80 != 0) {
        return Ok(bytes.to_vec());
    }
    let mut packets = Vec::new();
    let read = Dearmor::new(bytes).take(MAX_BYTES).read_to_end(&mut packets);
    read.map(|_| packets).map_err(|error| error.to_string())
}

impl Keyring {
    /// Reads a keyring, binary (`.gpg`) or armoured (`.asc`). Keys of a kind that is not known are
    /// left out.
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let bytes = without_armour(bytes)?;
        let keys = SignedPublicKey::from_bytes_many(bytes.as_slice()).map_err(|e| e.to_string())?;
        let keys: Vec<_> = keys.take(1000).filter_map(Result::ok).collect();
        if keys.is_empty() {
            return Err("it holds no key".to_owned());
        }
        Ok(Self { keys })
    }

    /// Takes in the keys of another file.
    pub fn extend(&mut self, other: Self) {
        self.keys.extend(other.keys);
    }

    /// Fingerprints of the primary keys, sorted.
    pub fn fingerprints(&self) -> Vec<String> {
        let mut all: Vec<String> = self.keys.iter().map(|key| format!("{:X}", key.fingerprint())).collect();
        all.sort();
        all.dedup();
        all
    }

    /// The primary key that a key or subkey belongs to; its owner may change subkeys at will.
    pub fn primary_of(&self, fingerprint: &str) -> Option<String> {
        let has = |key: &&SignedPublicKey| {
            let subkeys = key.public_subkeys.iter().map(|subkey| subkey.fingerprint());
            subkeys.chain([key.fingerprint()]).any(|known| format!("{known:X}") == fingerprint)
        };
        self.keys.iter().find(has).map(|key| format!("{:X}", key.fingerprint()))
    }

    /// Fingerprints of the keys whose signature counts, sorted; or what is wrong with each one.
    pub fn verify(&self, signed: &ClearSigned, now: SystemTime) -> Result<Vec<String>, Vec<Fault>> {
        let text = signed.canonical();
        let bytes = without_armour(signed.signatures.as_bytes());
        let bytes = bytes.map_err(|error| vec![format!("the signatures cannot be read: {error}")])?;
        let signatures = match DetachedSignature::from_bytes_many(bytes.as_slice()) {
            Ok(signatures) => signatures,
            Err(error) => return Err(vec![format!("the signatures cannot be read: {error}")]),
        };
        let (mut good, mut faults) = (Vec::new(), Vec::new());
        for signature in signatures.take(MAX_SIGNATURES) {
            let checked = signature
                .map_err(|error| format!("a signature cannot be read: {error}"))
                .and_then(|signature| self.check(&signature.signature, &text, now));
            match checked {
                Ok(fingerprint) => good.push(fingerprint),
                Err(fault) => faults.push(fault),
            }
        }
        good.sort();
        good.dedup();
        match (good.is_empty(), faults.is_empty()) {
            (false, _) => Ok(good),
            (true, true) => Err(vec!["there is no signature".to_owned()]),
            (true, false) => Err(faults),
        }
    }

    fn check(&self, signature: &Signature, text: &[u8], now: SystemTime) -> Result<String, Fault> {
        let issuer = issuer_name(signature);
        let issuers = signature.issuer_key_id();
        let fingerprints = signature.issuer_fingerprint();
        let is_issuer = |id: KeyId, fingerprint: pgp::types::Fingerprint| {
            if fingerprints.is_empty() { issuers.contains(&&id) } else { fingerprints.contains(&&fingerprint) }
        };
        let mut faults = Vec::new();
        for key in &self.keys {
            if is_issuer(key.legacy_key_id(), key.fingerprint()) {
                let checked = check_terms(signature, key.created_at(), now)
                    .and_then(|()| primary_may_sign(key, now))
                    .and_then(|()| matches_text(signature.verify(key, text)));
                match checked {
                    Ok(()) => return Ok(format!("{:X}", key.fingerprint())),
                    Err(fault) => faults.push(fault),
                }
            }
            for subkey in &key.public_subkeys {
                if is_issuer(subkey.legacy_key_id(), subkey.fingerprint()) {
                    let checked = check_terms(signature, subkey.created_at(), now)
                        .and_then(|()| primary_is_valid(key, now).map(|_| ()))
                        .and_then(|()| subkey_may_sign(key, subkey, now))
                        .and_then(|()| matches_text(signature.verify(&subkey.key, text)));
                    match checked {
                        Ok(()) => return Ok(format!("{:X}", subkey.fingerprint())),
                        Err(fault) => faults.push(fault),
                    }
                }
            }
        }
        match faults.pop() {
            Some(fault) => Err(format!("the signature by {issuer} does not count: {fault}")),
            None => Err(format!("the signature is by {issuer}, which is not in the keyring")),
        }
    }
}

fn issuer_name(signature: &Signature) -> String {
    let fingerprint = signature.issuer_fingerprint().first().map(|f| format!("key {f:X}"));
    let id = || signature.issuer_key_id().first().map(|id| format!("key {id}"));
    fingerprint.or_else(id).unwrap_or_else(|| "an unnamed key".to_owned())
}

fn matches_text(verified: pgp::errors::Result<()>) -> Result<(), Fault> {
    verified.map_err(|_| "it does not match the text".to_owned())
}

/// What the signature says of itself.
fn check_terms(signature: &Signature, key_created: Timestamp, now: SystemTime) -> Result<(), Fault> {
    if signature.typ() != Some(SignatureType::Text) {
        return Err("it is not a signature over text".to_owned());
    }
    if !is_strong(signature) {
        return Err("its hash function is not trusted".to_owned());
    }
    let Some(created) = signature.created() else { return Err("it has no date".to_owned()) };
    if created < key_created {
        return Err("it is older than its key".to_owned());
    }
    if SystemTime::from(created) > now + CLOCK_SKEW {
        return Err("it is dated in the future; check this machine's clock".to_owned());
    }
    if has_ended(created, signature.signature_expiration_time(), now) {
        return Err("it has expired".to_owned());
    }
    Ok(())
}

fn has_ended(from: Timestamp, after: Option<pgp::types::Duration>, now: SystemTime) -> bool {
    match after.map(Duration::from) {
        None | Some(Duration::ZERO) => false,
        Some(after) => SystemTime::from(from) + after <= now,
    }
}

/// The owner's newest word about the primary key: flags and expiry. The key must not be revoked;
/// a revocation counts even when it cannot be verified, since whoever can edit the keyring needs
/// no forgery.
fn primary_is_valid(key: &SignedPublicKey, now: SystemTime) -> Result<&Signature, Fault> {
    if !key.details.revocation_signatures.is_empty() {
        return Err("the key was revoked".to_owned());
    }
    check_key(key.primary_key.public_params())?;
    let direct = key.details.direct_signatures.iter().filter(|s| s.verify_key(&key.primary_key).is_ok());
    let users = key.details.users.iter().flat_map(|user| {
        let by_owner = user
            .signatures
            .iter()
            .filter(|s| s.verify_certification(&key.primary_key, Tag::UserId, &user.id).is_ok())
            .collect::<Vec<_>>();
        let revoked = by_owner.iter().any(|s| s.typ() == Some(SignatureType::CertRevocation));
        if revoked { Vec::new() } else { by_owner }
    });
    let (strong, weak): (Vec<&Signature>, Vec<&Signature>) = direct.chain(users).partition(|s| is_strong(s));
    if strong.is_empty() && !weak.is_empty() {
        return Err("the key vouches for itself only with a hash function that is not trusted".to_owned());
    }
    let newest = strong
        .into_iter()
        .filter(|s| s.created().is_some_and(|created| SystemTime::from(created) <= now + CLOCK_SKEW))
        .max_by_key(|s| s.created());
    let Some(newest) = newest else { return Err("the key does not vouch for itself".to_owned()) };
    if has_ended(key.primary_key.created_at(), newest.key_expiration_time(), now) {
        return Err("the key has expired".to_owned());
    }
    Ok(newest)
}

fn primary_may_sign(key: &SignedPublicKey, now: SystemTime) -> Result<(), Fault> {
    match primary_is_valid(key, now)?.key_flags().sign() {
        true => Ok(()),
        false => Err("the key is not meant for signing".to_owned()),
    }
}

fn subkey_may_sign(key: &SignedPublicKey, subkey: &SignedPublicSubKey, now: SystemTime) -> Result<(), Fault> {
    if subkey.signatures.iter().any(|s| s.typ() == Some(SignatureType::SubkeyRevocation)) {
        return Err("the subkey was revoked".to_owned());
    }
    check_key(subkey.key.public_params())?;
    let newest = subkey
        .signatures
        .iter()
        .filter(|s| is_strong(s))
        .filter(|s| s.verify_subkey_binding(&key.primary_key, &subkey.key).is_ok())
        .filter(|s| s.created().is_some_and(|created| SystemTime::from(created) <= now + CLOCK_SKEW))
        .max_by_key(|s| s.created());
    let Some(binding) = newest else { return Err("the subkey is not bound to its key".to_owned()) };
    if !binding.key_flags().sign() {
        return Err("the subkey is not meant for signing".to_owned());
    }
    // Without the way back anybody could claim another's signing key as their subkey.
    let back = binding
        .embedded_signature()
        .filter(|s| is_strong(s))
        .map(|s| s.verify_primary_key_binding(&subkey.key, &key.primary_key));
    if !matches!(back, Some(Ok(()))) {
        return Err("the subkey does not acknowledge its key".to_owned());
    }
    if has_ended(subkey.created_at(), binding.key_expiration_time(), now) {
        return Err("the subkey has expired".to_owned());
    }
    Ok(())
}

#[cfg(test)]
impl Keyring {
    /// Why keys or subkeys that are meant for signing may not; expiry is not a weakness.
    pub fn weaknesses(&self, now: SystemTime) -> Vec<Fault> {
        let of_key = |key: &SignedPublicKey| {
            let subkeys = key.public_subkeys.iter().map(|subkey| subkey_may_sign(key, subkey, now));
            subkeys.chain([primary_may_sign(key, now)]).filter_map(Result::err).collect::<Vec<_>>()
        };
        let faults = self.keys.iter().flat_map(of_key);
        faults.filter(|fault| !fault.contains("expired") && !fault.contains("not meant for signing")).collect()
    }
}

#[cfg(test)]
#[path = "keyring_tests.rs"]
pub(super) mod tests;
