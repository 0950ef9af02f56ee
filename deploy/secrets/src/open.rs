//! The host's side: a file and the host's own SSH key give the value.

use std::io::Read as _;

use age::armor::ArmoredReader;
use age::{DecryptError, Decryptor, Identity};
use zeroize::Zeroizing;

use crate::header::Header;
use crate::value::{MAX_VALUE, SecretBytes};

/// Longest file that is looked at: the longest value, armoured, with a generous header.
pub const MAX_FILE: usize = 2 * MAX_VALUE;

/// Why a file does not give its value. None of them holds a part of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error("it is not encrypted to any key that is here")]
    NotARecipient,
    #[error("it is no age file, or it was changed or cut off")]
    Damaged,
    #[error("it is longer than any secret (1 MiB)")]
    TooLong,
    #[error("the host's key cannot be used: {reason}")]
    HostKey { reason: &'static str },
    #[error("it holds another secret, `{holds}`")]
    OtherSecret { holds: String },
}

/// As [`open`], of a file that must hold the secret of this name if it says which one it holds.
pub fn open_secret(name: &str, ciphertext: &[u8], host_key_pem: &[u8]) -> Result<SecretBytes, OpenError> {
    // Decrypting it proves that the header is the one that was written.
    match Header::read(ciphertext).and_then(|header| header.label) {
        Some(label) if label.name != name => Err(OpenError::OtherSecret { holds: label.name }),
        _ => open(ciphertext, host_key_pem),
    }
}

/// Decrypts a file (armoured or not) with the content of an OpenSSH ed25519 private key file, such
/// as `/etc/ssh/ssh_host_ed25519_key`.
pub fn open(ciphertext: &[u8], host_key_pem: &[u8]) -> Result<SecretBytes, OpenError> {
    let key = age::ssh::Identity::from_buffer(host_key_pem, None)
        .map_err(|_| OpenError::HostKey { reason: "it is no private key in OpenSSH's format" })?;
    if !matches!(key, age::ssh::Identity::Unencrypted(_)) {
        return Err(OpenError::HostKey { reason: "it is protected by a passphrase" });
    }
    if !matches!(age::ssh::Recipient::try_from(key.clone()), Ok(age::ssh::Recipient::SshEd25519(..))) {
        return Err(OpenError::HostKey { reason: "it is not an ed25519 key" });
    }
    decrypt(ciphertext, std::iter::once(&key as &dyn Identity))
}

pub(crate) fn decrypt<'a>(
    ciphertext: &[u8],
    identities: impl Iterator<Item = &'a dyn Identity>,
) -> Result<SecretBytes, OpenError> {
    if ciphertext.len() > MAX_FILE {
        return Err(OpenError::TooLong);
    }
    let decryptor = Decryptor::new(ArmoredReader::new(ciphertext)).map_err(why)?;
    let mut plain = decryptor.decrypt(identities).map_err(why)?;
    // A value is shorter than its file, so this never grows and no copy stays behind in memory.
    let mut value = Zeroizing::new(Vec::with_capacity(ciphertext.len()));
    plain.read_to_end(&mut value).map_err(|_| OpenError::Damaged)?;
    Ok(SecretBytes::new(std::mem::take(&mut *value)))
}

fn why(error: DecryptError) -> OpenError {
    match error {
        DecryptError::NoMatchingKeys => OpenError::NotARecipient,
        _ => OpenError::Damaged,
    }
}
