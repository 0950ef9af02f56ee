//! Switching a machine of this computer: with nothing changed, and with one line changed.

use std::fs;

use anyhow::{Context, Result};

use super::machine::Machine;
use super::measure::{median, ratio, seconds};
use super::{Bench, Row, json};

const RUNS: usize = 9;
const HOST: &str = "bench";

pub fn rows(bench: &Bench) -> Result<Vec<Row>> {
    fs::copy(bench.project.join("hosts/local.toml"), bench.project.join("hosts/bench.toml"))?;
    bench.deploy(&["switch", HOST, "--yes"]).output()?;
    let measured = switches(bench);
    bench.deploy(&["machine", "remove", HOST]).output()?;
    measured
}

fn switches(bench: &Bench) -> Result<Vec<Row>> {
    let ours = median(RUNS, || bench.deploy(&["switch", HOST, "--yes"]).output().map(drop))?;
    let machine = Machine::find(bench, HOST)?;
    let peer = median(RUNS, || machine.ssh("true").output().map(drop))?;
    let unchanged = Row {
        what: "switch with nothing changed",
        ours: seconds(ours),
        peer: format!("{}, `ssh HOST true` ({})", seconds(peer), ratio(ours, peer)),
    };

    bench.change_a_line()?;
    let switched = bench.deploy(&["switch", HOST, "--yes", "--json"]).output()?;
    let sent = json::number(&switched, "bytes_sent").context("the switch told no size")?;
    let changed = Row {
        what: "one line of the app changed: sent to the host",
        ours: format!("{:.1} KiB", sent as f64 / 1024.0),
        peer: String::new(),
    };
    Ok(vec![unchanged, changed])
}
