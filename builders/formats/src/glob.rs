//! Shell patterns over one name: `*`, `?`, `[ab-z]` and `[!a]`.
//!
//! ```
//! use cairn_formats::glob;
//!
//! assert!(glob::matches(b"edge-*", b"edge-1"));
//! assert!(glob::is_pattern("edge-[12]") && !glob::is_pattern("edge-1"));
//! ```

/// Whether a text is more than a plain name.
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Whether the whole of `name` fits. A `[` without its `]` stands for itself.
pub fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            matches(rest, name) || name.split_first().is_some_and(|(_, tail)| matches(pattern, tail))
        }
        (Some((b'?', rest)), Some((_, tail))) => matches(rest, tail),
        (Some((b'[', rest)), Some((byte, tail))) if rest.contains(&b']') => {
            let (set, rest) = rest.split_at(rest.iter().position(|b| *b == b']').unwrap_or(0));
            is_in(set, *byte) && matches(&rest[1..], tail)
        }
        (Some((a, rest)), Some((b, tail))) => a == b && matches(rest, tail),
        _ => false,
    }
}

fn is_in(set: &[u8], byte: u8) -> bool {
    let (negated, mut set) = set.strip_prefix(b"!").map_or((false, set), |rest| (true, rest));
    let mut found = false;
    while let Some((first, rest)) = set.split_first() {
        if let [b'-', last, rest @ ..] = rest {
            found |= (*first..=*last).contains(&byte);
            set = rest;
        } else {
            found |= *first == byte;
            set = rest;
        }
    }
    found != negated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_as_in_a_shell() {
        for (pattern, name, expected) in [
            ("web-1", "web-1", true),
            ("web-1", "web-10", false),
            ("web-*", "web-", true),
            ("*", "anything", true),
            ("*-db-*", "a-db", false),
            ("a*b*c", "aXbYbZc", true),
            ("web-?", "web-", false),
            ("web-?", "web-1", true),
            ("web-[13]", "web-3", true),
            ("web-[13]", "web-2", false),
            ("web-[1-3]", "web-2", true),
            ("web-[!1-3]", "web-2", false),
            ("web-[!1-3]", "web-4", true),
            ("a[b", "a[b", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} on {name}");
        }
    }
}
