//! Dependency fields (Debian Policy 7.1): `a (>= 1) | b, c:any [amd64]`.

use std::cmp::Ordering;
use std::fmt;

use super::version;

/// One alternative: a name, perhaps with a version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Relation<'a> {
    pub name: &'a str,
    pub version: Option<(Operator, &'a str)>,
    /// The part after a colon: `any`, `native` or an architecture.
    pub qualifier: Option<&'a str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    Earlier,
    EarlierOrEqual,
    Equal,
    LaterOrEqual,
    Later,
}

impl Operator {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "<<" => Self::Earlier,
            // A single `<` or `>` is obsolete and means what it meant: or equal.
            "<=" | "<" => Self::EarlierOrEqual,
            "=" => Self::Equal,
            ">=" | ">" => Self::LaterOrEqual,
            ">>" => Self::Later,
            _ => return None,
        })
    }

    const fn sign(self) -> &'static str {
        match self {
            Self::Earlier => "<<",
            Self::EarlierOrEqual => "<=",
            Self::Equal => "=",
            Self::LaterOrEqual => ">=",
            Self::Later => ">>",
        }
    }

    /// Whether `version OPERATOR limit` holds.
    pub fn holds(self, version: &str, limit: &str) -> bool {
        let order = version::compare(version, limit);
        match self {
            Self::Earlier => order == Ordering::Less,
            Self::EarlierOrEqual => order != Ordering::Greater,
            Self::Equal => order == Ordering::Equal,
            Self::LaterOrEqual => order != Ordering::Less,
            Self::Later => order == Ordering::Greater,
        }
    }
}

/// A piece of a field that is not a relation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a package relation such as `name` or `name (>= 1.2)`")]
pub struct BadRelation(pub String);

impl<'a> Relation<'a> {
    /// Reads one alternative. `None` when it is not for this architecture.
    pub fn parse(text: &'a str, architecture: &str) -> Result<Option<Self>, BadRelation> {
        let bad = || BadRelation(text.trim().chars().take(100).collect());
        let name_end = text.trim_start().find([' ', '\t', '\n', '(', '[', '<']);
        let trimmed = text.trim_start();
        let (full_name, mut rest) = trimmed.split_at(name_end.unwrap_or(trimmed.len()));
        let (name, qualifier) = match full_name.split_once(':') {
            Some((name, qualifier)) => (name, Some(qualifier)),
            None => (full_name, None),
        };
        if !is_name(name) || qualifier.is_some_and(|q| !is_name(q)) {
            return Err(bad());
        }
        let (mut version, mut applies) = (None, true);
        loop {
            rest = rest.trim_start();
            if rest.is_empty() {
                return Ok(applies.then_some(Self { name, version, qualifier }));
            }
            if let Some(inner) = bracketed(&mut rest, '(', ')') {
                let inner = inner.trim();
                let sign_end = inner.find(|c| !"<>=".contains(c)).ok_or_else(bad)?;
                let (sign, limit) = inner.split_at(sign_end);
                let limit = limit.trim();
                if version.is_some() || limit.is_empty() || limit.contains(char::is_whitespace) {
                    return Err(bad());
                }
                version = Some((Operator::parse(sign).ok_or_else(bad)?, limit));
            } else if let Some(inner) = bracketed(&mut rest, '[', ']') {
                applies &= matches_architecture(inner, architecture);
            } else if bracketed(&mut rest, '<', '>').is_none() {
                // Build profiles, in <>, mean nothing in a binary package.
                return Err(bad());
            }
        }
    }

    /// Whether a package of this version satisfies the version asked for.
    pub fn accepts(&self, version: &str) -> bool {
        self.version.is_none_or(|(operator, limit)| operator.holds(version, limit))
    }

    /// Whether a package of `architecture` satisfies the qualifier in an image for `target`.
    /// Within one architecture `any` asks for nothing more.
    pub fn accepts_architecture(&self, architecture: &str) -> bool {
        match self.qualifier {
            None | Some("any" | "native") => true,
            Some(wanted) => architecture == wanted || architecture == "all",
        }
    }
}

