//! How long a request to a host may take, and how much the host may answer.
//!
//! A host is not trusted with the operator's computer: a compromised one could answer for ever, or
//! not at all, and a rollout over many hosts would hang on it or run out of memory. An agent sends no
//! sign of life while it works, and one that is older than the client never will, so silence alone
//! cannot be held against it for long. Hence three kinds of requests:
//!
//! | kind | silence | in all | for |
//! |---|---|---|---|
//! | question | 2 min | 10 min | what the host has at hand, or asks its services for (5 s each) |
//! | work | 1 h | 24 h | deletes or copies files, stops services, searches the journal |
//! | activation | 24 h | 7 days | tasks, health and draining take what the definition allows, without a word |
//!
//! 10 minutes are enough for the largest answer (4 MiB) at 7 KiB/s. A copy shows its progress by the
//! bytes that it sends: it may be silent for 10 minutes, and must be faster than 1 KiB/s on average.
//! Events of a request are bounded in number and bytes; a task that writes a million lines within
//! one activation is broken, or hostile.
//!
//! Following logs (`deploy logs -f`) has no limit: it ends when the operator ends it, and holds nothing.

use std::time::Duration;

use cairn_protocol::Request;

/// The limits of all kinds of requests. Tests make them small.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// From the start of `ssh` until the agent has said hello, with the agent sent along.
    pub opening: Duration,
    /// Silence of a question. It may take five times as long in all.
    pub question: Duration,
    /// Silence of work. It may take 24 times as long in all.
    pub work: Duration,
    /// Silence of an activation. It may take seven times as long in all.
    pub activation: Duration,
    /// Silence while store paths are copied: hosts check a path of some gigabytes, and slow lines empty
    /// their buffers, in less.
    pub copy: Duration,
    /// Bytes per second that a copy must reach on average, after [`Limits::work`].
    pub slowest: u64,
    /// Events of one request.
    pub events: u64,
    /// Bytes of the events of one request and of its response.
    pub bytes: u64,
    /// Lines of a journal, when the operator has named no number.
    pub log_lines: u64,
    /// Bytes of these.
    pub log_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            opening: Duration::from_secs(2 * 3600),
            question: Duration::from_secs(120),
            work: Duration::from_secs(3600),
            activation: Duration::from_secs(24 * 3600),
            copy: Duration::from_secs(600),
            slowest: 1 << 10,
            events: 1_000_000,
            bytes: 1 << 30,
            log_lines: 20_000_000,
            log_bytes: 16 << 30,
        }
    }
}

/// Time that may pass. `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TimeLimit {
    /// Without a byte in either direction.
    pub silence: Option<Duration>,
    pub total: Option<Duration>,
}

/// What one request may cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bound {
    /// The request, for messages.
    pub request: &'static str,
    pub time: TimeLimit,
    pub events: u64,
    pub bytes: u64,
    /// What to do when the host sends more.
    pub advice: &'static str,
}

/// For a host that sends more than any honest agent does.
const SUSPECT: &str =
    "no agent of this project does that: look at the host before you use it again, it may be compromised";
/// For a journal that is too long.
const NARROW: &str = "ask for less: `-n 1000` for the last lines, `--since 1h` for the newest, or `--grep`";
/// For a host that sends more lines than were asked for.
const UNASKED: &str =
    "that is more than `-n` asked for: look at the host before you use it again, it may be compromised";

