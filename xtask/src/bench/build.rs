//! Building: from nothing, with nothing changed, with one line changed.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::measure::{median, middle, ratio, remove, seconds, timed};
use super::{Bench, Row};
use crate::process::program;
use crate::{root, setup};

const RUNS: usize = 9;
const COLD_RUNS: usize = 5;

/// An empty store with the sources downloaded, against mmdebstrap (which installs and configures
/// the same packages, besides the essential ones) and pip with the same wheels.
pub fn cold(bench: &Bench) -> Result<Vec<Row>> {
    // A store for each run, all removed at the end: for a minute after inodes were freed, ext4
    // looks for others, and the next run would pay for it.
    let stores: Vec<_> = (0..COLD_RUNS).map(|n| bench.dir.join(format!("cold-{n}"))).collect();
    let mut times = Vec::new();
    for store in &stores {
        remove(store)?;
        seed_downloads(bench, store)?;
    }
    program("sync").output()?;
    for store in &stores {
        times.push(timed(|| bench.deploy_over(store, &["build", "images.api"]).output().map(drop))?);
    }
    let ours = middle(times);

    let lock = fs::read_to_string(root().join("images/api/image.lock"))?;
    let (debs, wheels) = packages(&lock);
    let peer_root = bench.dir.join("peer");
    remove(&peer_root)?;
    let python = setup::python_tests("api")?.join("bin/python");
    let peer = timed(|| {
        program("mmdebstrap")
            .args(["--variant=apt", "--quiet", &format!("--include={}", debs.join(",")), "bookworm"])
            .args([&peer_root])
            .output()?;
        program(&python)
            .args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"])
            .args([peer_root.join("site")])
            .args(&wheels)
            .output()
            .map(drop)
    })?;
    for dir in stores.iter().chain([&peer_root]) {
        remove(dir)?;
    }
    Ok(vec![Row {
        what: "cold build of `images.api`, sources fetched",
        ours: seconds(ours),
        peer: format!("{}, mmdebstrap and `pip install` ({})", seconds(peer), ratio(peer, ours)),
    }])
}

pub fn cached(bench: &Bench) -> Result<Vec<Row>> {
    let ours = median(RUNS, || bench.deploy(&["build", "images.api"]).output().map(drop))?;
    Ok(vec![Row { what: "build with nothing changed", ours: seconds(ours), peer: String::new() }])
}

pub fn one_line(bench: &Bench) -> Result<Vec<Row>> {
    let ours = median(RUNS, || {
        bench.change_a_line()?;
        bench.deploy(&["build", "images.api"]).output().map(drop)
    })?;
    Ok(vec![Row { what: "one line of the app changed, to an image", ours: seconds(ours), peer: String::new() }])
}

/// Puts every locked archive where the fetcher looks first.
fn seed_downloads(bench: &Bench, store: &Path) -> Result<()> {
    let downloads = store.join("nix/var/cairn/downloads");
    fs::create_dir_all(&downloads)?;
    for entry in fs::read_dir(bench.store().join("nix/store"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".deb") || name.ends_with(".whl") {
            let hash = program("sha256sum").args([entry.path()]).output()?;
            // The lock's own name of the file, which a store name may only resemble.
            let lock = fs::read_to_string(root().join("images/api/image.lock"))?;
            let Some(file) = file_with(&lock, &hash[..64]) else { continue };
            fs::copy(entry.path(), downloads.join(format!("{}-{file}", &hash[..16])))?;
        }
    }
    Ok(())
}

/// Names of the lock's packages for this processor, and its wheels as requirements.
fn packages(lock: &str) -> (Vec<String>, Vec<String>) {
    let (mut debs, mut wheels) = (Vec::new(), Vec::new());
    for block in lock.split("\n[[").filter(|b| b.contains("linux/amd64")) {
        let (Some(name), Some(version)) = (value(block, "name"), value(block, "version")) else { continue };
        if block.starts_with("deb]]") {
            debs.push(name);
        } else if block.starts_with("wheel]]") {
            wheels.push(format!("{name}=={version}"));
        }
    }
    (debs, wheels)
}

fn file_with(lock: &str, hash: &str) -> Option<String> {
    let block = lock.split("\n[[").find(|b| b.contains(hash))?;
    value(block, "file").or_else(|| value(block, "pool")?.rsplit('/').next().map(str::to_owned))
}

fn value(block: &str, key: &str) -> Option<String> {
    let line = block.lines().find_map(|l| l.strip_prefix(&format!("{key} = \"")))?;
    Some(line.trim_end_matches('"').to_owned())
}
