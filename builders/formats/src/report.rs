//! What errors about text files need: where it is, and what was probably meant.
//!
//! ```
//! use cairn_formats::report::{Position, nearest};
//!
//! assert_eq!(Position::of("a = 1\nb = x\n", 10).to_string(), "2:5");
//! assert_eq!(nearest("replicsa", ["replicas", "limits"]), Some("replicas"));
//! ```

use std::fmt;

/// A place in a text, as editors count: lines and characters from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

impl Position {
    /// The position of the byte at `offset`; past the end it is that of the end.
    pub fn of(text: &str, offset: usize) -> Self {
        let before = &text.as_bytes()[..offset.min(text.len())];
        let line = before.iter().filter(|b| **b == b'\n').count() + 1;
        // Bytes 10xxxxxx continue a character of UTF-8.
        let starts = |b: &&u8| **b & 0b1100_0000 != 0b1000_0000;
        let column = before.iter().rev().take_while(|b| **b != b'\n').filter(starts).count() + 1;
        Self { line, column }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// The candidate closest to `name`, upper and lower case being the same, when it is close enough to
/// have been meant.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    candidates
        .into_iter()
        .map(|c| (strsim::damerau_levenshtein(&name, &c.to_lowercase()), c))
        .filter(|(distance, c)| *distance <= 2.max(c.len() / 3))
        .min()
        .map(|(_, c)| c)
}

/// The key or word that was probably meant, from serde's own message: unknown field `x`, expected
/// one of `a`, `b`.
pub fn meant(message: &str) -> Option<&str> {
    if !message.starts_with("unknown field") && !message.starts_with("unknown variant") {
        return None;
    }
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = quoted.next()?;
    nearest(unknown, quoted)
}

/// The key that a path of `serde_path_to_error` names; nothing for the document as a whole.
///
/// Between a key and a `toml::Spanned` value stands a segment that is serde_spanned's own affair.
pub fn key(path: &str) -> Option<String> {
    let key = path.replace(".$__serde_spanned_private_value", "");
    (key != ".").then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        for (text, offset, wanted) in
            [("", 0, "1:1"), ("ab", 1, "1:2"), ("a\nb", 2, "2:1"), ("é = 1", 5, "1:5"), ("a\n", 99, "2:1")]
        {
            assert_eq!(Position::of(text, offset).to_string(), wanted, "{text:?} at {offset}");
        }
    }

    #[test]
    fn the_nearest_is_near_or_nothing() {
        for (name, wanted) in
            [("log_levle", Some("LOG_LEVEL")), ("LOG_LEVEL", Some("LOG_LEVEL")), ("PORT", None), ("", None)]
        {
            assert_eq!(nearest(name, ["LOG_LEVEL", "WORKERS"]), wanted, "{name}");
        }
    }

    #[test]
    fn serde_s_unknown_words_are_read() {
        assert_eq!(meant("unknown field `defualt`, expected one of `default`, `help`"), Some("default"));
        assert_eq!(meant("unknown variant `bool`, expected `boolean` or `url`"), None);
        assert_eq!(meant("unknown variant `interger`, expected `integer` or `url`"), Some("integer"));
        assert_eq!(meant("missing field `help`"), None);
    }

    #[test]
    fn keys_are_as_the_file_has_them() {
        assert_eq!(key("services.api.replicas").as_deref(), Some("services.api.replicas"));
        assert_eq!(key("V.$__serde_spanned_private_value.type").as_deref(), Some("V.type"));
        assert_eq!(key("."), None);
    }
}
