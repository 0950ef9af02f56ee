//! Switching a machine of this computer: with nothing changed, near and far, and with one line changed.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use super::delay::Line;
use super::machine::Machine;
use super::measure::{in_turn, ratio, seconds};
use super::server::Server;
use super::{Bench, Row, files, json};

const RUNS: usize = 11;
const HOST: &str = "bench";
const FAR: &str = "bench-far";

const TRIPS: [(u64, &str); 3] = [
    (0, "the same on an SSH server, round trip 0 ms"),
    (50, "the same, round trip 50 ms"),
    (150, "the same, round trip 150 ms"),
];

pub fn rows(bench: &Bench) -> Result<Vec<Row>> {
    fs::copy(bench.project.join("hosts/local.toml"), definition(bench))?;
    bench.deploy(&["switch", HOST, "--yes"]).output()?;
    let measured = switches(bench);
    bench.deploy(&["machine", "remove", HOST]).output()?;
    let mut rows = measured?;
    rows.splice(1..1, far(bench)?);
    Ok(rows)
}

fn definition(bench: &Bench) -> std::path::PathBuf {
    bench.project.join(format!("hosts/{HOST}.toml"))
}

fn switches(bench: &Bench) -> Result<Vec<Row>> {
    let machine = Machine::find(bench, HOST)?;
    let switch = || bench.deploy(&["switch", HOST, "--yes"]).output().map(drop);
    let peer = || machine.ssh("true").output().map(drop);
    let mut rows = vec![unchanged("switch with nothing changed", switch, peer)?];

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

/// An SSH server that is further away, with a small closure and no secret.
fn far(bench: &Bench) -> Result<Vec<Row>> {
    let server = Server::start(bench.dir.join("server"))?;
    let line = Line::to(server.address())?;
    let way = server.way()?.over(&line);
    files::image(bench, FAR, files::USER)?;
    fs::write(files::changed(bench, FAR), FAR)?;
    files::host(bench, FAR, &[FAR.to_owned()], &way)?;
    bench.deploy(&["copy", FAR]).output()?;
    server.commit(&bench.closure(FAR)?)?;
    let switch = || bench.deploy(&["switch", FAR, "--yes"]).output().map(drop);
    let peer = || way.ssh("true").output().map(drop);
    let row = |(trip, what)| {
        line.set_round_trip(Duration::from_millis(trip));
        unchanged(what, switch, peer)
    };
    TRIPS.into_iter().map(row).collect()
}

fn unchanged(what: &'static str, ours: impl Fn() -> Result<()>, peer: impl Fn() -> Result<()>) -> Result<Row> {
    let [ours, peer] = in_turn(RUNS, || Ok(()), [&ours, &peer])?;
    let peer = format!("{}, `ssh HOST true` ({})", seconds(peer), ratio(ours, peer));
    Ok(Row { what, ours: seconds(ours), peer })
}
