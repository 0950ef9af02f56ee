//! What memory a closure of a gigabyte takes on its way.

use anyhow::Result;

use super::measure::{mebibytes, peaks, remove};
use super::server::Server;
use super::{Bench, Row, files};

const NAME: &str = "bench-large";
/// A gigabyte in files of one size.
const FILES: u64 = 4096;
const SIZE: usize = 256 << 10;

pub fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let server = Server::start(bench.dir.join("server"))?;
    let folder = files::image(bench, NAME, files::USER)?;
    files::noise(&folder, FILES, SIZE)?;
    std::fs::write(files::changed(bench, NAME), NAME)?;
    files::host(bench, NAME, &[NAME.to_owned()], &server.way()?)?;
    bench.closure(NAME)?;
    let [agent, cli] = peaks(["cairn-agent", "deploy"], || bench.deploy(&["copy", NAME]).output().map(drop))?;
    server.empty()?;
    remove(&folder)?;
    Ok(vec![Row {
        what: "cold copy of a closure of 1 GiB: memory of agent, `deploy`",
        ours: format!("{}, {}", mebibytes(agent), mebibytes(cli)),
        peer: String::new(),
    }])
}
