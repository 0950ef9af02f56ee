//! Requests from this computer, by h2load: over HTTP/1.1 connections that are kept, one request at a
//! time on each, and no compression asked for.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process::{Program, program};

/// Connections at once.
const CLIENTS: u32 = 48;
const WARM_UP: Duration = Duration::from_secs(2);

/// Answers a second when every connection asks again as soon as it is answered.
pub fn most(url: &str, time: Duration) -> Result<f64> {
    let said = h2load()
        .args([&format!("--warm-up-time={}", WARM_UP.as_secs()), &format!("--duration={}", time.as_secs())])
        .args([url])
        .output()?;
    all_good(&said)?;
    let rate =
        said.lines().find_map(|line| line.strip_prefix("finished in ")?.split(", ").nth(1)?.strip_suffix(" req/s"));
    rate.and_then(|rate| rate.parse().ok()).with_context(|| format!("h2load gave no rate:\n{said}"))
}

/// The time within which 99 of 100 requests are answered, when so many come a second, evenly:
/// whether or not the answer before has come, as long as connections are left.
pub fn p99(url: &str, rate: f64, time: Duration, log: &Path) -> Result<Duration> {
    let requests = rate * (WARM_UP + time).as_secs_f64();
    // Each connection begins when it is its turn, so that they do not all ask at once.
    let apart = (1000.0 / rate).max(1.0);
    if log.exists() {
        fs::remove_file(log)?;
    }
    let said = h2load()
        .args([&format!("--requests={}", requests as u64), &format!("--rps={}", rate / f64::from(CLIENTS))])
        .args(["--rate=1", &format!("--rate-period={}ms", apart as u64), "--log-file"])
        .args([log])
        .args([url])
        .output()?;
    all_good(&said)?;
    percentile(&fs::read_to_string(log)?, 0.99)
}

fn h2load() -> Program {
    program("h2load").args(["--h1", &format!("--clients={CLIENTS}")])
}

/// Anything but an answer with 2xx would be measured as a quick one.
fn all_good(said: &str) -> Result<()> {
    if said.contains(" 0 failed, 0 errored, 0 timeout") && said.contains(" 2xx, 0 3xx, 0 4xx, 0 5xx") {
        return Ok(());
    }
    bail!("some requests failed:\n{said}")
}

/// Of h2load's log: when a request was sent, the status, how long it took, in microseconds.
fn percentile(log: &str, part: f64) -> Result<Duration> {
    let mut rows = Vec::new();
    for line in log.lines() {
        let numbers: Vec<u64> = line.split('\t').filter_map(|field| field.parse().ok()).collect();
        let [sent, _, took] = numbers[..] else { bail!("a line of h2load's log is `{line}`") };
        rows.push((sent, took));
    }
    let first = rows.iter().map(|(sent, _)| *sent).min().context("h2load's log is empty")?;
    let warm = first + WARM_UP.as_micros() as u64;
    let mut times: Vec<u64> = rows.into_iter().filter(|(sent, _)| *sent >= warm).map(|(_, took)| took).collect();
    times.sort_unstable();
    let at = (times.len() as f64 * part) as usize;
    times.get(at).map(|took| Duration::from_micros(*took)).context("h2load's log is too short")
}
