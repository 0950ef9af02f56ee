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

use crate::error::{CacheError, Result};
use crate::key::{self, PublicKey, SecretKey};

const TYPE: &str = "application/vnd.cairn.pointer+json";
pub const VERSION: u32 = 1;
/// Secrets included, a pointer has a few hundred bytes for each.
pub const MAX_POINTER: u64 = 256 << 10;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pointer {
    pub version: u32,
    /// The definition that the closure is of: a pointer of another host is refused.
    pub host: String,
    /// Higher than that of every pointer of this host before it.
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
    pub fn open(file: &[u8], host: &str, trusted: &[PublicKey], url: &str) -> Result<Self> {
        let fail = |reason: String| CacheError::Pointer { url: url.to_owned(), reason };
        let envelope: Envelope =
            serde_json::from_slice(file).map_err(|e| fail(format!("it is no signed pointer: {e}")))?;
        if envelope.payload_type != TYPE {
            return Err(fail(format!("it holds `{}`, and no pointer", envelope.payload_type)));
        }
        let payload = STANDARD.decode(&envelope.payload).map_err(|e| fail(format!("it is no signed pointer: {e}")))?;
        let signatures: Vec<String> =
            envelope.signatures.iter().map(|signature| format!("{}:{}", signature.keyid, signature.sig)).collect();
        if !key::is_trusted(trusted, &signed_bytes(&payload), &signatures) {
            return Err(CacheError::Untrusted {
                url: url.to_owned(),
                trusted: key::names(trusted),
                signed: key::signers(&signatures),
            });
        }
        let version = serde_json::from_slice::<Versioned>(&payload).map_err(|e| fail(e.to_string()))?.version;
        if version != VERSION {
            return Err(fail(format!(
                "it has version {version}, and this program reads {VERSION}: install a newer one"
            )));
        }
        let pointer: Self = serde_json::from_slice(&payload).map_err(|e| fail(e.to_string()))?;
        if pointer.host != host {
            return Err(fail(format!("it is of the host `{}`, and that of `{host}` was asked for", pointer.host)));
        }
        Ok(pointer)
    }

    /// Refuses what is earlier than what was seen, other than what was seen under this number, or
    /// past its time.
    pub fn check_fresh(&self, seen: Option<(u64, &StorePath)>, now: i64, url: &str) -> Result<()> {
        let fail = |reason: String| Err(CacheError::Pointer { url: url.to_owned(), reason });
        match seen {
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
        assert_eq!(Pointer::open(&file, "web", &trusted, "u").unwrap(), pointer());

        let said = |file: &[u8], host: &str| Pointer::open(file, host, &trusted, "u").unwrap_err().to_string();
        assert!(said(&file, "db").contains("of the host `web`"));
        assert!(said(&pointer().seal(&other).unwrap(), "web").contains("but by two"));
        let text = String::from_utf8(file.clone()).unwrap();
        let payload = serde_json::to_vec(&Pointer { sequence: 8, ..pointer() }).unwrap();
        let mut forged: serde_json::Value = serde_json::from_str(&text).unwrap();
        forged["payload"] = STANDARD.encode(payload).into();
        assert!(said(forged.to_string().as_bytes(), "web").contains("none of the trusted keys"));
        assert!(said(text.replace("pointer+json", "other+json").as_bytes(), "web").contains("no pointer"));
        assert!(said(b"{}", "web").contains("no signed pointer"));
        assert!(said(&file[..file.len() / 2], "web").contains("no signed pointer"));
        let newer = Pointer { version: 2, ..pointer() }.seal(&key).unwrap();
        assert!(said(&newer, "web").contains("version 2"));
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
        ] {
            match pointer().check_fresh(seen, now, "u") {
                Ok(()) => assert_eq!(said, "", "{seen:?}"),
                Err(error) => assert!(!said.is_empty() && error.to_string().contains(said), "{seen:?}: {error}"),
            }
        }
        assert!(Pointer { expires: None, ..pointer() }.check_fresh(None, i64::MAX, "u").is_ok());
    }
}
