//! Names of machines, which become host names and parts of paths.

use std::fmt;

use crate::{MachineError, Result};

/// 1 to 32 lower-case letters, digits and hyphens, starting with a letter, not ending with a hyphen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MachineName(String);

impl MachineName {
    pub fn parse(name: &str) -> Result<Self> {
        let fits = (1..=32).contains(&name.len())
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && !name.ends_with('-')
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if fits { Ok(Self(name.to_owned())) } else { Err(MachineError::Name { name: name.to_owned() }) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MachineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_leave_the_folder_or_confuse_a_tool_are_refused() {
        for good in ["a", "local", "web-1", "h0st"] {
            assert!(MachineName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "..", "a/b", "-a", "a-", "1a", "A", "a_b", "a b", "ä", &"a".repeat(33)] {
            assert!(matches!(MachineName::parse(bad), Err(MachineError::Name { .. })), "{bad}");
        }
    }
}
