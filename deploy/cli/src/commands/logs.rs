//! `deploy logs`: the journal of a service's units, of one or several hosts.

use std::io::{IsTerminal as _, Write as _};
use std::sync::mpsc;
use std::thread;

use anyhow::Result;
use cairn_closure::UnitName;
use cairn_fleet::{Fleet, FleetError};
use cairn_formats::StorePath;
use cairn_protocol::{LogLine, LogRequest};
use cairn_recipe::project::Host;
use serde::Serialize;

use super::of_service;
use crate::arguments::LogsOptions;
use crate::context::Context;
use crate::interrupt;

/// Without `--lines` and `--since`.
const LINES: u32 = 100;
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

pub fn run(context: &Context, options: &LogsOptions) -> Result<u8> {
    let project = context.project()?;
    let hosts = of_service::hosts(context, &project, &options.service, &options.hosts)?;
    let store = context.store()?;
    let agents = of_service::agents(context, &project, &store, &hosts)?;
    // Ctrl-C is for us, who then close what is open.
    let fleet = if options.follow { context.fleet_apart(&store)? } else { context.fleet(&store)? };
    let request = LogRequest {
        service: options.service.clone(),
        lines: options.lines.or(options.since.is_none().then_some(LINES)),
        since: options.since.as_deref().map(since),
        grep: options.grep.clone(),
        follow: options.follow,
    };
    let out = Output::new(context, &hosts);
    let failures = if options.follow {
        follow(&fleet, &hosts, &agents, &request, &out)?
    } else {
        merge(&fleet, &hosts, &agents, &request, &out)?
    };
    for failure in &failures {
        eprintln!("error: {failure}");
    }
    Ok(of_service::exit_code(failures.len(), hosts.len()))
}

/// `10m` is ten minutes ago; all else is for journalctl.
fn since(text: &str) -> String {
    let (number, unit) = text.split_at(text.len() - text.chars().next_back().map_or(0, char::len_utf8));
    let is_span = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) && "smhd".contains(unit);
    if is_span { format!("-{text}") } else { text.to_owned() }
}

/// All lines that there are, by time.
fn merge(
    fleet: &Fleet,
    hosts: &[Host],
    agents: &[StorePath],
    request: &LogRequest,
    out: &Output,
) -> Result<Vec<FleetError>> {
    let read = thread::scope(|scope| {
        let read = |host, agent| {
            let mut lines = Vec::new();
            fleet.logs(host, agent, request.clone(), &mut |line| lines.push(line)).map(|()| lines)
        };
        let threads: Vec<_> =
            hosts.iter().zip(agents).map(|(host, agent)| scope.spawn(move || read(host, agent))).collect();
        let join = |thread: thread::ScopedJoinHandle<_>| thread.join().unwrap_or_else(|p| std::panic::resume_unwind(p));
        threads.into_iter().map(join).collect::<Vec<Result<Vec<LogLine>, FleetError>>>()
    });
    let mut failures = Vec::new();
    let mut all: Vec<(usize, LogLine)> = Vec::new();
    for (host, lines) in read.into_iter().enumerate() {
        match lines {
            Ok(lines) => all.extend(lines.into_iter().map(|line| (host, line))),
            Err(error) => failures.push(error),
        }
    }
    // Lines of one host and moment stay in their order.
    all.sort_by_key(|(_, line)| line.at);
    for (host, line) in &all {
        if !out.line(*host, line)? {
            break;
        }
    }
    Ok(failures)
}

enum Came {
    Line(usize, LogLine),
    Ended(Result<(), FleetError>),
    Interrupted,
}

