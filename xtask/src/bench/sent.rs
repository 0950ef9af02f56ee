//! Bytes on the line: with one changed file, and when a copy was interrupted. Counted by the proxy
//! that the connection goes through, with all that SSH adds.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::delay::Line;
use super::measure::{mebibytes, middle};
use super::server::Server;
use super::{Bench, Row, files, latency};
use crate::process::program;

const RUNS: u64 = 11;
const HOST: &str = "bench-sent";
const IMAGE: &str = "bench-sent";
/// The root file system whose file changes.
const BYTES: u64 = 200_000_000;
const CHANGED: usize = 1 << 20;

pub fn changed(bench: &Bench) -> Result<Vec<Row>> {
    let server = Server::start(bench.dir.join("server"))?;
    let line = Line::to(server.address())?;
    let folder = files::image(bench, IMAGE, files::USER)?;
    for (number, file) in files::contents(bench, BYTES)?.iter().enumerate() {
        fs::copy(file, folder.join(number.to_string()))?;
    }
    files::host(bench, HOST, &[IMAGE.to_owned()], &server.way()?.over(&line))?;
    let file = files::changed(bench, IMAGE);
    let copy = || bench.deploy(&["copy", HOST]).output().map(drop);
    fs::write(&file, "none yet")?;
    copy()?;

    let (mut sent, mut compressed) = (Vec::new(), Vec::new());
    for bytes in versions(bench)? {
        fs::write(&file, bytes)?;
        sent.push(line.bytes_sent(copy)?);
        compressed.push(zstd(&file)?);
    }
    let (sent, compressed) = (middle(sent), middle(compressed));
    let over = sent as f64 / compressed as f64;
    Ok(vec![Row {
        what: "one changed file of 1 MiB in a root of 200 MB: sent, with all of SSH",
        ours: format!("{} KiB", sent >> 10),
        peer: format!("{} KiB, the file by `zstd` ({over:.2}×)", compressed >> 10),
    }])
}

/// So many different files of one size: parts of a shared library, or whatever is large.
fn versions(bench: &Bench) -> Result<Vec<Vec<u8>>> {
    let wanted = CHANGED * RUNS as usize;
    let mut bytes = Vec::new();
    for file in files::contents(bench, BYTES)?.iter().rev() {
        if bytes.len() < wanted && fs::metadata(file)?.len() >= CHANGED as u64 {
            bytes.extend(fs::read(file)?);
        }
    }
    let versions: Vec<Vec<u8>> = bytes.chunks_exact(CHANGED).take(RUNS as usize).map(<[u8]>::to_vec).collect();
    if versions.len() < RUNS as usize {
        bail!("the project's root file systems have too few large files");
    }
    Ok(versions)
}

/// Its size when `zstd` has compressed it as it does by itself.
fn zstd(file: &Path) -> Result<u64> {
    let counted = program("sh").args(["-c", "zstd -q -c \"$1\" | wc -c", "sh"]).args([file]).output()?;
    counted.trim().parse().with_context(|| format!("`wc` said `{counted}`"))
}

/// The client is killed at each eleventh of its way, and the same copy is begun anew.
pub fn interrupted(bench: &Bench) -> Result<Vec<Row>> {
    let server = Server::start(bench.dir.join("server"))?;
    let line = Line::to(server.address())?;
    latency::define(bench, &server.way()?.over(&line))?;
    let copy = || bench.deploy(&["copy", latency::HOST]).output().map(drop);
    copy()?;
    server.empty()?;
    let whole = line.bytes_sent(copy)?;

    let mut totals = Vec::new();
    for part in 1..RUNS {
        server.empty()?;
        let before = line.sent();
        let mut client = bench.deploy(&["copy", latency::HOST]).spawn()?;
        while line.sent() - before < whole * part / RUNS {
            if let Some(status) = client.try_wait()? {
                bail!("the copy ended before it was interrupted, with {status}");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        client.kill()?;
        client.wait()?;
        line.wait_until_idle()?;
        line.bytes_sent(copy)?;
        totals.push(line.sent() - before);
    }
    let most = totals.iter().max().copied().unwrap_or_default();
    let share = |bytes: u64| bytes as f64 / whole as f64;
    Ok(vec![Row {
        what: "cold copy of 203 paths, killed on its way and begun anew: sent by both",
        ours: format!("{}, at most {}", mebibytes(middle(totals.clone())), mebibytes(most)),
        peer: format!("{}, uninterrupted ({:.3}×, {:.3}×)", mebibytes(whole), share(middle(totals)), share(most)),
    }])
}
