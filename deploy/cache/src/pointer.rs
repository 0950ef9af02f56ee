//! The pointer: which closure a host is to run, as one small signed file of the cache.
//!
//! It lies at `cairn/HOST.json` and is all of the cache that ever changes, so it is written last.
//! It is an envelope of DSSE ("Dead Simple Signing Envelope", v1): the payload is signed together
//! with its type, so that no signature of a store path can pass for one of a pointer, or the other
//! way round. `sequence` rises with every publication; who has seen one never takes an earlier one.
//!
//! Keys that are not known are passed over, for they are signed as well, and it is by pointers that
//! agents are brought up to date; what an agent must not pass over raises `version`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cairn_formats::{Sha256, StorePath};
use cairn_protocol::{Retention, Source};
use serde::{Deserialize, Serialize};

use crate::error::{CacheError, Result, short};
use crate::key::{self, PublicKey, SecretKey};
use crate::seen::{self, Seen};

const TYPE: &str = "application/vnd.cairn.pointer+json";
pub const VERSION: u32 = 1;
/// Secrets included, a pointer has a few hundred bytes for each.
pub const MAX_POINTER: u64 = 256 << 10;
/// Seconds by which a sequence number, which is a time, may be ahead of the reader's clock. Enough for
/// clocks that differ and for a wrong time zone; a stolen key cannot push the number further.
pub const MAX_AHEAD: u64 = 86_400;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pointer {
    pub version: u32,
    /// The definition that the closure is of: a pointer of another host is refused.
    pub host: String,
    /// Higher than that of every pointer of this host before it: the time of publication in seconds
    /// since 1970, or one more than the number before.
    pub sequence: u64,
    pub closure: StorePath,
    /// Who published it, `user@machine`.
    pub operator: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Seconds since 1970.
    pub published: i64,
    /// Seconds since 1970 from which on nobody takes it any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    pub retention: Retention,
    /// Sealed values, each a file of the cache.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<PointedSecret>,
}

/// A secret that is sealed to the key of the hosts that pull.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointedSecret {
    pub name: String,
    pub version: u64,
    /// Of the sealed file, which is named after it.
    pub sha256: Sha256,
    /// The public key it is sealed to.
    pub recipient: String,
}

impl PointedSecret {
    pub fn key(&self) -> String {
        format!("cairn/secrets/{}.age", self.sha256)
    }
}

/// Where the pointer of a host lies.
pub fn key_of(host: &str) -> String {
    format!("cairn/{host}.json")
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload_type: String,
    payload: String,
    signatures: Vec<Signature>,
}

#[derive(Serialize, Deserialize)]
struct Signature {
    keyid: String,
    sig: String,
}

/// A pointer whose signature holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedPointer {
    pub pointer: Pointer,
    /// The trusted keys that have signed it, at least one.
    pub signers: Vec<PublicKey>,
}

