//! The frame of a clear-signed text (RFC 9580, section 7): which lines are signed, and the block
//! of signatures.
//!
//! Stricter than the standard where leniency has been used for attacks: nothing may stand before
//! or after the frame, the only header is `Hash`, and a line that begins with a dash must be
//! escaped. Only the text returned here was signed; callers read nothing else.

const BEGIN_MESSAGE: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
const BEGIN_SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";
const END_SIGNATURE: &str = "-----END PGP SIGNATURE-----";

/// The two parts of a clear-signed text.
#[derive(Debug, PartialEq, Eq)]
pub struct ClearSigned<'a> {
    /// The signed lines, unescaped, without white space at their ends, joined with `\n`.
    pub text: String,
    /// The armoured signatures, with their frame.
    pub signatures: &'a str,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct BadFrame {
    pub line: usize,
    pub problem: &'static str,
}

impl<'a> ClearSigned<'a> {
    pub fn parse(input: &'a str) -> Result<Self, BadFrame> {
        let bad = |line: usize, problem| BadFrame { line: line + 1, problem };
        let mut lines = Lines { input, offset: 0 }.enumerate();
        match lines.next() {
            Some((_, (_, first))) if first == BEGIN_MESSAGE => {}
            _ => return Err(bad(0, "this is not a clear-signed text")),
        }
        loop {
            match lines.next() {
                Some((_, (_, ""))) => break,
                Some((_, (_, header))) if header.starts_with("Hash: ") => {}
                Some((n, _)) => return Err(bad(n, "a header other than `Hash` stands before the text")),
                None => return Err(bad(0, "the text is missing")),
            }
        }
        let mut text = String::with_capacity(input.len());
        let start = loop {
            let Some((n, (offset, line))) = lines.next() else { return Err(bad(0, "the signature is missing")) };
            if line == BEGIN_SIGNATURE {
                break offset;
            }
            // Signers hash a lone carriage return like a line end, readers do not see one there.
            if line.contains('\r') {
                return Err(bad(n, "a carriage return stands within a line"));
            }
            let line = match line.strip_prefix('-') {
                None => line,
                Some(escaped) => {
                    escaped.strip_prefix(' ').ok_or_else(|| bad(n, "a line begins with a dash and is not escaped"))?
                }
            };
            text.push_str(line);
            text.push('\n');
        };
        // The line end before the signature belongs to the frame.
        text.pop();
        let end = loop {
            match lines.next() {
                Some((_, (offset, END_SIGNATURE))) => break offset + END_SIGNATURE.len(),
                Some((n, (_, line))) if line.starts_with('-') => {
                    return Err(bad(n, "another frame begins within the signature"));
                }
                Some(_) => {}
                None => return Err(bad(0, "the signature does not end")),
            }
        };
        if let Some((n, _)) = lines.find(|(_, (_, line))| !line.is_empty()) {
            return Err(bad(n, "text follows the signature"));
        }
        Ok(Self { text, signatures: &input[start..end] })
    }

    /// The form that is hashed: lines end in `\r\n`.
    pub fn canonical(&self) -> Vec<u8> {
        self.text.replace('\n', "\r\n").into_bytes()
    }
}

/// Offsets and lines, without line ends and white space before them.
struct Lines<'a> {
    input: &'a str,
    offset: usize,
}

impl<'a> Iterator for Lines<'a> {
    type Item = (usize, &'a str);
    fn next(&mut self) -> Option<Self::Item> {
        let rest = &self.input[self.offset..];
        if rest.is_empty() {
            return None;
        }
        let start = self.offset;
        let line = match rest.split_once('\n') {
            Some((line, _)) => {
                self.offset += line.len() + 1;
                line
            }
            None => {
                self.offset = self.input.len();
                rest
            }
        };
        Some((start, line.trim_end_matches([' ', '\t', '\r'])))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const GOOD: &str = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nA: 1 \n- -----dash\r\n\n-----BEGIN PGP SIGNATURE-----\n\nabc\n-----END PGP SIGNATURE-----\n";

    #[test]
    fn text_and_signature_are_taken_apart() {
        let parsed = ClearSigned::parse(GOOD).unwrap();
        assert_eq!(parsed.text, "A: 1\n-----dash\n");
        assert_eq!(parsed.canonical(), b"A: 1\r\n-----dash\r\n");
        assert_eq!(parsed.signatures, "-----BEGIN PGP SIGNATURE-----\n\nabc\n-----END PGP SIGNATURE-----");
        assert_eq!(ClearSigned::parse(&format!("{GOOD}\n \n")).unwrap(), parsed);
    }

    #[test]
    fn smuggled_text_is_refused() {
        for (what, input) in [
            ("before", format!("Suite: evil\n{GOOD}")),
            ("after", format!("{GOOD}Suite: evil\n")),
            ("a second message", format!("{GOOD}{GOOD}")),
            ("an unknown header", GOOD.replacen("Hash: SHA512", "Suite: evil", 1)),
            ("an unescaped dash", GOOD.replacen("- -----dash", "-----dash", 1)),
            ("a line end in disguise", GOOD.replacen("A: 1 \n", "A: 1\r", 1)),
            ("a frame within the frame", GOOD.replacen("- -----dash", BEGIN_MESSAGE, 1)),
            ("a frame within the signature", GOOD.replacen("abc", BEGIN_MESSAGE, 1)),
            ("no signature", GOOD.split("-----BEGIN PGP SIG").next().unwrap().to_owned()),
            ("an unfinished signature", GOOD.replacen(END_SIGNATURE, "", 1)),
            ("nothing", String::new()),
            ("only the first line", format!("{BEGIN_MESSAGE}\n")),
        ] {
            assert!(ClearSigned::parse(&input).is_err(), "{what}");
        }
    }
}
