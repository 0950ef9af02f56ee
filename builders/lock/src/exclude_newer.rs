//! Until when a Python package must have been uploaded to be taken.
//!
//! Most malicious uploads are found within days, so a project may stay some days behind the index.
//! The lock records the time, and locking again keeps it until another one is given: one operator's
//! choice is not undone by the next.

use std::str::FromStr;

use cairn_formats::time::{parse_rfc3339, rfc3339};
use cairn_recipe::Lock;

/// What to do with packages that were uploaded lately.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ExcludeNewer {
    /// As the lock before says; without one every package counts.
    #[default]
    AsLocked,
    /// Every package counts.
    Nothing,
    /// What was uploaded at this time or later is left out; seconds since 1970.
    From(i64),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not a time: write `2026-11-01`, `2026-11-01T12:00:00Z`, or `none` to take every package")]
pub struct BadTime {
    pub value: String,
}

impl FromStr for ExcludeNewer {
    type Err = BadTime;

    /// A date alone is its first moment in UTC, so that a lock does not depend on the time zone.
    fn from_str(text: &str) -> Result<Self, BadTime> {
        if text == "none" {
            return Ok(Self::Nothing);
        }
        let time = parse_rfc3339(text).or_else(|| parse_rfc3339(&format!("{text}T00:00:00Z")));
        time.map(Self::From).ok_or_else(|| BadTime { value: text.to_owned() })
    }
}

impl ExcludeNewer {
    /// The time for a new lock, as its file has it.
    pub(crate) fn resolve(self, previous: Option<&Lock>) -> Result<Option<i64>, BadTime> {
        match self {
            Self::Nothing => Ok(None),
            Self::From(time) => Ok(Some(time)),
            Self::AsLocked => {
                let locked = previous.and_then(|lock| lock.exclude_newer.as_ref());
                let read = |value: &String| parse_rfc3339(value).ok_or_else(|| BadTime { value: value.clone() });
                locked.map(read).transpose()
            }
        }
    }
}

pub(crate) fn shown(time: i64) -> String {
    rfc3339(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_utc() {
        for (text, expected) in [
            ("none", Some(ExcludeNewer::Nothing)),
            ("2026-11-01", Some(ExcludeNewer::From(1_793_491_200))),
            ("2026-11-01T00:00:00Z", Some(ExcludeNewer::From(1_793_491_200))),
            ("2026-11-01T02:00:00+02:00", Some(ExcludeNewer::From(1_793_491_200))),
            ("2026-11-31", None),
            ("7 days", None),
            ("", None),
        ] {
            assert_eq!(text.parse::<ExcludeNewer>().ok(), expected, "{text}");
        }
    }
}