/// What DSSE signs: type and payload, each with its length before it.
fn signed_bytes(payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {TYPE} {} ", TYPE.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

impl Pointer {
    /// The file.
    pub fn seal(&self, key: &SecretKey) -> Result<Vec<u8>> {
        let unwritable = |e: serde_json::Error| CacheError::Pointer { url: key_of(&self.host), reason: e.to_string() };
        let payload = serde_json::to_vec(self).map_err(unwritable)?;
        let signature = key.sign(&signed_bytes(&payload));
        let (keyid, sig) = signature.split_once(':').unwrap_or_default();
        let envelope = Envelope {
            payload_type: TYPE.to_owned(),
            payload: STANDARD.encode(&payload),
            signatures: vec![Signature { keyid: keyid.to_owned(), sig: sig.to_owned() }],
        };
        let mut file = serde_json::to_vec_pretty(&envelope).map_err(unwritable)?;
        file.push(b'\n');
        Ok(file)
    }

    /// Reads a pointer of `host` that a trusted key has signed. Its payload is not looked at before.
    pub fn open(file: &[u8], host: &str, trusted: &[PublicKey], url: &str) -> Result<OpenedPointer> {
        let fail = |reason: String| CacheError::Pointer { url: url.to_owned(), reason: short(&reason, 300) };
        let envelope: Envelope =
            serde_json::from_slice(file).map_err(|e| fail(format!("it is not a signed pointer: {e}")))?;
        if envelope.payload_type != TYPE {
            return Err(fail(format!("it holds `{}`, and no pointer", envelope.payload_type)));
        }
        let payload =
            STANDARD.decode(&envelope.payload).map_err(|e| fail(format!("it is not a signed pointer: {e}")))?;
        let signatures: Vec<String> =
            envelope.signatures.iter().map(|signature| format!("{}:{}", signature.keyid, signature.sig)).collect();
        let signers = key::signed_by(trusted, &signed_bytes(&payload), &signatures);
        if signers.is_empty() {
            return Err(CacheError::Untrusted {
                url: url.to_owned(),
                trusted: key::names(trusted),
                signed: key::signers(&signatures),
            });
        }
        let version = serde_json::from_slice::<Versioned>(&payload).map_err(|e| fail(e.to_string()))?.version;
        if version != VERSION {
            return Err(CacheError::PointerVersion { url: url.to_owned(), version, known: VERSION });
        }
        let pointer: Self = serde_json::from_slice(&payload).map_err(|e| fail(e.to_string()))?;
        if pointer.host != host {
            return Err(fail(format!("it is of the host `{}`, and that of `{host}` was asked for", pointer.host)));
        }
        Ok(OpenedPointer { pointer, signers })
    }

    /// Refuses a sequence number that is more than [`MAX_AHEAD`] after `now`. Without this bound one
    /// pointer with the highest number, signed with a stolen key, would be the last that hosts take.
    pub fn check_ahead(&self, now: i64, url: &str) -> Result<()> {
        if seen::is_ahead(self.sequence, now) {
            return Err(CacheError::Ahead { url: url.to_owned(), sequence: self.sequence, now });
        }
        Ok(())
    }

    /// Refuses what is earlier than what was seen, other than what was seen under this number, ahead
    /// of the clock, or past its time.
    pub fn check_fresh(&self, seen: Option<&Seen>, now: i64, url: &str) -> Result<()> {
        let fail = |reason: String| Err(CacheError::Pointer { url: url.to_owned(), reason });
        // What was accepted once stays accepted when a host boots without the right time.
        if seen.is_none_or(|seen| seen.sequence < self.sequence) {
            self.check_ahead(now, url)?;
        }
        match seen.map(|seen| (seen.sequence, &seen.closure)) {
            Some((sequence, _)) if self.sequence < sequence => fail(format!(
                "its sequence number is {}, and {sequence} was seen here: an earlier pointer was put back. \
                 To go back, publish the earlier revision anew",
                self.sequence
            )),
            Some((sequence, closure)) if self.sequence == sequence && self.closure != *closure => fail(format!(
                "two pointers have the sequence number {sequence}: somebody else published at the same time; \
                 publish again"
            )),
            _ => match self.expires {
                Some(expires) if expires <= now => fail(format!(
                    "it has expired {} minutes ago: publish again (or is this host's clock wrong?)",
                    now.saturating_sub(expires) / 60
                )),
                _ => Ok(()),
            },
        }
    }
}

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn closure(first: char) -> StorePath {
        StorePath::parse(&format!("{first}mdqa9w1p6cmli6976v4wi0sw9r4p5pr-host")).unwrap()
    }

    fn pointer() -> Pointer {
        Pointer {
            version: VERSION,
            host: "web".to_owned(),
            sequence: 7,
            closure: closure('0'),
            operator: "a@desk".to_owned(),
            message: None,
            published: 100,
            expires: Some(200),
            source: None,
            retention: Retention::DEFAULT,
            secrets: Vec::new(),
        }
    }

    #[test]
    fn only_what_a_trusted_key_signed_for_this_host_is_read() {
        let (key, _) = SecretKey::generate("one").unwrap();
        let (other, _) = SecretKey::generate("two").unwrap();
        let trusted = [key.public()];
        let file = pointer().seal(&key).unwrap();
        let opened = OpenedPointer { pointer: pointer(), signers: trusted.to_vec() };
        assert_eq!(Pointer::open(&file, "web", &trusted, "u").unwrap(), opened);
        // The key that signed is told from those that are trusted beside it.
        assert_eq!(Pointer::open(&file, "web", &[other.public(), key.public()], "u").unwrap(), opened);

        let said = |file: &[u8], host: &str| Pointer::open(file, host, &trusted, "u").unwrap_err().to_string();
        assert!(said(&file, "db").contains("of the host `web`"));
        assert!(said(&pointer().seal(&other).unwrap(), "web").contains("but by two"));
        let text = String::from_utf8(file.clone()).unwrap();
        let payload = serde_json::to_vec(&Pointer { sequence: 8, ..pointer() }).unwrap();
        let mut forged: serde_json::Value = serde_json::from_str(&text).unwrap();
        forged["payload"] = STANDARD.encode(payload).into();
        assert!(said(forged.to_string().as_bytes(), "web").contains("none of the trusted keys"));
        assert!(said(text.replace("pointer+json", "other+json").as_bytes(), "web").contains("no pointer"));
        assert!(said(b"{}", "web").contains("not a signed pointer"));
        assert!(said(&file[..file.len() / 2], "web").contains("not a signed pointer"));
        let newer = Pointer { version: 2, ..pointer() }.seal(&key).unwrap();
        assert!(said(&newer, "web").contains("version 2"));
        // What is not ours is not repeated at length.
        let long = serde_json::json!({"payloadType": "x".repeat(9000), "payload": "", "signatures": []}).to_string();
        assert!(said(long.as_bytes(), "web").len() < 400);
        let names: Vec<_> = (0..900).map(|n| serde_json::json!({"keyid": format!("key-{n}"), "sig": ""})).collect();
        let long = serde_json::json!({"payloadType": TYPE, "payload": "", "signatures": names}).to_string();
        assert!(said(long.as_bytes(), "web").contains("but by key-0, key-1, key-2, key-3, key-4 and 895 more"));
        // A signature over a store path by the same key is none over a pointer.
        let payload = serde_json::to_vec(&pointer()).unwrap();
        assert!(!trusted[0].verifies(&signed_bytes(&payload), &key.sign(&payload)));
    }

    #[test]
    fn an_earlier_another_or_an_expired_pointer_is_refused() {
        let (same, another) = (closure('0'), closure('1'));
        for (seen, now, said) in [
            (None, 150, ""),
            (Some((6, &another)), 150, ""),
            (Some((7, &same)), 150, ""),
            (Some((7, &another)), 150, "two pointers"),
            (Some((8, &same)), 150, "an earlier pointer"),
            (None, 200, "expired"),
            (None, i64::MIN, "a day after this computer's clock"),
            (Some((6, &same)), 7 - 86_401, "a day after this computer's clock"),
            // The one that it has accepted, with a clock that was lost.
            (Some((7, &same)), 7 - 86_401, ""),
        ] {
            let seen = seen.map(|(sequence, closure)| Seen { sequence, closure: closure.clone() });
            match pointer().check_fresh(seen.as_ref(), now, "u") {
                Ok(()) => assert_eq!(said, "", "{seen:?}"),
                Err(error) => assert!(!said.is_empty() && error.to_string().contains(said), "{seen:?}: {error}"),
            }
        }
        assert!(Pointer { expires: None, ..pointer() }.check_fresh(None, i64::MAX, "u").is_ok());
        // A time that no calendar has is an error like any other, and not an overflow.
        let error = Pointer { expires: Some(i64::MIN), ..pointer() }.check_fresh(None, 100, "u").unwrap_err();
        assert!(error.to_string().contains("expired"), "{error}");
    }

    #[test]
    fn a_sequence_number_is_at_most_a_day_ahead_of_the_clock() {
        let now = 1_795_000_000;
        let at = |sequence: u64| Pointer { sequence, expires: None, ..pointer() }.check_fresh(None, now, "u");
        let bound = now.unsigned_abs() + MAX_AHEAD;
        assert!(at(bound).is_ok());
        for (sequence, shown) in [(bound + 1, "2026-11-19T11:06:41Z"), (u64::MAX, "18446744073709551615")] {
            let error = at(sequence).unwrap_err().to_string();
            for part in [shown, "2026-11-18T11:06:40Z", "timedatectl", "--replace"] {
                assert!(error.contains(part), "{part} is not in {error}");
            }
        }
    }
}
