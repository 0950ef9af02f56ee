//! A cold copy of a whole closure over SSH, against `nix copy` of the same closure from the same
//! store to the same server, and what memory it takes. The server's store is emptied before each run.

use std::fs;

use anyhow::Result;

use super::measure::{in_turn, mebibytes, peaks, ratio, seconds};
use super::server::Server;
use super::{Bench, Row};

const RUNS: usize = 5;
const HOST: &str = "bench-copy";

pub fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let server = Server::start(bench.dir.join("server"))?;
    let way = server.way()?;
    // A host that runs what `local` runs and is this server.
    let local = fs::read_to_string(bench.project.join("hosts/local.toml"))?;
    let text = local.replacen("\n[machine]\n", &format!("\n{}", way.section()), 1);
    fs::write(bench.project.join(format!("hosts/{HOST}.toml")), text)?;
    let closure = bench.closure(HOST)?;

    let copy = || bench.deploy(&["copy", HOST]).output().map(drop);
    let theirs = || way.nix_copy(&bench.store(), &closure).output().map(drop);
    let [time, peer] = in_turn(RUNS, || server.empty(), [&copy, &theirs])?;
    server.empty()?;
    let [agent, cli] = peaks(["cairn-agent", "deploy"], copy)?;
    Ok(vec![
        Row {
            what: "cold copy of the closure of `hosts.local`",
            ours: seconds(time),
            peer: format!("{}, `nix copy --to ssh-ng://` ({})", seconds(peer), ratio(time, peer)),
        },
        Row {
            what: "memory meanwhile: agent, `deploy`",
            ours: format!("{}, {}", mebibytes(agent), mebibytes(cli)),
            peer: String::new(),
        },
    ])
}
