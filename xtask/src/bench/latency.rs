//! A cold copy of 203 paths, near and far, against the same bytes in one plain stream over the same
//! line to the same disk: what a copy would take that had nothing to do but to send them. And against
//! `nix copy`.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::delay::Line;
use super::measure::{in_turn, ratio, seconds};
use super::server::Server;
use super::{Bench, Row, files};

const RUNS: usize = 11;
pub const HOST: &str = "bench-paths";
/// With the agent and the closure itself 203 paths.
const IMAGES: usize = 201;
/// The agent has the rest of 66 MB, and the program of the images counts once for each.
const BYTES: u64 = 58_000_000;

const TRIPS: [(u64, &str); 3] = [
    (0, "cold copy of 203 paths, round trip 0 ms"),
    (50, "the same, round trip 50 ms"),
    (150, "the same, round trip 150 ms"),
];

pub fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let server = Server::start(bench.dir.join("server"))?;
    let line = Line::to(server.address())?;
    let way = server.way()?.over(&line);
    define(bench, &way)?;
    let closure = bench.closure(HOST)?;
    let stream = bench.dir.join("stream");
    // Each file of the closure once, as everybody sends them.
    bench.archive(&closure, &stream)?;
    let megabytes = fs::metadata(&stream)?.len() / 1_000_000;

    let copy = || bench.deploy(&["copy", HOST]).output().map(drop);
    let plain = || -> Result<()> {
        way.ssh("cat > /nix/stream && sync /nix/stream").input(File::open(&stream)?).output().map(drop)
    };
    let nix = || way.nix_copy(&bench.store(), &closure).output().map(drop);
    let row = |(trip, what): (u64, &'static str)| -> Result<Row> {
        line.set_round_trip(Duration::from_millis(trip));
        let [ours, plain, nix] = in_turn(RUNS, || server.empty(), [&copy, &plain, &nix])?;
        let peer = format!(
            "{}, {megabytes} MB by `ssh HOST cat` ({}); {}, `nix copy` ({})",
            seconds(plain),
            ratio(ours, plain),
            seconds(nix),
            ratio(ours, nix)
        );
        Ok(Row { what, ours: seconds(ours), peer })
    };
    let rows = TRIPS.into_iter().map(row).collect();
    fs::remove_file(&stream)?;
    rows
}

/// Files of the project's own images, dealt to many.
pub fn define(bench: &Bench, way: &super::way::Way) -> Result<()> {
    let names: Vec<String> = (1..=IMAGES).map(|number| format!("bench-path-{number}")).collect();
    let image = |(name, user): (&String, usize)| files::image(bench, name, user);
    let folders = names.iter().zip(files::USER..).map(image).collect::<Result<Vec<PathBuf>>>()?;
    for (name, folder) in names.iter().zip(&folders) {
        fs::remove_file(folder.join("busybox"))?;
        fs::write(files::changed(bench, name), name)?;
    }
    for (number, file) in files::contents(bench, BYTES)?.iter().enumerate() {
        let name = file.file_name().context("a file without a name")?;
        let into = folders[number % IMAGES].join(number.to_string());
        fs::create_dir(&into)?;
        fs::copy(file, into.join(name))?;
    }
    files::host(bench, HOST, &names, way)
}
