//! Text that systemd reads back as exactly the string we meant (systemd.syntax(7),
//! "Command lines" and "Environment" in systemd.service(5) and systemd.exec(5)).
//!
//! Every word is put in double quotes with C escapes, which leaves two characters with a meaning
//! of their own: `%` begins a specifier everywhere, and `$` a variable in command lines only.
//! A line break can only appear as `\n` inside quotes, so no value can begin a new directive.

use std::fmt::Write as _;

/// One argument of `ExecStart=`, after the program.
pub fn argument(text: &str) -> String {
    quoted(text, true)
}

/// One `NAME=value` of `Environment=`; systemd expands no variables there.
pub fn assignment(name: &str, value: &str) -> String {
    quoted(&format!("{name}={value}"), false)
}

fn quoted(text: &str, dollars: bool) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '%' => out.push_str("%%"),
            '$' if dollars => out.push_str("$$"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                // A String takes every write.
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The environment that a unit of ours sets, as name and value.
pub fn environment(unit: &str) -> Vec<(String, String)> {
    let assignments = unit.lines().filter_map(|line| line.strip_prefix("Environment="));
    let split = |text: &str| unquoted(text)?.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    assignments.filter_map(split).collect()
}

/// What [`assignment`] was given; `None` for what it does not write.
fn unquoted(text: &str) -> Option<String> {
    let mut chars = text.strip_prefix('"')?.strip_suffix('"')?.chars();
    let mut out = String::new();
    while let Some(c) = chars.next() {
        match (c, chars.clone().next()) {
            ('%', Some('%')) => out.extend(chars.next()),
            ('\\', Some('n')) => out.extend(chars.next().map(|_| '\n')),
            ('\\', Some('t')) => out.extend(chars.next().map(|_| '\t')),
            ('\\', Some('x')) => {
                let digits: String = chars.by_ref().skip(1).take(2).collect();
                out.push(char::from(u8::from_str_radix(&digits, 16).ok()?));
            }
            ('\\', Some('"' | '\\')) => out.extend(chars.next()),
            ('%' | '\\' | '"', _) => return None,
            (c, _) => out.push(c),
        }
    }
    Some(out)
}

/// Text for a comment: one line, and no backslash at its end, which would continue it.
pub fn comment(text: &str) -> String {
    let one_line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let end = |c: char| c == '\\' || c.is_whitespace();
    one_line.trim_start().trim_end_matches(end).to_owned()
}

/// Text for `Description=`, where systemd would expand specifiers.
pub fn description(text: &str) -> String {
    comment(text).replace('%', "%%")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads one line as systemd does: `extract_first_word` with unquoting and C unescaping
    /// (src/basic/extract-word.c), then specifiers, then (in commands) variables.
    fn words(line: &str, dollars: bool) -> Option<Vec<String>> {
        let mut words = Vec::new();
        let mut chars = line.chars().peekable();
        while chars.peek().is_some() {
            (chars.next()? == '"').then_some(())?;
            let mut word = String::new();
            loop {
                match chars.next()? {
                    '"' => break,
                    '\n' => return None,
                    '\\' => match chars.next()? {
                        'n' => word.push('\n'),
                        't' => word.push('\t'),
                        'x' => {
                            let digits: String = [chars.next()?, chars.next()?].iter().collect();
                            word.push(char::from(u8::from_str_radix(&digits, 16).ok()?));
                        }
                        c @ ('"' | '\\') => word.push(c),
                        _ => return None,
                    },
                    c => word.push(c),
                }
            }
            let word = undouble(&word, '%')?;
            words.push(if dollars { undouble(&word, '$')? } else { word });
            if chars.peek().is_some() {
                (chars.next()? == ' ').then_some(())?;
            }
        }
        Some(words)
    }

    /// A single one would be a specifier or a variable.
    fn undouble(text: &str, special: char) -> Option<String> {
        let mut out = String::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            if c == special {
                (chars.next()? == special).then_some(())?;
            }
            out.push(c);
        }
        Some(out)
    }

    proptest::proptest! {
        #[test]
        fn any_words_come_back(given in proptest::collection::vec("[^\\x00]{0,20}", 0..4)) {
            let line = given.iter().map(|word| argument(word)).collect::<Vec<_>>().join(" ");
            proptest::prop_assert_eq!(words(&line, true), Some(given));
        }

        #[test]
        fn any_value_comes_back(value in "[^\\x00]{0,40}") {
            proptest::prop_assert_eq!(words(&assignment("A", &value), false), Some(vec![format!("A={value}")]));
        }
    }

    #[test]
    fn words_are_quoted_by_the_rules_of_systemd() {
        for (text, as_argument) in [
            ("plain", r#""plain""#),
            ("", r#""""#),
            (";", r#"";""#),
            ("a b", r#""a b""#),
            ("it's", r#""it's""#),
            ("say \"hi\"", r#""say \"hi\"""#),
            ("back\\slash", r#""back\\slash""#),
            ("50%", r#""50%%""#),
            ("$HOME", r#""$$HOME""#),
            ("${HOME}", r#""$${HOME}""#),
            ("two\nlines", r#""two\nlines""#),
            ("bell\u{7}", r#""bell\x07""#),
            ("é", r#""é""#),
        ] {
            assert_eq!(argument(text), as_argument, "{text:?}");
        }
        assert_eq!(assignment("A", "$x \"y\" 5%"), r#""A=$x \"y\" 5%%""#);
        let evil = "one\nExecStart=/bin/sh 5% \\";
        assert_eq!(comment(evil), "one ExecStart=/bin/sh 5%");
        assert_eq!(description(evil), "one ExecStart=/bin/sh 5%%");
    }

    #[test]
    fn the_environment_is_read_back() {
        let pairs = [("A", "x y"), ("B", "\"100%\" of \\ $HOME\n\t\u{1}é="), ("C", "")];
        let lines: String = pairs.iter().map(|(k, v)| format!("Environment={}\n", assignment(k, v))).collect();
        let read = environment(&format!("[Service]\nUser=1\n{lines}Restart=always\n"));
        assert_eq!(read, pairs.map(|(k, v)| (k.to_owned(), v.to_owned())));
        for bad in ["A=b", "\"A=%h\"", "\"A=\\q\"", "\""] {
            assert_eq!(unquoted(bad), None, "{bad}");
        }
    }
}
