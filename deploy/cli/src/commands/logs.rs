//! `deploy logs`: the journal of a service's units, of one or several hosts.

mod merge;
mod output;

use std::sync::mpsc;
use std::thread;

use anyhow::Result;
use cairn_fleet::{Fleet, FleetError};
use cairn_formats::StorePath;
use cairn_protocol::{LogLine, LogRequest};
use cairn_recipe::project::Host;

use super::of_service;
use crate::arguments::LogsOptions;
use crate::context::Context;
use crate::{display, interrupt};
use output::Output;

/// Without `--lines` and `--since`.
const LINES: u32 = 100;
/// Lines that have come and are not printed yet, while they are followed.
const WAITING: usize = 256;

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
    let out = Output::new(context.display.json, hosts.iter().map(|host| host.name.as_str()).collect());
    let failures = if options.follow {
        follow(&fleet, &hosts, &agents, &request, &out)?
    } else {
        merge(&fleet, &hosts, &agents, &request, &out)?
    };
    for failure in &failures {
        display::failure(failure);
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
    thread::scope(|scope| {
        let (mut threads, mut received) = (Vec::new(), Vec::new());
        for (host, agent) in hosts.iter().zip(agents) {
            let (lines, of_host) = mpsc::sync_channel(merge::AHEAD);
            received.push(of_host);
            threads.push(scope.spawn(move || {
                // Lines that are not printed any more need not be sent.
                fleet.logs(host, agent, request.clone(), &mut |line| drop(lines.send(line)))
            }));
        }
        if !merge::by_time(&received, |host, line| out.line(host, line))? {
            // The reader has seen enough, and the hosts may have more.
            std::process::exit(0);
        }
        let join = |thread: thread::ScopedJoinHandle<Result<(), FleetError>>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        Ok(threads.into_iter().filter_map(|thread| join(thread).err()).collect())
    })
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
    let (tell, told) = mpsc::sync_channel(WAITING);
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
}
