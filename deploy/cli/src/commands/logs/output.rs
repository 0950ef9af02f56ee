//! How lines of the journal are printed.

use anyhow::Result;
use cairn_closure::UnitName;
use cairn_protocol::LogLine;
use serde::Serialize;

use crate::terminal::{self, Stream, Style, Text};

/// One for each host, in turn (SGR codes).
const COLOURS: [u8; 6] = [36, 33, 32, 35, 34, 31];
/// Of syslog's priorities, the last that is an error.
const ERROR: u8 = 3;

#[derive(Serialize)]
struct Entry<'a> {
    host: &'a str,
    /// RFC 3339, in UTC.
    time: String,
    unit: &'a str,
    priority: Option<u8>,
    message: &'a str,
}

pub struct Output<'a> {
    hosts: Vec<&'a str>,
    width: usize,
    json: bool,
    coloured: bool,
}

impl<'a> Output<'a> {
    pub fn new(json: bool, hosts: Vec<&'a str>) -> Self {
        Self {
            width: hosts.iter().map(|host| host.len()).max().unwrap_or(0),
            hosts,
            json,
            coloured: Stream::Out.is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        }
    }

    /// False if nobody reads any more.
    pub fn line(&self, host: usize, line: &LogLine) -> Result<bool> {
        if !self.json {
            return Ok(terminal::result(self.text(host, line))?);
        }
        terminal::json(&Entry {
            host: self.hosts[host],
            time: time(line.at),
            unit: &line.unit,
            priority: line.priority,
            message: &line.message,
        })
    }

    fn text(&self, host: usize, line: &LogLine) -> Text {
        let name = format!("{:<width$}", self.hosts[host], width = self.width);
        let is_error = line.priority.is_some_and(|priority| priority <= ERROR);
        let mut text = Text::default();
        for (number, message) in line.message.trim_end_matches('\n').split('\n').enumerate() {
            if number > 0 {
                text.push("\n");
            }
            match self.coloured {
                true => text.push(Text::styled(Style::Colour(COLOURS[host % COLOURS.len()]), &name)),
                false => text.push(name.as_str()),
            }
            text.push(format!("  {}  ", time(line.at)));
            text.push(Text::line(replica(&line.unit)));
            text.push("  ");
            match self.coloured && is_error {
                true => text.push(Text::styled(Style::Bold, message)),
                false => text.push(message),
            }
        }
        text
    }
}

/// The replica's number, which is the last part of its unit's name.
fn replica(unit: &str) -> &str {
    let known = UnitName::parse(unit).ok().and_then(|unit| unit.service()).is_some();
    let number = unit.split('.').next().and_then(|name| name.rsplit('-').next());
    number.filter(|_| known).unwrap_or(unit)
}

/// Microseconds since 1970 as RFC 3339, to the millisecond.
fn time(at: u64) -> String {
    let seconds = cairn_fleet::rfc3339(i64::try_from(at / 1_000_000).unwrap_or(i64::MAX));
    format!("{}.{:03}Z", seconds.trim_end_matches('Z'), at / 1000 % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_aligned_and_harmless() {
        let mut out = Output { hosts: vec!["a", "web-1"], width: 5, json: false, coloured: false };
        let mut line = LogLine {
            at: 1_795_000_000_123_456,
            unit: "cairn-api-0123456789ab-2.service".to_owned(),
            priority: Some(3),
            message: "one\ttwo\x1b[2J\nthree\n".to_owned(),
        };
        let prefix = "a      2026-11-18T11:06:40.123Z  2  ";
        assert_eq!(out.text(0, &line).as_str(), format!("{prefix}one\ttwo\\u{{1b}}[2J\n{prefix}three"));
        out.coloured = true;
        line.message = "x".to_owned();
        assert_eq!(out.text(1, &line).as_str(), "\x1b[33mweb-1\x1b[0m  2026-11-18T11:06:40.123Z  2  \x1b[1mx\x1b[0m");
        assert_eq!(replica("init.scope"), "init.scope");
    }
}
