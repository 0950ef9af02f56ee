//! A secret value in memory.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretBox};

/// Longest value, in bytes: what systemd takes as one credential.
pub const MAX_VALUE: usize = 1024 * 1024;

/// Bytes that must not be shown. They are wiped when dropped, and `Debug` hides them; there is no
/// `Display`, no `Clone` and no serialisation, so a value leaves only through [`Self::expose`].
pub struct SecretBytes(SecretBox<Vec<u8>>);

impl SecretBytes {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(SecretBox::new(Box::new(bytes)))
    }

    /// The value itself.
    pub fn expose(&self) -> &[u8] {
        self.0.expose_secret()
    }

    pub fn len(&self) -> usize {
        self.expose().len()
    }

    pub fn is_empty(&self) -> bool {
        self.expose().is_empty()
    }

    /// Without the one line feed that `echo` and editors put at the end.
    #[must_use]
    pub fn without_final_newline(self) -> Self {
        match self.expose().strip_suffix(b"\n") {
            Some(rest) => Self::new(rest.to_vec()),
            None => self,
        }
    }
}

impl From<Vec<u8>> for SecretBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes)
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::SecretBytes;

    #[test]
    fn one_final_newline_goes_and_no_more() {
        for (from, to) in [("a\n", "a"), ("a", "a"), ("a\n\n", "a\n"), ("\n", ""), ("", "")] {
            assert_eq!(SecretBytes::new(from.into()).without_final_newline().expose(), to.as_bytes(), "{from:?}");
        }
    }

    #[test]
    fn debug_shows_neither_value_nor_length() {
        let shown = format!("{:?} {:#?}", SecretBytes::new(b"hunter2".to_vec()), Some(SecretBytes::new(vec![7; 9])));
        assert!(!shown.contains("hunter2") && !shown.contains('7') && !shown.contains('9'), "{shown}");
    }
}
