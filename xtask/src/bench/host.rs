//! Switching a machine of this computer: with nothing changed, near and far, and with one line changed.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use super::machine::Machine;
use super::measure::{in_turn, ratio, seconds};
use super::{Bench, Row, json};

const RUNS: usize = 11;
const HOST: &str = "bench";

const TRIPS: [(u64, &str); 3] = [
    (0, "the same over SSH, round trip 0 ms"),
    (50, "the same over SSH, round trip 50 ms"),
    (150, "the same over SSH, round trip 150 ms"),
];

pub fn rows(bench: &Bench) -> Result<Vec<Row>> {
    fs::copy(bench.project.join("hosts/local.toml"), definition(bench))?;
    bench.deploy(&["switch", HOST, "--yes"]).output()?;
    let measured = switches(bench);
    bench.deploy(&["machine", "remove", HOST]).output()?;
    measured
}

fn definition(bench: &Bench) -> std::path::PathBuf {
    bench.project.join(format!("hosts/{HOST}.toml"))
}

fn switches(bench: &Bench) -> Result<Vec<Row>> {
    let machine = Machine::find(bench, HOST)?;
    let switch = || bench.deploy(&["switch", HOST, "--yes"]).output().map(drop);
    let peer = || machine.ssh("true").output().map(drop);
    let mut rows = vec![unchanged("switch with nothing changed", switch, peer)?];

    // The same machine, as one that is further away.
    let (line, way) = machine.line()?;
    let near = fs::read_to_string(definition(bench))?;
    fs::write(definition(bench), near.replacen("\n[machine]\n", &format!("\n{}", way.section()), 1))?;
    for (trip, what) in TRIPS {
        line.set_round_trip(Duration::from_millis(trip));
        rows.push(unchanged(what, switch, || way.ssh("true").output().map(drop))?);
    }
    fs::write(definition(bench), near)?;

    bench.change_a_line()?;
    let switched = bench.deploy(&["switch", HOST, "--yes", "--json"]).output()?;
    let sent = json::number(&switched, "bytes_sent").context("the switch told no size")?;
    rows.push(Row {
        what: "one line of the app changed: sent to the host",
        ours: format!("{:.1} KiB", sent as f64 / 1024.0),
        peer: String::new(),
    });
    Ok(rows)
}

fn unchanged(what: &'static str, ours: impl Fn() -> Result<()>, peer: impl Fn() -> Result<()>) -> Result<Row> {
    let [ours, peer] = in_turn(RUNS, || Ok(()), [&ours, &peer])?;
    let peer = format!("{}, `ssh HOST true` ({})", seconds(peer), ratio(ours, peer));
    Ok(Row { what, ours: seconds(ours), peer })
}
