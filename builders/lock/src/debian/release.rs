//! The content of an InRelease file: who the suite is, how long it holds, hashes of its indexes.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use cairn_formats::Sha256;

use super::date;
use super::stanza::Stanza;

/// A machine's clock may be this far behind.
const CLOCK_SKEW: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    pub origin: Option<String>,
    pub label: Option<String>,
    pub suite: Option<String>,
    pub codename: Option<String>,
    /// As written.
    pub date: String,
    pub valid_until: Option<String>,
    /// Indexes are also found under their hash, where a mirror in mid-update has old and new.
    pub by_hash: bool,
    /// Path below `dists/SUITE/` to hash and size in bytes.
    pub files: BTreeMap<String, (Sha256, u64)>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseFault {
    #[error("field `{field}` is missing")]
    Missing { field: &'static str },
    #[error("field `{field}` is `{value}`, which is not a date in UTC as in `Sat, 11 Jul 2026 10:16:37 UTC`")]
    Date { field: &'static str, value: String },
    #[error("field `SHA256` has the line `{line}`, which is not a hash, a size and a path")]
    Checksum { line: String },
}

/// How the release stands to the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    Current,
    Stale,
    /// Dated in the future.
    NotYet,
}

impl Release {
    pub fn parse(text: &str) -> Result<Self, ReleaseFault> {
        let stanza = Stanza::first(text);
        let field = |name: &str| stanza.get(name).map(str::to_owned);
        let release = Self {
            origin: field("Origin"),
            label: field("Label"),
            suite: field("Suite"),
            codename: field("Codename"),
            date: field("Date").ok_or(ReleaseFault::Missing { field: "Date" })?,
            valid_until: field("Valid-Until"),
            by_hash: stanza.get("Acquire-By-Hash") == Some("yes"),
            files: parse_files(stanza.get("SHA256").ok_or(ReleaseFault::Missing { field: "SHA256" })?)?,
        };
        release.times()?;
        Ok(release)
    }

    /// Whether it is the suite that was asked for, by either of its names.
    pub fn is(&self, suite: &str) -> bool {
        self.suite.as_deref() == Some(suite) || self.codename.as_deref() == Some(suite)
    }

    /// Whether it says that it belongs to this archive of Debian. Backports say so in their own way.
    pub fn is_of(&self, archive: &str) -> bool {
        let (origin, label) = (self.origin.as_deref(), self.label.as_deref());
        match archive {
            "debian-security" => origin == Some("Debian") && label == Some("Debian-Security"),
            _ => origin == label && matches!(origin, Some("Debian" | "Debian Backports")),
        }
    }

    pub fn age(&self, now: SystemTime) -> Result<Age, ReleaseFault> {
        let (date, valid_until) = self.times()?;
        Ok(match valid_until {
            _ if date > now + CLOCK_SKEW => Age::NotYet,
            Some(end) if end < now => Age::Stale,
            _ => Age::Current,
        })
    }

    fn times(&self) -> Result<(SystemTime, Option<SystemTime>), ReleaseFault> {
        let parse = |field, value: &String| {
            date::parse(value).ok_or_else(|| ReleaseFault::Date { field, value: value.chars().take(60).collect() })
        };
        let valid_until = self.valid_until.as_ref().map(|v| parse("Valid-Until", v)).transpose()?;
        Ok((parse("Date", &self.date)?, valid_until))
    }
}

fn parse_files(field: &str) -> Result<BTreeMap<String, (Sha256, u64)>, ReleaseFault> {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let hash = Sha256::from_hex(words.next()?).ok()?;
        let size = words.next()?.parse().ok()?;
        let path = words.next()?;
        words.next().is_none().then(|| (path.to_owned(), (hash, size)))
    };
    field
        .lines()
        .filter(|l| !l.trim().is_empty())
        .map(|l| line(l).ok_or_else(|| ReleaseFault::Checksum { line: l.trim().chars().take(120).collect() }))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TEXT: &str = "Origin: Debian\nSuite: oldstable\nCodename: bookworm\nDate: Sat, 11 Jul 2026 10:16:37 UTC\n\
        Valid-Until: Sat, 18 Jul 2026 10:16:37 UTC\nAcquire-By-Hash: yes\nMD5Sum:\n abc 1 main/x\nSHA256:\n \
        e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855    0 main/binary-amd64/Packages\n";

    #[test]
    fn fields_are_read() {
        let release = Release::parse(TEXT).unwrap();
        assert!(release.is("oldstable") && release.is("bookworm") && !release.is("stable") && release.by_hash);
        assert_eq!(release.files["main/binary-amd64/Packages"], (Sha256::of(b""), 0));
    }

    #[test]
    fn origin_and_label_say_whose_archive_it_is() {
        for (origin, label, archive) in [
            ("Debian", "Debian", "debian"),
            ("Debian Backports", "Debian Backports", "debian"),
            ("Debian", "Debian-Security", "debian-security"),
            ("Docker", "Docker CE", "none"),
            ("packages.gitlab.com/runner/gitlab-runner", "gitlab-runner", "none"),
            ("Debian", "gitlab-runner", "none"),
            ("Docker", "Debian-Security", "none"),
            ("debian", "debian", "none"),
        ] {
            let text = TEXT.replacen("Origin: Debian", &format!("Origin: {origin}\nLabel: {label}"), 1);
            let release = Release::parse(&text).unwrap();
            for asked in ["debian", "debian-security"] {
                assert_eq!(release.is_of(asked), asked == archive, "{origin} {label} {asked}");
            }
        }
        let silent = Release::parse(&TEXT.replacen("Origin: Debian\n", "", 1)).unwrap();
        assert!(!silent.is_of("debian") && !silent.is_of("debian-security"));
    }

    #[test]
    fn the_clock_decides_what_it_is_worth() {
        let release = Release::parse(TEXT).unwrap();
        for (now, age) in [
            ("Sat, 11 Jul 2026 10:16:37 UTC", Age::Current),
            ("Sat, 18 Jul 2026 10:16:37 UTC", Age::Current),
            ("Sat, 18 Jul 2026 10:16:38 UTC", Age::Stale),
            ("Fri, 10 Jul 2026 10:16:38 UTC", Age::Current),
            ("Thu, 09 Jul 2026 10:16:38 UTC", Age::NotYet),
        ] {
            assert_eq!(release.age(date::parse(now).unwrap()).unwrap(), age, "{now}");
        }
        let endless = Release { valid_until: None, ..release };
        assert_eq!(endless.age(date::parse("Mon, 01 Jan 2040 00:00:00 UTC").unwrap()).unwrap(), Age::Current);
    }

    #[test]
    fn damaged_fields_are_refused() {
        for (from, to) in [
            ("Date: Sat, 11 Jul 2026 10:16:37 UTC\n", ""),
            ("Date: Sat, 11 Jul 2026 10:16:37 UTC", "Date: yesterday"),
            ("Valid-Until: Sat,", "Valid-Until: next Sat,"),
            ("SHA256:", "SHA1:"),
            ("    0 main", "    -1 main"),
            ("e3b0c4", "zzzzzz"),
        ] {
            assert!(TEXT.contains(from) && Release::parse(&TEXT.replacen(from, to, 1)).is_err(), "{from} {to}");
        }
    }
}
