//! Switching a machine of this computer: with nothing changed, and with one line changed.

use std::fs;

use anyhow::{Context, Result};

use super::measure::{median, ratio, seconds};
use super::{Bench, Row};
use crate::process::program;

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
    let listed = bench.deploy(&["machine", "list", "--json"]).output()?;
    let address = text(&listed, "address").context("the machine has no address")?;
    let identity = bench.dir.join("state/cairn/machines/machines").join(HOST).join("id_ed25519");
    let peer = median(RUNS, || {
        program("ssh")
            .args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"])
            .args(["-i"])
            .args([&identity])
            .args([&format!("root@{address}"), "true"])
            .output()
            .map(drop)
    })?;
    let unchanged = Row {
        what: "switch with nothing changed",
        ours: seconds(ours),
        peer: format!("{}, `ssh HOST true` ({})", seconds(peer), ratio(ours, peer)),
    };

    bench.change_a_line()?;
    let switched = bench.deploy(&["switch", HOST, "--yes", "--json"]).output()?;
    let sent = number(&switched, "bytes_sent").context("the switch told no size")?;
    let changed = Row {
        what: "one line of the app changed: sent to the host",
        ours: format!("{:.1} KiB", sent as f64 / 1024.0),
        peer: String::new(),
    };
    Ok(vec![unchanged, changed])
}

/// The first value of a key in JSON of ours; these values hold neither quotes nor escapes.
fn text<'a>(json: &'a str, key: &str) -> Option<&'a str> {
    Some(after(json, key)?.strip_prefix('"')?.split_once('"')?.0)
}

fn number(json: &str, key: &str) -> Option<u64> {
    after(json, key)?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn after<'a>(json: &'a str, key: &str) -> Option<&'a str> {
    Some(json.split_once(&format!("\"{key}\":"))?.1.trim_start())
}
