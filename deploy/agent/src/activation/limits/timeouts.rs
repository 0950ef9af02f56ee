//! How long systemd waits for a unit to start and to stop.
//!
//! For a unit of a closure its text says so (`systemd.service(5)`, `TimeoutStartSec=` and the keys
//! beside it). For a unit of the host there may be drop-ins as well, so systemd is asked.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// systemd's own limit, where a unit names none (`DefaultTimeoutStartSec=`).
pub const SYSTEMD_DEFAULT: Duration = Duration::from_secs(90);
/// A systemd that answers takes some milliseconds.
const ANSWERS: Duration = Duration::from_secs(10);

/// Start and stop timeouts of a unit; `None` where systemd waits without end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    pub start: Option<Duration>,
    pub stop: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { start: Some(SYSTEMD_DEFAULT), stop: Some(SYSTEMD_DEFAULT) }
    }
}

impl Timeouts {
    /// As the text of a unit says; systemd's own where it says nothing that systemd understands.
    pub fn of_unit(text: &str) -> Self {
        let (mut start, mut stop, mut oneshot) = (None, None, false);
        for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
            let span = || match value.trim() {
                // An empty value takes back what was said before, and 0 means no limit.
                "" => None,
                value => span(value).map(|span| span.filter(|span| !span.is_zero())),
            };
            match key.trim() {
                "TimeoutStartSec" => start = span(),
                "TimeoutStopSec" => stop = span(),
                "TimeoutSec" => (start, stop) = (span(), span()),
                "Type" => oneshot = value.trim() == "oneshot",
                _ => {}
            }
        }
        let default = if oneshot { None } else { Some(SYSTEMD_DEFAULT) };
        Self { start: start.unwrap_or(default), stop: stop.unwrap_or(Some(SYSTEMD_DEFAULT)) }
    }

    /// What systemd says of units of the host. Those of which it says nothing in time are missing.
    pub fn of_host(units: &[String]) -> BTreeMap<String, Self> {
        if units.is_empty() {
            return BTreeMap::new();
        }
        let mut command = Command::new("systemctl");
        command.args(["--no-ask-password", "show", "--property=Id,TimeoutStartUSec,TimeoutStopUSec,TimeoutUSec", "--"]);
        command.args(units).env("LC_ALL", "C");
        // In the order in which they were asked for, under whatever name systemd has them.
        let shown = output_within(command, ANSWERS).unwrap_or_default();
        units.iter().cloned().zip(shown.split("\n\n").map(Self::of_properties)).collect()
    }

    /// The paragraph of one unit. Sockets and mounts have one limit for both.
    fn of_properties(paragraph: &str) -> Self {
        let value = |key: &str| paragraph.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let limit = |key| value(key).or_else(|| value("TimeoutUSec")).and_then(span).unwrap_or(Some(SYSTEMD_DEFAULT));
        Self { start: limit("TimeoutStartUSec"), stop: limit("TimeoutStopUSec") }
    }
}

/// The output of a program that ends in time; one that does not is left to end by itself.
fn output_within(mut command: Command, limit: Duration) -> Option<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output();
        // Nothing waits for it any more if it was too slow.
        let _ = sender.send(output);
    });
    let output = receiver.recv_timeout(limit).ok()?.ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A span of time as systemd writes and reads it (`systemd.time(7)`): `90`, `1min 30s`, `1.5h`,
/// `infinity`. The outer `None` if it is not one, the inner for `infinity`.
fn span(text: &str) -> Option<Option<Duration>> {
    let mut rest = text.trim();
    if rest == "infinity" {
        return Some(None);
    }
    let mut sum = Duration::ZERO;
    loop {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().ok()?;
        rest = rest[digits..].trim_start();
        let letters = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
        let seconds = match &rest[..letters] {
            "" | "s" | "sec" | "second" | "seconds" => 1.0,
            "us" | "µs" | "μs" | "usec" => 1e-6,
            "ms" | "msec" => 1e-3,
            "m" | "min" | "minute" | "minutes" => 60.0,
            "h" | "hr" | "hour" | "hours" => 3_600.0,
            "d" | "day" | "days" => 86_400.0,
            "w" | "week" | "weeks" => 7.0 * 86_400.0,
            "M" | "month" | "months" => 30.44 * 86_400.0,
            "y" | "year" | "years" => 365.25 * 86_400.0,
            _ => return None,
        };
        sum = sum.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = rest[letters..].trim_start();
        if rest.is_empty() {
            return Some(Some(sum));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_those_of_systemd() {
        for (text, millis) in [
            ("90", 90_000),
            ("1500ms", 1_500),
            ("5min", 300_000),
            ("1min 30s", 90_000),
            ("1min30s", 90_000),
            ("1.5h", 5_400_000),
            ("2 hours 1 sec", 7_201_000),
            ("20us", 0),
        ] {
            let found = span(text).flatten().map(|span| span.as_millis());
            assert_eq!(found, Some(millis), "{text}");
        }
        assert_eq!(span("infinity"), Some(None));
        for not_one in ["", "soon", "5 parsecs", "-3s", "1..5s", "s", "99999999999999999999y"] {
            assert_eq!(span(not_one), None, "{not_one}");
        }
    }

    #[test]
    fn timeouts_are_those_of_the_unit() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (text, start, stop) in [
            ("TimeoutStartSec=5s\nTimeoutStopSec=7\n", seconds(5), seconds(7)),
            ("[Service]\nType=exec\n", seconds(90), seconds(90)),
            ("TimeoutStartSec=soon\nTimeoutStopSec = 2min\n", seconds(90), seconds(120)),
            ("TimeoutSec=20min\n", seconds(1200), seconds(1200)),
            ("TimeoutSec=20min\nTimeoutStopSec=1\n", seconds(1200), seconds(1)),
            ("TimeoutStartSec=infinity\nTimeoutStopSec=0\n", None, None),
            ("TimeoutStartSec=5\nTimeoutStartSec=\n", seconds(90), seconds(90)),
            ("Type=oneshot\n", None, seconds(90)),
            ("Type=oneshot\nTimeoutStartSec=10min\n", seconds(600), seconds(90)),
        ] {
            assert_eq!(Timeouts::of_unit(text), Timeouts { start, stop }, "{text}");
        }
    }

    #[test]
    fn what_systemd_says_of_units_is_understood() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (paragraph, start, stop) in [
            ("TimeoutStartUSec=1min 30s\nTimeoutStopUSec=5min\nId=nginx.service\n", seconds(90), seconds(300)),
            ("TimeoutStartUSec=infinity\nTimeoutStopUSec=1min 30s\nId=once.service\n", None, seconds(90)),
            ("TimeoutUSec=2min\nId=nginx.socket\n", seconds(120), seconds(120)),
            ("Id=x.service\n", seconds(90), seconds(90)),
        ] {
            assert_eq!(Timeouts::of_properties(paragraph), Timeouts { start, stop }, "{paragraph}");
        }
    }

    #[test]
    fn a_program_that_does_not_end_is_not_waited_for() {
        let shell = |script: &str| {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", script]);
            command
        };
        assert_eq!(output_within(shell("echo yes"), Duration::from_secs(10)).as_deref(), Some("yes\n"));
        assert_eq!(output_within(shell("echo no; exit 3"), Duration::from_secs(10)), None);
        assert_eq!(output_within(shell("exec sleep 5"), Duration::from_millis(50)), None);
    }
}
