//! Names of secrets, operators and hosts. They become file names, so they are strict.

use std::fmt;

use cairn_formats::glob;

use crate::{Result, SecretsError};

/// A secret's name: 1 to 64 lower-case letters, digits and single hyphens, a letter first. It is
/// the name of the file (`NAME.age`) and of the credential on the host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretName(String);

impl SecretName {
    pub fn parse(name: &str) -> Result<Self> {
        let fits = (1..=64).contains(&name.len())
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && !name.ends_with('-')
            && !name.contains("--")
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if fits { Ok(Self(name.to_owned())) } else { Err(SecretsError::Name { name: name.to_owned() }) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `NAME.age`.
    pub fn file_name(&self) -> String {
        format!("{}.age", self.0)
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for SecretName {
    type Err = SecretsError;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

/// Whether this can name an operator or a host: letters, digits, `.`, `_`, `@` and `-`, at most 64.
pub(crate) fn is_plain(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._@-".contains(&b))
}

/// Which hosts may read a secret: a name, or a shell pattern over names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPattern(String);

impl HostPattern {
    /// `None` when it has a character that no host name has.
    pub fn parse(text: &str) -> Option<Self> {
        is_plain(&text.replace(['*', '?', '[', ']', '!'], "x")).then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn matches(&self, host: &str) -> bool {
        glob::matches(self.0.as_bytes(), host.as_bytes())
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_would_leave_the_folder_or_confuse_a_tool_are_refused() {
        for good in ["a", "database-password", "s3-key-2"] {
            assert!(SecretName::parse(good).is_ok(), "{good}");
        }
        let long = "a".repeat(65);
        for bad in
            ["", ".", "..", "../x", "a/b", "-a", "a-", "a--b", "1a", "A", "a_b", "a b", "ä", "a\0", "a\n", "a.age"]
                .into_iter()
                .chain([long.as_str()])
        {
            let error = SecretName::parse(bad).expect_err(bad).to_string();
            assert!(error.contains("lower-case") && error.contains("help:"), "{error}");
        }
    }

    #[test]
    fn patterns_stand_for_names_of_hosts() {
        for (pattern, host, matches) in
            [("web-1", "web-10", false), ("web-*", "web-1", true), ("web-[12]", "web-2", true)]
        {
            let parsed = HostPattern::parse(pattern).expect(pattern);
            assert_eq!(parsed.matches(host), matches, "{pattern} {host}");
        }
        for bad in ["", "../*", "a b", "-*"] {
            assert_eq!(HostPattern::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        /// Whatever is taken as a name is one plain file of the folder.
        #[test]
        fn a_name_is_one_component_of_a_path(text in "\\PC{0,70}|[a-z./\\\\-]{0,12}") {
            if let Ok(name) = SecretName::parse(&text) {
                let file = name.file_name();
                let parts: Vec<_> = std::path::Path::new(&file).components().collect();
                prop_assert_eq!(parts.len(), 1);
                prop_assert!(matches!(parts[0], std::path::Component::Normal(_)));
                prop_assert!(!file.starts_with('.') && !file.starts_with('-'));
                prop_assert_eq!(name.as_str(), text);
            }
        }
    }
}
