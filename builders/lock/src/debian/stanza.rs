//! Debian's control format (deb822): stanzas of fields, borrowed from the text.

/// One stanza. Field names do not depend on case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stanza<'a>(&'a str);

impl<'a> Stanza<'a> {
    /// The first stanza of a text.
    pub fn first(text: &'a str) -> Self {
        stanzas(text).next().unwrap_or(Self(""))
    }

    /// A field's value without white space around it. Further lines keep their line ends.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.fields().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Names and values, in order. Lines that are no field are passed over.
    pub fn fields(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            while !rest.is_empty() {
                let end = field_end(rest);
                let (field, after) = rest.split_at(end);
                rest = after;
                if let Some((name, value)) = field.split_once(':')
                    && !name.starts_with([' ', '\t', '#'])
                    && !name.contains('\n')
                {
                    return Some((name, value.trim()));
                }
            }
            None
        })
    }
}

/// Where the first field ends: after the last line that continues it.
fn field_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut end = 0;
    loop {
        match text[end..].find('\n') {
            None => return text.len(),
            Some(line) => end += line + 1,
        }
        if !matches!(bytes.get(end), Some(b' ' | b'\t')) {
            return end;
        }
    }
}

/// Splits a text at empty lines.
pub fn stanzas(text: &str) -> impl Iterator<Item = Stanza<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(['\n', '\r']);
        if rest.is_empty() {
            return None;
        }
        let (stanza, after) = rest.split_once("\n\n").unwrap_or((rest, ""));
        rest = after;
        Some(Stanza(stanza))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stanzas_and_fields_are_found() {
        let text = "\nPackage: a\nDescription: one\n two\n .\n three\nEmpty:\nSHA256: x\n\n\nPackage: b\n";
        let all: Vec<Vec<_>> = stanzas(text).map(|s| s.fields().collect()).collect();
        let first = vec![("Package", "a"), ("Description", "one\n two\n .\n three"), ("Empty", ""), ("SHA256", "x")];
        assert_eq!(all, [first, vec![("Package", "b")]]);
        assert_eq!(Stanza::first(text).get("sha256"), Some("x"));
        assert_eq!(Stanza::first(text).get("version"), None);
    }

    #[test]
    fn a_line_that_is_no_field_hides_nothing() {
        let stanza = Stanza::first(" stray\njunk\n# note: x\nPackage: a\n");
        assert_eq!(stanza.fields().collect::<Vec<_>>(), [("Package", "a")]);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-c: \t\n#é]{0,60}") {
            for stanza in stanzas(&text) {
                let _ = stanza.fields().count();
            }
        }
    }
}
