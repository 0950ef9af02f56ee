//! Text that is safe to print: foreign characters made printable, styling of our own around them.

use cairn_formats::printable;

/// SGR parameters (ECMA-48 §8.3.117).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Bold,
    /// 30 to 37.
    Colour(u8),
}

/// Can only be made from text that is made printable on the way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text(String);

impl Text {
    pub fn styled(style: Style, text: &str) -> Self {
        let code = match style {
            Style::Bold => 1,
            Style::Colour(code) => code,
        };
        Self(format!("\x1b[{code}m{}\x1b[0m", printable::line(text)))
    }

    /// Text of one line: newlines are made visible as well.
    pub fn line(text: &str) -> Self {
        Self(printable::line(text).into_owned())
    }

    pub fn push(&mut self, text: impl Into<Self>) {
        self.0.push_str(&text.into().0);
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// With the end of its line.
    pub fn into_line(mut self) -> Vec<u8> {
        self.0.push('\n');
        self.0.into_bytes()
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(printable::text(text).into_owned())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

/// A text of several lines as one paragraph: if a line but the first begins at the margin, all of them
/// are moved in, so that no foreign line looks like one of ours, which have `error:` or a host's name
/// there.
pub fn hanging(text: &str) -> String {
    let Some((first, rest)) = text.split_once('\n') else { return text.to_owned() };
    let at_the_margin = |line: &str| !line.is_empty() && !line.starts_with(' ');
    let indent = if rest.split('\n').any(at_the_margin) { "  " } else { "" };
    let mut shown = first.to_owned();
    for line in rest.split('\n') {
        shown.push('\n');
        if !line.is_empty() {
            shown.push_str(indent);
        }
        shown.push_str(line);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_styling_is_obeyed() {
        let mut text = Text::styled(Style::Colour(36), "web\x1b[0m\n");
        text.push("  said\x1b[2J\n");
        assert_eq!(text.as_str(), "\x1b[36mweb\\u{1b}[0m\\n\x1b[0m  said\\u{1b}[2J\n");
    }

    #[test]
    fn foreign_lines_do_not_stand_at_the_margin() {
        for (given, wanted) in [
            ("one", "one"),
            ("one\n  help: two", "one\n  help: two"),
            ("one\nweb-2: switched\n\n  three\n", "one\n  web-2: switched\n\n    three\n"),
            ("a.toml\n  |\n1 | x\n  | ^", "a.toml\n    |\n  1 | x\n    | ^"),
        ] {
            assert_eq!(hanging(given), wanted);
        }
    }
}
