//! Values that nobody types.

use std::fmt;

use base64::Engine as _;
use rand::RngCore as _;
use rand::distributions::{Alphanumeric, Distribution as _};
use rand::rngs::OsRng;
use zeroize::Zeroizing;

use crate::value::SecretBytes;

/// How a value is made, from the kernel's random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generator {
    /// `password:N`: N letters and digits, 5.95 bits each. Safe in URLs, shells and quotes.
    Password(usize),
    /// `hex:N`: N random bytes as 2 N hexadecimal digits.
    Hex(usize),
    /// `base64:N`: N random bytes in base64 with padding.
    Base64(usize),
}

/// Fewer can be guessed; more serves nothing.
const LENGTHS: std::ops::RangeInclusive<usize> = 16..=1024;

impl Generator {
    /// The reason, when it is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (kind, length) = text.split_once(':').unwrap_or((text, ""));
        let make = match kind {
            "password" => Self::Password,
            "hex" => Self::Hex,
            "base64" => Self::Base64,
            _ => return Err(format!("`{text}` is no way to make a value: write password:N, hex:N or base64:N")),
        };
        match length.parse() {
            Ok(length) if LENGTHS.contains(&length) => Ok(make(length)),
            _ => Err(format!("`{text}`: the number after `{kind}:` must be from 16 to 1024")),
        }
    }

    pub fn generate(self) -> SecretBytes {
        SecretBytes::new(match self {
            Self::Password(length) => {
                let mut text = Vec::with_capacity(length);
                text.extend((0..length).map(|_| Alphanumeric.sample(&mut OsRng)));
                text
            }
            Self::Hex(length) => hex::encode(&*random(length)).into_bytes(),
            Self::Base64(length) => base64::engine::general_purpose::STANDARD.encode(&*random(length)).into_bytes(),
        })
    }
}

fn random(length: usize) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(vec![0; length]);
    OsRng.fill_bytes(&mut bytes);
    bytes
}

impl fmt::Display for Generator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password(length) => write!(f, "password:{length}"),
            Self::Hex(length) => write!(f, "hex:{length}"),
            Self::Base64(length) => write!(f, "base64:{length}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_read_back_as_they_are_written() {
        for text in ["password:32", "hex:16", "base64:1024"] {
            assert_eq!(Generator::parse(text).expect(text).to_string(), text);
        }
        for bad in ["", "password", "password:", "password:15", "hex:1025", "hex:-1", "uuid:16", "password:3 2"] {
            let error = Generator::parse(bad).expect_err(bad);
            assert!(error.contains(bad), "{error}");
        }
    }

    #[test]
    fn values_have_the_promised_form_and_differ() {
        let made = |text: &str| Generator::parse(text).expect(text).generate();
        let password = made("password:40");
        assert_eq!(password.len(), 40);
        assert!(password.expose().iter().all(u8::is_ascii_alphanumeric));
        let hex = made("hex:20");
        assert_eq!(hex::decode(hex.expose()).expect("hexadecimal").len(), 20);
        let base64 = base64::engine::general_purpose::STANDARD.decode(made("base64:33").expose());
        assert_eq!(base64.expect("base64").len(), 33);
        assert_ne!(made("password:16").expose(), made("password:16").expose());
    }

    /// Every letter and digit comes up: 64 KiB of characters lack one with a chance below 1e-400.
    #[test]
    fn all_characters_are_used() {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..64 {
            seen.extend(Generator::Password(1024).generate().expose().iter().copied());
        }
        assert_eq!(seen.len(), 62);
    }
}