impl Limits {
    /// What this request may cost.
    pub(crate) fn of(&self, request: &Request) -> Bound {
        let question = self.within(self.question, 5);
        let work = self.within(self.work, 24);
        let activation = self.within(self.activation, 7);
        let (name, time) = match request {
            Request::Missing { .. } => ("missing", question),
            Request::KeepSecrets { .. } => ("keep-secrets", question),
            Request::HoldFleet { .. } => ("hold-fleet", question),
            Request::StillHere => ("still-here", question),
            Request::Generations => ("generations", question),
            Request::Status => ("status", question),
            Request::History { .. } => ("history", question),
            Request::Read(_) => ("read", question),
            Request::Lock => ("lock", question),
            Request::Copy(_) => ("copy", work),
            Request::Pin { .. } => ("pin", work),
            Request::Collect { .. } => ("collect", work),
            Request::Maintenance(_) => ("maintenance", work),
            Request::Install { .. } => ("install", work),
            Request::Adopt(_) => ("adopt", work),
            Request::Uninstall(_) => ("uninstall", work),
            // Hashes every file of the store without a word.
            Request::Examine(examination) if examination.verify => ("examine", activation),
            Request::Examine(_) => ("examine", work),
            Request::Switch(_) => ("switch", activation),
            Request::Rollback { .. } => ("rollback", activation),
            Request::Confirm { .. } => ("confirm", activation),
            Request::Follow { .. } => ("follow", activation),
            Request::Revert { .. } => ("revert", activation),
            Request::Unlock { .. } => ("unlock", activation),
            Request::Restart(_) => ("restart", activation),
            Request::Logs(_) => ("logs", TimeLimit { silence: Some(self.work), total: None }),
        };
        let bound = Bound { request: name, time, events: self.events, bytes: self.bytes, advice: SUSPECT };
        match request {
            Request::Logs(logs) if logs.follow => {
                Bound { time: TimeLimit::default(), events: u64::MAX, bytes: u64::MAX, ..bound }
            }
            Request::Logs(logs) => {
                let (events, advice) = match logs.lines {
                    Some(lines) => (lines.into(), UNASKED),
                    None => (self.log_lines, NARROW),
                };
                Bound { events, bytes: self.log_bytes, advice, ..bound }
            }
            _ => bound,
        }
    }

    /// A copy of so many bytes.
    pub(crate) fn of_copy(&self, bytes: u64) -> TimeLimit {
        let sent = Duration::from_secs(bytes / self.slowest.max(1));
        TimeLimit { silence: Some(self.copy), total: Some(self.work.saturating_add(sent)) }
    }

    fn within(&self, silence: Duration, times: u32) -> TimeLimit {
        TimeLimit { silence: Some(silence), total: Some(silence.saturating_mul(times)) }
    }
}

#[cfg(test)]
mod tests {
    use cairn_protocol::LogRequest;

    use super::*;

    #[test]
    fn each_kind_of_request_has_its_limits() {
        let limits = Limits::default();
        let seconds =
            |bound: &Bound| [bound.time.silence, bound.time.total].map(|time| time.map(|time| time.as_secs()));
        let logs = |lines, follow| Request::Logs(LogRequest { lines, follow, ..LogRequest::default() });
        let hour = 3600;
        for (request, expected, events) in [
            (Request::Status, [Some(120), Some(600)], 1_000_000),
            (Request::Unlock { operator: String::new() }, [Some(24 * hour), Some(7 * 24 * hour)], 1_000_000),
            (
                Request::Pin { number: 1, pinned: true, operator: String::new() },
                [Some(hour), Some(24 * hour)],
                1_000_000,
            ),
            (logs(Some(100), false), [Some(hour), None], 100),
            (logs(None, false), [Some(hour), None], 20_000_000),
            (logs(Some(100), true), [None, None], u64::MAX),
        ] {
            let bound = limits.of(&request);
            assert_eq!((seconds(&bound), bound.events), (expected, events), "{}", bound.request);
        }
    }

    #[test]
    fn a_copy_may_take_long_if_it_goes_on() {
        let limit = Limits::default().of_copy(8 << 30);
        assert_eq!(limit.silence, Some(Duration::from_secs(600)));
        assert!(limit.total > Some(Duration::from_secs(90 * 24 * 3600)), "8 GiB over any line");
        assert_eq!(Limits::default().of_copy(0).total, Some(Duration::from_secs(3600)));
    }
}
