#![allow(clippy::unwrap_used)]
use pgp::composed::{
    ArmorOptions, CleartextSignedMessage, EncryptionCaps, KeyType, SecretKeyParamsBuilder, SignedSecretKey,
    SubkeyParamsBuilder,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{SignatureConfig, Subpacket, SubpacketData};
use pgp::ser::Serialize as _;
use pgp::types::{Password, SigningKey};
use rand::thread_rng;

use super::*;

pub fn key(can_sign: bool) -> SignedSecretKey {
    let subkey = SubkeyParamsBuilder::default()
        .key_type(KeyType::Ed25519Legacy)
        .can_sign(true)
        .can_encrypt(EncryptionCaps::None)
        .build()
        .unwrap();
    SecretKeyParamsBuilder::default()
        .key_type(KeyType::Ed25519Legacy)
        .can_certify(true)
        .can_sign(can_sign)
        .primary_user_id("Archive <archive@mirror.example>".into())
        .subkeys(vec![subkey])
        .build()
        .unwrap()
        .generate(thread_rng())
        .unwrap()
}

fn keyring(keys: &[&SignedSecretKey]) -> Keyring {
    Keyring::parse(&public(keys)).unwrap()
}

pub fn public(keys: &[&SignedSecretKey]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for key in keys {
        SignedPublicKey::from((*key).clone()).to_writer(&mut bytes).unwrap();
    }
    bytes
}

const TEXT: &str = "Suite: stable\n-----dashes\nDate: x\n";

pub fn sign(text: &str, key: &impl SigningKey) -> String {
    let message = CleartextSignedMessage::sign(thread_rng(), text, key, &Password::empty()).unwrap();
    message.to_armored_string(ArmorOptions::default()).unwrap()
}

fn sign_with(key: &impl SigningKey, change: impl FnOnce(&mut SignatureConfig)) -> String {
    let mut config = SignatureConfig::from_key(thread_rng(), key, SignatureType::Text).unwrap();
    config.hashed_subpackets = vec![
        Subpacket::regular(SubpacketData::SignatureCreationTime(Timestamp::now())).unwrap(),
        Subpacket::regular(SubpacketData::IssuerFingerprint(key.fingerprint())).unwrap(),
    ];
    change(&mut config);
    let message = CleartextSignedMessage::new(TEXT, config, key, &Password::empty()).unwrap();
    message.to_armored_string(ArmorOptions::default()).unwrap()
}

fn verify(keyring: &Keyring, signed: &str) -> Result<Vec<String>, String> {
    verify_at(keyring, signed, SystemTime::now())
}

fn verify_at(keyring: &Keyring, signed: &str, now: SystemTime) -> Result<Vec<String>, String> {
    keyring.verify(&ClearSigned::parse(signed).unwrap(), now).map_err(|faults| faults.join("; "))
}

#[test]
fn primary_keys_and_subkeys_sign() {
    let owner = key(true);
    let keyring = keyring(&[&key(true), &owner]);
    assert_eq!(verify(&keyring, &sign(TEXT, &owner.primary_key)), Ok(vec![format!("{:X}", owner.fingerprint())]));
    let subkey = &owner.secret_subkeys[0].key;
    assert_eq!(verify(&keyring, &sign(TEXT, subkey)), Ok(vec![format!("{:X}", subkey.fingerprint())]));
    assert_eq!(ClearSigned::parse(&sign(TEXT, subkey)).unwrap().text, TEXT);
}

#[test]
fn an_armoured_keyring_is_read_too() {
    let owner = key(true);
    let armoured = SignedPublicKey::from(owner.clone()).to_armored_bytes(ArmorOptions::default()).unwrap();
    assert!(verify(&Keyring::parse(&armoured).unwrap(), &sign(TEXT, &owner.primary_key)).is_ok());
    for bytes in [b"".as_slice(), b"nonsense", &[0xff; 100], &public(&[&owner])[..20]] {
        assert!(Keyring::parse(bytes).is_err());
    }
}

#[test]
fn one_known_key_among_many_is_enough() {
    let (known, stranger) = (key(true), key(true));
    let merged = CleartextSignedMessage::new_many(TEXT, |text| {
        let sign = |key: &SignedSecretKey| {
            let mut config = SignatureConfig::from_key(thread_rng(), &key.primary_key, SignatureType::Text)?;
            config.hashed_subpackets = vec![
                Subpacket::regular(SubpacketData::SignatureCreationTime(Timestamp::now()))?,
                Subpacket::regular(SubpacketData::IssuerFingerprint(key.fingerprint()))?,
            ];
            config.sign(&key.primary_key, &Password::empty(), text.as_bytes())
        };
        Ok(vec![sign(&stranger)?, sign(&known)?])
    })
    .unwrap()
    .to_armored_string(ArmorOptions::default())
    .unwrap();
    assert_eq!(verify(&keyring(&[&known]), &merged), Ok(vec![format!("{:X}", known.fingerprint())]));
    let neither = verify(&keyring(&[&key(true)]), &merged).unwrap_err();
    assert_eq!(neither.matches("not in the keyring").count(), 2, "{neither}");
}

#[test]
fn changed_text_is_refused() {
    let owner = key(true);
    let signed = sign(TEXT, &owner.primary_key).replacen("Suite: stable", "Suite: sid", 1);
    assert!(verify(&keyring(&[&owner]), &signed).unwrap_err().contains("does not match the text"));
}

#[test]
fn a_key_that_may_not_sign_does_not_count() {
    let owner = key(false);
    let keyring = keyring(&[&owner]);
    assert!(verify(&keyring, &sign(TEXT, &owner.primary_key)).unwrap_err().contains("not meant for signing"));
    assert!(verify(&keyring, &sign(TEXT, &owner.secret_subkeys[0].key)).is_ok());
}

#[test]
fn a_subkey_claimed_by_another_key_does_not_count() {
    let (owner, thief) = (key(true), key(true));
    let mut claimed = SignedPublicKey::from(thief);
    claimed.public_subkeys = SignedPublicKey::from(owner.clone()).public_subkeys;
    let keyring = Keyring { keys: vec![claimed] };
    assert!(verify(&keyring, &sign(TEXT, &owner.secret_subkeys[0].key)).unwrap_err().contains("not bound"));
}

#[test]
fn expired_and_revoked_keys_do_not_count() {
    let owner = key(true);
    let signed = sign(TEXT, &owner.primary_key);
    let mut public = SignedPublicKey::from(owner.clone());
    // The newest self-signature says: an hour from creation.
    let mut config = SignatureConfig::from_key(thread_rng(), &owner.primary_key, SignatureType::Key).unwrap();
    let later = Timestamp::from_secs(Timestamp::now().as_secs() + 10);
    config.hashed_subpackets = vec![
        Subpacket::regular(SubpacketData::SignatureCreationTime(later)).unwrap(),
        Subpacket::regular(SubpacketData::IssuerFingerprint(owner.fingerprint())).unwrap(),
        Subpacket::regular(SubpacketData::KeyExpirationTime(pgp::types::Duration::from_secs(3600))).unwrap(),
        Subpacket::regular(SubpacketData::KeyFlags({
            let mut flags = pgp::packet::KeyFlags::default();
            flags.set_sign(true);
            flags
        }))
        .unwrap(),
    ];
    let direct = config.sign_key(&owner.primary_key, &Password::empty(), &public.primary_key).unwrap();
    public.details.direct_signatures.push(direct.clone());
    let hour = Duration::from_secs(3600);
    let keyring = Keyring { keys: vec![public.clone()] };
    assert!(verify(&keyring, &signed).is_ok());
    assert!(verify_at(&keyring, &signed, SystemTime::now() + hour).unwrap_err().contains("key has expired"));

    public.details.revocation_signatures.push(direct);
    let keyring = Keyring { keys: vec![public] };
    assert!(verify(&keyring, &signed).unwrap_err().contains("revoked"));
}

#[test]
fn weak_expired_and_future_signatures_do_not_count() {
    let owner = key(true);
    let keyring = keyring(&[&owner]);
    let signed = sign(TEXT, &owner.primary_key);
    let (good, _) =
        DetachedSignature::from_armor_single(ClearSigned::parse(&signed).unwrap().signatures.as_bytes()).unwrap();
    let mut config = good.signature.config().unwrap().clone();
    config.hash_alg = HashAlgorithm::Sha1;
    let bytes = good.signature.signature().unwrap().clone();
    let weak = Signature::from_config(config, good.signature.signed_hash_value().unwrap(), bytes).unwrap();
    let verdict = keyring.check(&weak, TEXT.replace('\n', "\r\n").as_bytes(), SystemTime::now());
    assert!(verdict.unwrap_err().contains("hash function"));

    let expiry = SubpacketData::SignatureExpirationTime(pgp::types::Duration::from_secs(60));
    let short =
        sign_with(&owner.primary_key, |config| config.hashed_subpackets.push(Subpacket::regular(expiry).unwrap()));
    assert!(verify(&keyring, &short).is_ok());
    let later = SystemTime::now() + Duration::from_secs(61);
    assert!(verify_at(&keyring, &short, later).unwrap_err().contains("it has expired"));

    let earlier = SystemTime::now() - Duration::from_secs(3 * 24 * 3600);
    assert!(verify_at(&keyring, &short, earlier).unwrap_err().contains("in the future"));
}

#[test]
fn a_binary_signature_does_not_count() {
    let owner = key(true);
    let binary = sign_with(&owner.primary_key, |config| config.typ = SignatureType::Binary);
    assert!(verify(&keyring(&[&owner]), &binary).unwrap_err().contains("not a signature over text"));
}
