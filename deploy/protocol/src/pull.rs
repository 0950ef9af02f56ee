//! Hosts that fetch by themselves what they are to run.

use cairn_formats::StorePath;
use serde::{Deserialize, Serialize};

/// `/etc/cairn/pull.json`: whom a host believes, and where it looks. Nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PullConfig {
    /// `https://…`, `s3://…` or `file:///…`.
    pub cache: String,
    /// The definition whose closure it runs; many hosts may run the same.
    pub host: String,
    /// `NAME:BASE64`, as Nix writes them.
    pub trusted_public_keys: Vec<String>,
}

/// A pointer is old after 30 days where no definition says otherwise.
pub const WARN_AFTER: u64 = 30 * 86_400;

/// What came of it last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullStatus {
    pub cache: String,
    pub host: String,
    /// Of the newest pointer that it has accepted.
    pub sequence: Option<u64>,
    pub closure: Option<StorePath>,
    /// Seconds since 1970 at which that pointer was published, and from which on it counts no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<i64>,
    /// Seconds after which a pointer is old: `pull.warn_after` of the definition, which the client
    /// knows and the host does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warn_after: Option<u64>,
    /// Seconds since 1970 of its last look.
    pub checked: Option<i64>,
    /// Why it does not run what the pointer says.
    pub problem: Option<String>,
}

impl PullStatus {
    /// Seconds since the newest accepted pointer was published.
    pub fn age(&self, now: i64) -> Option<u64> {
        // Agents that do not record the time of publication record the number, which is that time.
        let published = self.published.or_else(|| i64::try_from(self.sequence?).ok())?;
        Some(u64::try_from(now.saturating_sub(published)).unwrap_or(0))
    }

    /// Why the pointer is a risk: it has expired, or is older than `warn_after`.
    pub fn stale(&self, now: i64) -> Option<StalePointer> {
        let warn_after = self.warn_after.unwrap_or(WARN_AFTER);
        match (self.expires, self.age(now)) {
            (Some(expires), _) if expires <= now => Some(StalePointer::Expired { at: expires }),
            (_, Some(age)) if age > warn_after => Some(StalePointer::Old { age, warn_after }),
            _ => None,
        }
    }
}

/// What is wrong with the newest pointer that a host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StalePointer {
    /// Fresh hosts take nothing since then (seconds since 1970).
    Expired { at: i64 },
    /// In seconds. Nothing was published for so long, or the host does not get what was.
    Old { age: u64, warn_after: u64 },
}

/// A span of time in its largest unit: `3 days`, `1 hour`, `0 seconds`.
pub fn span(seconds: u64) -> String {
    let (count, unit) = match seconds {
        86_400.. => (seconds / 86_400, "day"),
        3_600.. => (seconds / 3_600, "hour"),
        60.. => (seconds / 60, "minute"),
        _ => (seconds, "second"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const DAY: u64 = 86_400;
    const NOW: i64 = 1_795_000_000;

    #[test]
    fn a_pointer_is_stale_by_its_age_and_by_its_end() {
        let before = |days: u64| NOW - (days * DAY).cast_signed();
        for (published, sequence, expires, warn_after, expected) in [
            (Some(before(30)), None, None, None, None),
            (Some(before(31)), None, None, None, Some(StalePointer::Old { age: 31 * DAY, warn_after: WARN_AFTER })),
            (Some(before(31)), None, None, Some(90 * DAY), None),
            (Some(before(2)), None, None, Some(DAY), Some(StalePointer::Old { age: 2 * DAY, warn_after: DAY })),
            (Some(before(1)), None, Some(NOW), None, Some(StalePointer::Expired { at: NOW })),
            (Some(before(1)), None, Some(NOW + 1), None, None),
            // Recorded by an agent that keeps the number alone.
            (
                None,
                Some(before(31) as u64),
                None,
                None,
                Some(StalePointer::Old { age: 31 * DAY, warn_after: WARN_AFTER }),
            ),
            (None, None, None, None, None),
            (Some(i64::MAX), Some(u64::MAX), None, None, None),
            (
                Some(i64::MIN),
                None,
                None,
                None,
                Some(StalePointer::Old { age: i64::MAX as u64, warn_after: WARN_AFTER }),
            ),
        ] {
            let status = PullStatus {
                cache: String::new(),
                host: String::new(),
                sequence,
                closure: None,
                published,
                expires,
                warn_after,
                checked: None,
                problem: None,
            };
            assert_eq!(status.stale(NOW), expected, "{status:?}");
        }
    }

    #[test]
    fn a_status_of_an_earlier_agent_is_read() {
        let text = r#"{"cache":"c","host":"h","sequence":7,"closure":null,"checked":1,"problem":null}"#;
        let status: PullStatus = serde_json::from_str(text).unwrap();
        assert_eq!((status.published, status.age(10)), (None, Some(3)));
    }

    #[test]
    fn a_span_has_one_unit() {
        for (seconds, expected) in
            [(0, "0 seconds"), (60, "1 minute"), (7_199, "1 hour"), (172_800, "2 days"), (3_000_000, "34 days")]
        {
            assert_eq!(span(seconds), expected);
        }
    }
}
