//! Which keys and hash functions are strong enough to count.
//!
//! As strict as apt's own verifier on current Debian: no SHA-1 and no MD5 anywhere, as chosen-prefix
//! collisions let an attacker move such a signature to another key or text; RSA of at least 2048
//! bits; no DSA. All keys in Debian's keyring (since bullseye) are RSA 4096 or Ed25519 with SHA-2.

use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::Signature;
use pgp::ser::Serialize as _;
use pgp::types::PublicParams;

const MIN_RSA_BITS: u16 = 2048;
const STRONG: [HashAlgorithm; 3] = [HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512];

/// Whether a signature, over a text or a key, was made with a hash function that is trusted.
pub fn is_strong(signature: &Signature) -> bool {
    signature.hash_alg().is_some_and(|hash| STRONG.contains(&hash))
}

/// Refuses keys that can be broken, with the reason.
pub fn check_key(key: &PublicParams) -> Result<(), String> {
    match key {
        PublicParams::RSA(rsa) => match rsa_bits(rsa) {
            Some(bits) if bits >= MIN_RSA_BITS => Ok(()),
            Some(bits) => Err(format!("its RSA key has {bits} bits, fewer than {MIN_RSA_BITS}")),
            None => Err("its RSA key cannot be measured".to_owned()),
        },
        PublicParams::ECDSA(_) | PublicParams::EdDSALegacy(_) | PublicParams::Ed25519(_) | PublicParams::Ed448(_) => {
            Ok(())
        }
        PublicParams::DSA(_) => Err("it is a DSA key, a kind that is not trusted any more".to_owned()),
        _ => Err("its key is of a kind that does not sign".to_owned()),
    }
}

/// OpenPGP writes a number as its length in bits and its bytes; the modulus comes first.
fn rsa_bits(key: &pgp::types::RsaPublicParams) -> Option<u16> {
    let bytes = key.to_bytes().ok()?;
    Some(u16::from_be_bytes([*bytes.first()?, *bytes.get(1)?]))
}
