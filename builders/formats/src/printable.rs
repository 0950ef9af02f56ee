//! Makes text that a program of ours did not write safe to show: on a terminal, in a log, in a message.
//!
//! A terminal obeys what it is sent. A host, a service, a mirror, a build step or a definition could
//! clear the screen before a question, set the title or the clipboard, or print `healthy` over the
//! word that stands there. So every character that a reader cannot see, or that moves what stands
//! around it, is replaced by its escape, `\u{1b}` for ESC:
//!
//! | characters | why | source |
//! |---|---|---|
//! | U+0000–001F but tab, and newline in [`text`] | control functions; ESC begins CSI and OSC sequences | ECMA-48 §5.2 (C0), §5.3 |
//! | U+007F | delete | ECMA-48 §8, ISO/IEC 6429 |
//! | U+0080–009F | the same control functions in one character: U+009B is CSI | ECMA-48 §5.3 (C1) |
//! | U+2028, U+2029 | line and paragraph separator: a second line where one is meant | Unicode §23.2 |
//! | U+061C, 200E–200F, 202A–202E, 2066–2069 | reorder the text around them ("Trojan Source", CVE-2021-42574) | UAX #9 §2, UTR #36 §2.5 |
//! | all others of `Default_Ignorable_Code_Point` | draw nothing, so that two names look the same, or a text hides another one | Unicode 16, DerivedCoreProperties.txt; UTR #36 §2.9 |
//! | U+FFF9–FFFB | interlinear annotation: hides a part of the text | Unicode §23.8 |
//!
//! Joiners (U+200C, U+200D) and variation selectors (U+FE0F) are among the ignorable characters
//! though emoji and some scripts use them. They are escaped as well: names and log lines are evidence
//! here, and an emoji that falls into its parts does not mislead, while an invisible difference does.
//!
//! The result is for people. It is not reversible: a text that holds the six characters `\u{1b}` looks
//! as one that held ESC. Programs read [`json`], which loses nothing.
//!
//! ```
//! use cairn_formats::printable;
//!
//! assert_eq!(printable::text("one\ttwo\nthree"), "one\ttwo\nthree");
//! assert_eq!(printable::text("\u{1b}[2Jhealthy"), "\\u{1b}[2Jhealthy");
//! assert_eq!(printable::line("a\nb"), "a\\nb");
//! assert_eq!(printable::bytes(b"\x9b2J"), "\\x9b2J");
//! assert_eq!(printable::json("\"\u{9b}\""), "\"\\u009b\"");
//! ```

use std::borrow::Cow;
use std::fmt::Write as _;

/// Text of several lines: newlines and tabs stay.
pub fn text(text: &str) -> Cow<'_, str> {
    replaced(text, |c| is_harmful(c) && c != '\n', escape)
}

/// Text that must stay one line, such as a cell of a table or a line of a log: newlines are escaped.
pub fn line(text: &str) -> Cow<'_, str> {
    replaced(text, is_harmful, escape)
}

/// As [`text`], of bytes that should be UTF-8. Each byte that is not part of UTF-8 becomes `\x9b`: a
/// terminal that is not in UTF-8 mode takes bytes from 0x80 to 0x9f for C1 controls.
pub fn bytes(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        shown.push_str(&text(chunk.valid()));
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
    shown
}

/// A JSON document with the same value and without such characters. A serialiser escapes C0 controls
/// itself; whatever else is harmful can only stand in a string, where `\uXXXX` means the same (RFC 8259
/// §7; characters beyond U+FFFF are two surrogates).
pub fn json(document: &str) -> Cow<'_, str> {
    // Newlines and tabs stand between the values of a document that is written over several lines.
    replaced(
        document,
        |c| is_harmful(c) && c != '\n',
        |c, into| {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(into, "\\u{unit:04x}");
            }
        },
    )
}

/// Whether the character is escaped in a line. A tab is not.
pub const fn is_harmful(c: char) -> bool {
    matches!(c,
        '\0'..='\x08' | '\n'..='\x1f' | '\x7f'..='\u{9f}'
        | '\u{2028}' | '\u{2029}'
        // Bidirectional controls.
        | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        // Default_Ignorable_Code_Point.
        | '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
        // Interlinear annotation.
        | '\u{fff9}'..='\u{fffb}')
}

/// `\n` and `\r` as such, all others as `\u{1b}`.
fn escape(c: char, into: &mut String) {
    into.extend(c.escape_default());
}

