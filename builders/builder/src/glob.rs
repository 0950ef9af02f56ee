//! Which paths of a package an image leaves out.
//!
//! A pattern is matched against the whole path, relative to the image's root and after merging
//! `/usr`. `?`, `*` and `[ab-z]` or `[!a]` stay within one part of the path, `**` stands for any number
//! of parts, and a leading `!` keeps what an earlier pattern left out: the last pattern that matches decides.
//!
//! ```
//! use cairn_builder::glob::Excludes;
//! use cairn_formats::RelPath;
//!
//! let excludes = Excludes::parse(&["usr/share/doc/**", "!usr/share/doc/*/copyright"])?;
//! let path = |text: &str| RelPath::parse(text.as_bytes());
//! assert!(excludes.matches(&path("usr/share/doc/libc6/NEWS.gz")?));
//! assert!(!excludes.matches(&path("usr/share/doc/libc6/copyright")?));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use cairn_formats::{RelPath, glob};

use crate::error::{Error, Result};

/// Patterns in the order of the definition.
#[derive(Debug, Default, Clone)]
pub struct Excludes(Vec<Pattern>);

#[derive(Debug, Clone)]
struct Pattern {
    keeps: bool,
    parts: Vec<Vec<u8>>,
}

impl Excludes {
    pub fn parse<S: AsRef<str>>(patterns: &[S]) -> Result<Self> {
        patterns.iter().map(|pattern| Pattern::parse(pattern.as_ref())).collect::<Result<_>>().map(Self)
    }

    pub fn matches(&self, path: &RelPath) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let parts: Vec<&[u8]> = path.parts().collect();
        self.0.iter().rev().find(|pattern| matches_path(&pattern.parts, &parts)).is_some_and(|pattern| !pattern.keeps)
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self> {
        let (keeps, path) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
        let parts: Vec<Vec<u8>> = path.split('/').map(|part| part.as_bytes().to_vec()).collect();
        if parts.iter().any(|part| part.is_empty() || part == b"." || part == b"..") {
            return Err(Error::parameter(
                "exclude",
                text,
                "a pattern is a path relative to the image's root, like `usr/share/doc/**`",
            ));
        }
        Ok(Self { keeps, parts })
    }
}

/// What is left of a pattern and of a path.
type Rest<'a> = (&'a [Vec<u8>], &'a [&'a [u8]]);

fn matches_path<'a>(mut pattern: &'a [Vec<u8>], mut path: &'a [&'a [u8]]) -> bool {
    // Where to go on when what follows the last `**` does not fit: it takes one part more. Earlier
    // ones need no second try, since the last can stand for whatever they would have left to it.
    let mut last: Option<Rest<'a>> = None;
    loop {
        match (pattern.split_first(), path.split_first()) {
            (None, None) => return true,
            // At the end it needs something to stand for: the directory itself stays.
            (Some((part, [])), Some(_)) if part == b"**" => return true,
            (Some((part, rest)), Some(_)) if part == b"**" => (pattern, last) = (rest, Some((rest, path))),
            (Some((part, rest)), Some((name, below))) if glob::matches(part, name) => (pattern, path) = (rest, below),
            _ => {
                let Some((after, [_, below @ ..])) = last else { return false };
                (pattern, path, last) = (after, below, Some((after, below)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, path, expected) in [
            ("usr/share/doc/**", "usr/share/doc/a", true),
            ("usr/share/doc/**", "usr/share/doc/a/b/c", true),
            ("usr/share/doc/**", "usr/share/doc", false),
            ("usr/share/doc/**", "usr/share/docs/a", false),
            ("**/__pycache__/**", "a/b/__pycache__/c.pyc", true),
            ("**/__pycache__/**", "__pycache__/c.pyc", true),
            ("**/*.pyc", "a.pyc", true),
            ("**/*.pyc", "a/b.pyc", true),
            ("*.pyc", "a/b.pyc", false),
            ("a/[!c]*", "a/news", true),
            ("a/[!c]*", "a/copyright", false),
            ("a/[0-9b]c", "a/7c", true),
            ("a/[0-9b]c", "a/bc", true),
            ("a/[0-9b]c", "a/cc", false),
            ("a/[b", "a/[b", true),
            ("a/?b*", "a/xbyy", true),
            ("a/?b*", "a/b", false),
            ("a/*/c", "a/b/c", true),
            ("a/*/c", "a/b/b/c", false),
            ("a/**/c", "a/b/b/c", true),
            ("a/**/c", "a/c", true),
            ("**/b/**/b/c", "b/a/b/b/c", true),
            ("**/b/**/b/c", "b/a/b/c/c", false),
            ("a/**/**", "a/b", true),
            ("a/**/**", "a", false),
        ] {
            let excludes = Excludes::parse(&[pattern]).unwrap();
            assert_eq!(excludes.matches(&RelPath::parse(path.as_bytes()).unwrap()), expected, "{pattern} on {path}");
        }
    }

    #[test]
    fn many_wildcards_take_no_time() {
        let pattern = "**/a/".repeat(30) + "b";
        let path = RelPath::parse("a/".repeat(60).trim_end_matches('/').as_bytes()).unwrap();
        assert!(!Excludes::parse(&[pattern]).unwrap().matches(&path));
    }

    #[test]
    fn the_last_match_decides() {
        let excludes = Excludes::parse(&["a/**", "!a/b", "a/b/secret"]).unwrap();
        let matches = |path: &str| excludes.matches(&RelPath::parse(path.as_bytes()).unwrap());
        assert!(matches("a/x") && !matches("a/b") && matches("a/b/secret") && !matches("c"));
    }

    #[test]
    fn odd_patterns_are_refused() {
        for bad in ["", "/usr", "usr//share", "../x", "!"] {
            assert!(Excludes::parse(&[bad]).is_err(), "{bad:?}");
        }
    }
}
