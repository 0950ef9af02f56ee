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
pub fn matches(mut pattern: &[u8], mut name: &[u8]) -> bool {
    // Where to go on when what follows the last `*` does not fit: it takes one character more.
    let mut last_star: Option<(&[u8], &[u8])> = None;
    loop {
        if let Some(rest) = pattern.strip_prefix(b"*") {
            (pattern, last_star) = (rest, Some((rest, name)));
        } else if let Some(rest) = one(pattern, name) {
            (pattern, name) = rest;
        } else if pattern.is_empty() && name.is_empty() {
            return true;
        } else {
            let Some((after, [_, left @ ..])) = last_star else { return false };
            (pattern, name, last_star) = (after, left, Some((after, left)));
        }
    }
}

/// What is left of both after one character of the name that fits.
fn one<'p, 'n>(pattern: &'p [u8], name: &'n [u8]) -> Option<(&'p [u8], &'n [u8])> {
    let ((first, rest), (byte, tail)) = (pattern.split_first()?, name.split_first()?);
    let set = rest.iter().position(|b| *b == b']').filter(|_| *first == b'[');
    match (first, set) {
        (_, Some(end)) => is_in(&rest[..end], *byte).then_some((&rest[end + 1..], tail)),
        (b'?', None) => Some((rest, tail)),
        (_, None) => (first == byte).then_some((rest, tail)),
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
    use proptest::prelude::*;

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

    proptest! {
        /// Against the plain definition, by recursion.
        #[test]
        fn globs_agree_with_their_definition(pattern in "[ab*?]{1,8}", host in "[ab]{0,8}") {
            fn plain(p: &[u8], h: &[u8]) -> bool {
                match p.split_first() {
                    None => h.is_empty(),
                    Some((b'*', rest)) => (0..=h.len()).any(|n| plain(rest, &h[n..])),
                    Some((byte, rest)) => h.split_first().is_some_and(|(first, tail)| {
                        (*byte == b'?' || byte == first) && plain(rest, tail)
                    }),
                }
            }
            let (pattern, host) = (pattern.as_bytes(), host.as_bytes());
            prop_assert_eq!(matches(pattern, host), plain(pattern, host));
        }
    }
}
