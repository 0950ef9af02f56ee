//! What a definition asks for: `name`, `name (>= 1.2)`, `name (= 1.2)`.

use super::relation::{BadRelation, Relation};

/// A parsed entry of `debian.packages`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Requirement<'a>(pub Relation<'a>);

impl<'a> Requirement<'a> {
    /// Alternatives and architectures belong into packages, not into definitions.
    pub fn parse(text: &'a str) -> Result<Self, BadRelation> {
        let bad = || BadRelation(text.to_owned());
        let (name, condition) = text.split_once('(').unwrap_or((text, ")"));
        if name.contains(['|', ',', '[', '<', ':']) || !condition.trim_end().ends_with(')') {
            return Err(bad());
        }
        Relation::parse(text, "")?.map(Self).ok_or_else(bad)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn requirements_are_single_relations() {
        for text in ["a", "a (>= 1.2)", "a (= 1:1.2-3)", "a (<< 2)"] {
            assert_eq!(Requirement::parse(text).unwrap().0.to_string(), text);
        }
        for text in [
            "a | b",
            "a, b",
            "a [amd64]",
            "a:any",
            "a <!x>",
            "a (= 1) [amd64]",
            "a (= 1) | b",
            "a 1.2",
            "a=1.2",
            "",
            "(>= 1)",
        ] {
            assert!(Requirement::parse(text).is_err(), "{text}");
        }
    }
}