impl fmt::Display for Relation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        if let Some(qualifier) = self.qualifier {
            write!(f, ":{qualifier}")?;
        }
        match self.version {
            Some((operator, limit)) => write!(f, " ({} {limit})", operator.sign()),
            None => Ok(()),
        }
    }
}

/// Cuts a bracketed piece off the front.
fn bracketed<'a>(rest: &mut &'a str, open: char, close: char) -> Option<&'a str> {
    let (inner, after) = rest.strip_prefix(open)?.split_once(close)?;
    *rest = after;
    Some(inner)
}

/// `[amd64 arm64]` or `[!i386]`; wildcards as far as they can name our architectures.
fn matches_architecture(list: &str, architecture: &str) -> bool {
    let is = |word: &str| {
        word == architecture || matches!(word, "any" | "linux-any") || word.strip_prefix("any-") == Some(architecture)
    };
    let mut words = list.split_whitespace().peekable();
    match words.peek() {
        Some(first) if first.starts_with('!') => !words.any(|word| is(word.trim_start_matches('!'))),
        _ => words.any(is),
    }
}

/// Letters, digits and `+-.` (Policy 5.6.1), at a generous length.
pub fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= 200 && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"+-._".contains(&c))
}

/// A whole field: all of the clauses, in each any of the alternatives. Clauses without an
/// alternative for this architecture are left out.
pub fn parse_field<'a>(field: &'a str, architecture: &str) -> Result<Vec<Vec<Relation<'a>>>, BadRelation> {
    let mut clauses = Vec::new();
    for clause in field.split(',').filter(|clause| !clause.trim().is_empty()) {
        let mut alternatives = Vec::new();
        for alternative in clause.split('|') {
            alternatives.extend(Relation::parse(alternative, architecture)?);
        }
        if !alternatives.is_empty() {
            clauses.push(alternatives);
        }
    }
    Ok(clauses)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn shown(field: &str) -> Result<Vec<String>, BadRelation> {
        let clauses = parse_field(field, "amd64")?;
        let clause = |c: &Vec<Relation>| c.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | ");
        Ok(clauses.iter().map(clause).collect())
    }

    #[test]
    fn fields_read_as_they_are_meant() {
        for (field, expected) in [
            ("libc6", vec!["libc6"]),
            ("libc6 (>= 2.36)", vec!["libc6 (>= 2.36)"]),
            ("libc6(>=2.36)", vec!["libc6 (>= 2.36)"]),
            ("a | b (<< 2), c", vec!["a | b (<< 2)", "c"]),
            ("python3:any (>= 3.9~)", vec!["python3:any (>= 3.9~)"]),
            ("a (> 1), b (< 1)", vec!["a (>= 1)", "b (<= 1)"]),
            ("a [amd64], b [arm64], c [!amd64], d [!arm64], e [linux-any]", vec!["a", "d", "e"]),
            ("a [arm64] | b", vec!["b"]),
            ("a <!nocheck>, b (= 1:2.0-1) [amd64] <x>", vec!["a", "b (= 1:2.0-1)"]),
            ("a,\n b ,, c,", vec!["a", "b", "c"]),
            ("", vec![]),
        ] {
            assert_eq!(shown(field).unwrap(), expected, "{field}");
        }
    }

    #[test]
    fn other_text_is_refused() {
        for field in ["a b", "a (1.0)", "a (>= )", "a (>= 1 2)", "a (~ 1)", "a (>= 1", "| a", "a (=1)(=2)", "ä", "a:"]
        {
            assert!(shown(field).is_err(), "{field}");
        }
    }

    #[test]
    fn operators_hold() {
        for (relation, version, holds) in [
            ("a (>= 1.0)", "1.0", true),
            ("a (>= 1.0)", "1.0~rc1", false),
            ("a (>> 1.0)", "1.0", false),
            ("a (<< 1.0)", "1.0~rc1", true),
            ("a (<= 1.0)", "1.0", true),
            ("a (= 1.0)", "1.0-1", false),
            ("a", "0", true),
        ] {
            assert_eq!(Relation::parse(relation, "amd64").unwrap().unwrap().accepts(version), holds, "{relation}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(field in "[a-z0-9:()<>=|,\\[\\]!~ \n.-]{0,40}") {
            let _ = parse_field(&field, "amd64");
        }
    }
}