fn replaced(text: &str, harmful: impl Fn(char) -> bool, escape: impl Fn(char, &mut String)) -> Cow<'_, str> {
    let Some(first) = text.find(&harmful) else { return Cow::Borrowed(text) };
    let mut shown = String::with_capacity(text.len() + 16);
    shown.push_str(&text[..first]);
    for c in text[first..].chars() {
        if harmful(c) { escape(c, &mut shown) } else { shown.push(c) }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Every character that must not reach a terminal, by the property it has.
    fn harmful() -> HashSet<char> {
        let ranges: [(u32, u32); 24] = [
            // C0 but tab and newline, delete, C1.
            (0x00, 0x08),
            (0x0b, 0x1f),
            (0x7f, 0x9f),
            // Separators, bidirectional controls.
            (0x2028, 0x2029),
            (0x61c, 0x61c),
            (0x200b, 0x200f),
            (0x202a, 0x202e),
            (0x2066, 0x2069),
            // The rest of DerivedCoreProperties' Default_Ignorable_Code_Point.
            (0xad, 0xad),
            (0x34f, 0x34f),
            (0x115f, 0x1160),
            (0x17b4, 0x17b5),
            (0x180b, 0x180f),
            (0x2060, 0x2065),
            (0x206a, 0x206f),
            (0x3164, 0x3164),
            (0xfe00, 0xfe0f),
            (0xfeff, 0xfeff),
            (0xffa0, 0xffa0),
            (0xfff0, 0xfff8),
            (0x1bca0, 0x1bca3),
            (0x1d173, 0x1d17a),
            (0xe0000, 0xe0fff),
            // Interlinear annotation.
            (0xfff9, 0xfffb),
        ];
        ranges.into_iter().flat_map(|(from, to)| from..=to).filter_map(char::from_u32).collect()
    }

    #[test]
    fn texts_as_they_are_shown() {
        for (given, wanted) in [
            ("", ""),
            ("plain → text — with ä, 日本語, العربية and 🦀", "plain → text — with ä, 日本語, العربية and 🦀"),
            ("one\ttwo\nthree\n", "one\ttwo\nthree\n"),
            ("a\r\nb", "a\\r\nb"),
            ("503 \x1b[2J\x1b]0;owned\x07", "503 \\u{1b}[2J\\u{1b}]0;owned\\u{7}"),
            ("\x1b]52;c;aGk=\x1b\\", "\\u{1b}]52;c;aGk=\\u{1b}\\"),
            ("\u{9b}2J\u{90}q\u{9c}", "\\u{9b}2J\\u{90}q\\u{9c}"),
            ("over\x08\x08\x08\x08\x7f", "over\\u{8}\\u{8}\\u{8}\\u{8}\\u{7f}"),
            ("user\u{202e}nimda\u{2066}", "user\\u{202e}nimda\\u{2066}"),
            ("web\u{200b}-1", "web\\u{200b}-1"),
            ("a\u{2028}b\u{2029}", "a\\u{2028}b\\u{2029}"),
            ("\u{e0041}", "\\u{e0041}"),
            ("\\u{1b}", "\\u{1b}"),
        ] {
            assert_eq!(text(given), wanted, "{given:?}");
            assert_eq!(line(given), wanted.replace('\n', "\\n"), "{given:?}");
            assert_eq!(bytes(given.as_bytes()), wanted, "{given:?}");
        }
    }

    #[test]
    fn every_harmful_character_is_escaped_and_no_other_one() {
        let harmful = harmful();
        for c in '\0'..=char::MAX {
            let given = c.to_string();
            let expected = if harmful.contains(&c) { c.escape_default().to_string() } else { given.clone() };
            assert_eq!(text(&given), expected, "U+{:04X}", u32::from(c));
        }
    }

    #[test]
    fn harmless_text_is_not_copied() {
        assert!(matches!(text("one\ntwo"), Cow::Borrowed(_)));
        assert!(matches!(line("one"), Cow::Borrowed(_)));
        assert!(matches!(json("{\n\t\"a\": \"ä\"\n}\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_as_numbers() {
        assert_eq!(bytes(b"a\x9b2Jb\xff\xc3"), "a\\x9b2Jb\\xff\\xc3");
        // An overlong form of ESC is no UTF-8 either.
        assert_eq!(bytes(b"\xc0\x9b[2J"), "\\xc0\\x9b[2J");
    }

    #[test]
    fn json_keeps_its_value() {
        for (given, wanted) in [
            ("{\"a\":\"\u{7f}\u{9b}\u{202e}\"}", r#"{"a":"\u007f\u009b\u202e"}"#),
            ("\"\u{e0001}\"", r#""\udb40\udc01""#),
            ("[\n  \"\\u001b\"\n]", "[\n  \"\\u001b\"\n]"),
        ] {
            assert_eq!(json(given), wanted, "{given:?}");
        }
    }
}
