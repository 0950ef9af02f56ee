//! The whole stack on a machine of this computer: what it answers, how long a changed value takes,
//! and what memory it needs. The peer is the same API started by hand on the same machine.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use super::machine::Machine;
use super::measure::{mebibytes, milliseconds, ratio, seconds, timed};
use super::{Bench, Row, by_hand, json, load};

const HOST: &str = "bench-stack";
/// From the database in every request; nobody keeps the answer.
const READ: &str = "/api/v1/tours/camino-last-100/availability";
/// All tours, which Redis keeps for a while.
const KEPT: &str = "/api/v1/tours";
const RUNS: usize = 5;
/// The slowest requests are few, and whatever else the computer does is among them.
const SLOWEST_RUNS: usize = 15;
const TIME: Duration = Duration::from_secs(4);

pub fn rows(bench: &Bench) -> Result<Vec<Row>> {
    define(bench, 30)?;
    let measured = measure(bench);
    bench.deploy(&["machine", "remove", HOST]).output()?;
    measured
}

fn measure(bench: &Bench) -> Result<Vec<Row>> {
    bench.deploy(&["switch", HOST, "--yes"]).output()?;
    let machine = Machine::find(bench, HOST)?;
    let mut rows = loads(bench, &machine)?;
    rows.push(idle(&machine)?);
    rows.push(value(bench, &machine)?);
    Ok(rows)
}

/// As `local`, for clients that ask more than one person would.
fn define(bench: &Bench, cache_seconds: usize) -> Result<()> {
    let text = format!(
        "include = [\"local.toml\"]\n\n\
         [config.api]\nCACHE_TTL = \"{cache_seconds}s\"\n\
         RATE_LIMIT_API = \"1000000/second\"\nRATE_LIMIT_AUTH = \"1000/minute\"\n\n\
         [services.proxy.settings.limits]\nexempt = [\"10.0.0.0/8\"]\n"
    );
    Ok(fs::write(bench.project.join(format!("hosts/{HOST}.toml")), text)?)
}

/// Requests a second, and how long they take at half of that.
fn loads(bench: &Bench, machine: &Machine) -> Result<Vec<Row>> {
    let ours = |path: &str| format!("https://{}:8443{path}", machine.address);
    let by_hand = by_hand::start(machine)?;
    let peer = |path: &str| format!("{}{path}", by_hand.proxied);
    let log = bench.dir.join("h2load.log");

    let most = |path: &str| in_turn(RUNS, |url| load::most(url, TIME), &ours(path), &peer(path));
    let (read, peer_read) = most(READ)?;
    let (kept, peer_kept) = most(KEPT)?;
    let (bare, peer_bare) =
        in_turn(RUNS, |url| load::most(url, TIME), &ours(KEPT), &format!("{}{KEPT}", by_hand.direct))?;
    let half = read / 2.0;
    let p99 = |url: &str| load::p99(url, half, TIME, &log);
    let (slow, peer_slow) = in_turn(SLOWEST_RUNS, p99, &ours(READ), &peer(READ))?;
    by_hand::stop(machine)?;

    let against = |ours: f64, peer: f64, what: &str| format!("{peer:.0}, {what} ({:.2}×)", ours / peer);
    let both = "nginx and Gunicorn started by hand";
    Ok(vec![
        Row {
            what: "API requests a second, HTTPS: read from the database",
            ours: format!("{read:.0}"),
            peer: against(read, peer_read, both),
        },
        Row { what: "the same, kept by Redis", ours: format!("{kept:.0}"), peer: against(kept, peer_kept, both) },
        Row {
            what: "the same, against no proxy at all",
            ours: format!("{bare:.0}"),
            peer: against(bare, peer_bare, "Gunicorn started by hand, HTTP"),
        },
        Row {
            what: "99 of 100 reads are answered within, at half that load",
            ours: milliseconds(slow),
            peer: format!("{}, started by hand ({})", milliseconds(peer_slow), ratio(slow, peer_slow)),
        },
    ])
}

