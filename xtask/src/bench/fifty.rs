//! Fifty hosts at once: what each takes of our processors, against one host alone, and whether the
//! time goes by in work or in waiting.
//!
//! The hosts are SSH servers with a store each, 50 ms away. That many machines with a systemd each
//! need more inotify instances than a kernel gives to one user (128), and what systemd does for a
//! switch is no part of the question. Each is given the generation that a switch would have made,
//! so that `deploy switch` finds nothing to do; what changed is brought by `deploy copy`.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::delay::Line;
use super::measure::{mebibytes, middle, milliseconds, peaks, remove, seconds};
use super::server::Server;
use super::{Bench, Row, files};

const FLEET: &str = "bench-fifty";
const HOSTS: u32 = 50;
const RUNS: usize = 11;
const TRIP: Duration = Duration::from_millis(50);
/// What each host has beside the agent.
const BYTES: u64 = 12_000_000;

pub fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let folder = files::image(bench, FLEET, files::USER)?;
    for (number, file) in files::contents(bench, BYTES)?.iter().enumerate() {
        fs::copy(file, folder.join(number.to_string()))?;
    }
    fs::write(files::changed(bench, FLEET), "none yet")?;
    fs::create_dir_all(bench.project.join("hosts").join(FLEET))?;
    let (mut servers, mut lines) = (Vec::new(), Vec::new());
    for number in 1..=HOSTS {
        let server = Server::start(bench.dir.join("servers").join(number.to_string()))?;
        let line = Line::to(server.address())?;
        line.set_round_trip(TRIP);
        let host = format!("{FLEET}/{number}");
        files::host(bench, &host, &[FLEET.to_owned()], &server.way()?.over(&line))?;
        servers.push(server);
        lines.push(line);
    }
    let [cli] = peaks(["deploy"], || bench.deploy(&["copy", FLEET]).output().map(drop))?;
    for (number, server) in (1..).zip(&servers) {
        server.commit(&bench.closure(&format!("{FLEET}-{number}"))?)?;
    }

    let one = format!("{FLEET}-1");
    let switch = |host: &str| Taken::by(bench, &["switch", host, "--yes"]);
    let copy = |host: &str| {
        bench.stamp(&files::changed(bench, FLEET))?;
        Taken::by(bench, &["copy", host])
    };
    let rows = vec![
        row("50 hosts 50 ms away, nothing changed: processor time of `deploy` a host", &switch, &one)?,
        row("the same, one changed file copied", &copy, &one)?,
        Row { what: "memory of `deploy`, a cold copy to 50 hosts", ours: mebibytes(cli), peer: String::new() },
    ];
    drop((lines, servers));
    remove(&bench.dir.join("servers"))?;
    Ok(rows)
}

/// What one run took.
#[derive(Clone, Copy)]
struct Taken {
    wall: Duration,
    /// Of `deploy` and of the `ssh` that it starts.
    processor: Duration,
    /// Share of this computer's processors that were not idle, in percent.
    busy: u64,
}

impl Taken {
    fn by(bench: &Bench, arguments: &[&str]) -> Result<Self> {
        let (began, before) = (Instant::now(), Load::now()?);
        let processor = bench.processor_time(arguments)?;
        let (wall, after) = (began.elapsed(), Load::now()?);
        let busy = (after.busy - before.busy) * 100 / (after.all - before.all).max(1);
        Ok(Self { wall, processor, busy })
    }
}

/// Time of all processors since the boot, in ticks.
struct Load {
    busy: u64,
    all: u64,
}

impl Load {
    /// The first line of `/proc/stat` (proc(5)): user, nice, system, idle, iowait and others.
    fn now() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat")?;
        let line = text.lines().next().unwrap_or_default();
        let ticks: Vec<u64> = line.split_whitespace().skip(1).take(8).filter_map(|field| field.parse().ok()).collect();
        let all: u64 = ticks.iter().sum();
        let idle: u64 = ticks.iter().skip(3).take(2).sum();
        Ok(Self { busy: all - idle, all })
    }
}

fn row(what: &'static str, work: &dyn Fn(&str) -> Result<Taken>, one: &str) -> Result<Row> {
    let (mut alone, mut together) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        alone.push(work(one)?.processor);
        together.push(work(FLEET)?);
    }
    let alone = middle(alone);
    let each = middle(together.iter().map(|taken| taken.processor).collect()) / HOSTS;
    let wall = middle(together.iter().map(|taken| taken.wall).collect());
    let busy = middle(together.iter().map(|taken| taken.busy).collect());
    let ratio = each.as_secs_f64() / alone.as_secs_f64();
    Ok(Row {
        what,
        ours: format!("{}; all in {}, processors {busy} % busy", milliseconds(each), seconds(wall)),
        peer: format!("{}, one host alone ({ratio:.2}×)", milliseconds(alone)),
    })
}