/// Lines as they come. Ctrl-C ends the program here, and with it the connections: each agent sees
/// that, and ends what it has started.
fn follow(
    fleet: &Fleet,
    hosts: &[Host],
    agents: &[StorePath],
    request: &LogRequest,
    out: &Output,
) -> Result<Vec<FleetError>> {
    let (tell, told) = mpsc::channel();
    let interrupted = tell.clone();
    interrupt::at_the_end(move || drop(interrupted.send(Came::Interrupted)))?;
    thread::scope(|scope| {
        for (at, (host, agent)) in hosts.iter().zip(agents).enumerate() {
            let tell = tell.clone();
            scope.spawn(move || {
                let ended = fleet.logs(host, agent, request.clone(), &mut |line| {
                    let _ = tell.send(Came::Line(at, line));
                });
                let _ = tell.send(Came::Ended(ended));
            });
        }
        let mut failures = Vec::new();
        let mut left = hosts.len();
        while left > 0 {
            match told.recv()? {
                Came::Line(host, line) if out.line(host, &line)? => {}
                // Whoever read has seen enough, or asked for the end.
                Came::Line(..) | Came::Interrupted => std::process::exit(0),
                Came::Ended(ended) => {
                    left -= 1;
                    failures.extend(ended.err());
                }
            }
        }
        Ok(failures)
    })
}

/// How lines are printed.
struct Output<'a> {
    hosts: Vec<&'a str>,
    width: usize,
    json: bool,
    coloured: bool,
}

impl<'a> Output<'a> {
    fn new(context: &Context, hosts: &'a [Host]) -> Self {
        let hosts: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
        Self {
            width: hosts.iter().map(|host| host.len()).max().unwrap_or(0),
            hosts,
            json: context.display.json,
            coloured: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        }
    }

    /// False if nobody reads any more.
    fn line(&self, host: usize, line: &LogLine) -> Result<bool> {
        let mut text = if self.json {
            serde_json::to_string(&Entry {
                host: self.hosts[host],
                time: time(line.at),
                unit: &line.unit,
                priority: line.priority,
                message: &line.message,
            })?
        } else {
            self.text(host, line)
        };
        text.push('\n');
        let mut out = std::io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
            other => Ok(other.map(|()| true)?),
        }
    }

    fn text(&self, host: usize, line: &LogLine) -> String {
        let name = format!("{:<width$}", self.hosts[host], width = self.width);
        let (name, end) = match self.coloured {
            true => (format!("\x1b[{}m{name}\x1b[0m", COLOURS[host % COLOURS.len()]), "\x1b[0m"),
            false => (name, ""),
        };
        let bold = if self.coloured && line.priority.is_some_and(|p| p <= ERROR) { "\x1b[1m" } else { "" };
        let end = if bold.is_empty() { "" } else { end };
        let prefix = format!("{name}  {}  {}  ", time(line.at), replica(&line.unit));
        let lines = line.message.trim_end_matches('\n').split('\n');
        lines.map(|text| format!("{prefix}{bold}{}{end}", visible(text))).collect::<Vec<_>>().join("\n")
    }
}

/// The replica's number, which is the last part of its unit's name.
fn replica(unit: &str) -> &str {
    let known = UnitName::parse(unit).ok().and_then(|unit| unit.service()).is_some();
    let number = unit.split('.').next().and_then(|name| name.rsplit('-').next());
    number.filter(|_| known).unwrap_or(unit)
}

/// What a service wrote must not move the cursor of whoever reads it.
fn visible(text: &str) -> String {
    let shown = |c: char| if c.is_control() && c != '\t' { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(shown).collect()
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
    fn a_span_is_time_ago_and_all_else_is_as_it_was() {
        for (text, expected) in
            [("10m", "-10m"), ("2h", "-2h"), ("yesterday", "yesterday"), ("", ""), ("m", "m"), ("5é", "5é")]
        {
            assert_eq!(since(text), expected);
        }
    }

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
        assert_eq!(out.text(0, &line), format!("{prefix}one\ttwo\\u{{1b}}[2J\n{prefix}three"));
        out.coloured = true;
        line.message = "x".to_owned();
        assert_eq!(out.text(1, &line), "\x1b[33mweb-1\x1b[0m  2026-11-18T11:06:40.123Z  2  \x1b[1mx\x1b[0m");
        assert_eq!(replica("init.scope"), "init.scope");
    }
}