/// Medians of both, measured in turn. Each measurement warms up by itself.
fn in_turn<T: PartialOrd + Copy>(
    runs: usize,
    mut measure: impl FnMut(&str) -> Result<T>,
    ours: &str,
    peer: &str,
) -> Result<(T, T)> {
    let (mut of_ours, mut of_peer) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        of_ours.push(measure(ours)?);
        of_peer.push(measure(peer)?);
    }
    Ok((median(of_ours), median(of_peer)))
}

fn median<T: PartialOrd + Copy>(mut values: Vec<T>) -> T {
    values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    values[values.len() / 2]
}

/// A switch with another value of one variable, and what of its time the agent spent waiting.
fn value(bench: &Bench, machine: &Machine) -> Result<Row> {
    let (mut whole, mut health, mut jobs, mut beyond) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for n in 0..RUNS {
        define(bench, 31 + n)?;
        let took = timed(|| bench.deploy(&["switch", HOST, "--yes"]).output().map(drop))?;
        let waits = waits(&machine.events()?)?;
        whole.push(took);
        health.push(waits.health);
        jobs.push(waits.jobs);
        beyond.push(took.saturating_sub(waits.health));
    }
    let [whole, health, jobs, beyond] = [whole, health, jobs, beyond].map(|times| seconds(median(times)));
    Ok(Row {
        what: "switch with another value of one variable",
        ours: format!("{whole}: {health} until healthy, {beyond} else, of it {jobs} for task and check"),
        peer: String::new(),
    })
}

#[derive(Default)]
pub struct Waits {
    pub health: Duration,
    pub jobs: Duration,
}

/// Of an activation's events: from each question for health to the last good answer to it, and from
/// the start to the end of each task and check.
pub fn waits(events: &str) -> Result<Waits> {
    let mut waits = Waits::default();
    let (mut asked, mut answered, mut started) = (None, None, None);
    for line in events.lines() {
        let at = json::number(line, "at").with_context(|| format!("an event without a time: {line}"))?;
        let state = json::text(line, "state");
        if state == Some("healthy") {
            answered = Some(at);
            continue;
        }
        waits.health += between(asked.take(), answered.take());
        match state {
            Some("running") => started = Some(at),
            Some("done") => waits.jobs += between(started.take(), Some(at)),
            _ if json::text(line, "step") == Some("health") => asked = Some(at),
            _ => {}
        }
    }
    Ok(waits)
}

fn between(from: Option<u64>, to: Option<u64>) -> Duration {
    let both = from.zip(to);
    both.map_or(Duration::ZERO, |(from, to)| Duration::from_millis(to.saturating_sub(from)))
}

/// Proportional set sizes: what processes share is counted once. The kernel tells the sum without
/// the page cache, which it would give back, and without cgroups of memory, which not every
/// computer has.
fn idle(machine: &Machine) -> Result<Row> {
    let script = r#"for p in /proc/[0-9]*; do
        service=$(sed -n 's|.*/cairn-\([^/]*\)-[^-/]*-[0-9]*\.service$|\1|p' $p/cgroup 2>/dev/null | head -n 1)
        [ -z "$service" ] || sed -n "s/^Pss: */$service /p" $p/smaps_rollup
    done"#;
    std::thread::sleep(Duration::from_secs(5));
    let listed = machine.ssh(script).output()?;
    let mut services = BTreeMap::new();
    for line in listed.lines() {
        let mut words = line.split_whitespace();
        let (service, kibibytes) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let bytes = kibibytes.parse::<u64>().with_context(|| format!("no size in `{line}`"))? << 10;
        *services.entry(service).or_insert(0) += bytes;
    }
    let each: Vec<String> = services.iter().map(|(name, bytes)| format!("{name} {}", mebibytes(*bytes))).collect();
    Ok(Row {
        what: "memory of the whole idle stack (PSS)",
        ours: format!("{}: {}", mebibytes(services.values().sum()), each.join(", ")),
        peer: String::new(),
    })
}
