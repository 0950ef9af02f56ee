//! Measurements, each beside a peer where there is one: medians, printed as a table.
//!
//! Everything happens in stores and folders below `target/bench`, over the repository's own image
//! of the API. The peers are the ordinary tools on the same computer in the same run.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::process::{Program, program};
use crate::{build, root, setup, target};

/// Runs of the quick rows, of a cold build; the slow peers run once.
const RUNS: usize = 9;
const COLD_RUNS: usize = 5;

struct Row {
    what: &'static str,
    ours: String,
    peer: String,
}

type Measure = fn(&Bench) -> Result<Row>;

/// All rows, or those whose name holds one of the words.
pub fn run(only: &[&str]) -> Result<()> {
    setup::all()?;
    let bench = Bench::prepare()?;
    let all: [(&str, Measure); 4] = [
        ("cold", Bench::cold),
        ("cached", Bench::cached),
        ("line", Bench::one_line),
        ("switch", Bench::nothing_to_switch),
    ];
    let mut rows = Vec::new();
    for (name, measure) in all {
        if only.is_empty() || only.contains(&name) {
            rows.push(measure(&bench)?);
        }
    }
    println!("\n{:<46} {:>12}   peer", "what", "deploy");
    for row in rows {
        println!("{:<46} {:>12}   {}", row.what, row.ours, row.peer);
    }
    Ok(())
}

/// A copy of the project over a warm store.
struct Bench {
    deploy: PathBuf,
    dir: PathBuf,
    project: PathBuf,
}

impl Bench {
    fn prepare() -> Result<Self> {
        let deploy = build::programs()?.join("deploy");
        let dir = target().join("bench");
        let project = dir.join("project");
        if project.exists() {
            fs::remove_dir_all(&project)?;
        }
        fs::create_dir_all(&project)?;
        program("cp").args(["-a", "images", "hosts", "deploy.toml"]).args([&project]).run()?;
        let bench = Self { deploy, dir, project };
        bench.deploy(&["build", "images.api", "hosts.local"]).output()?;
        Ok(bench)
    }

    fn deploy(&self, arguments: &[&str]) -> Program {
        self.deploy_over(&self.dir.join("store"), arguments)
    }

    fn deploy_over(&self, store: &Path, arguments: &[&str]) -> Program {
        program(&self.deploy)
            .args(arguments)
            .dir(&self.project)
            .env("DEPLOY_STORE", store)
            .env("XDG_STATE_HOME", self.dir.join("state"))
    }

    /// An empty store with the sources downloaded, against mmdebstrap (which installs and
    /// configures the same packages, besides the essential ones) and pip with the same wheels.
    fn cold(&self) -> Result<Row> {
        let store = self.dir.join("cold");
        let mut times = Vec::new();
        for _ in 0..COLD_RUNS {
            remove(&store)?;
            self.seed_downloads(&store)?;
            times.push(timed(|| self.deploy_over(&store, &["build", "images.api"]).output().map(drop))?);
        }
        remove(&store)?;
        times.sort();
        let ours = times[COLD_RUNS / 2];

        let lock = fs::read_to_string(root().join("images/api/image.lock"))?;
        let (debs, wheels) = packages(&lock);
        let peer_root = self.dir.join("peer");
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
        remove(&peer_root)?;
        Ok(Row {
            what: "cold build of images.api, sources fetched",
            ours: seconds(ours),
            peer: format!(
                "{} mmdebstrap + pip install ({:.1}x)",
                seconds(peer),
                peer.as_secs_f64() / ours.as_secs_f64()
            ),
        })
    }

    fn cached(&self) -> Result<Row> {
        let ours = median(RUNS, || self.deploy(&["build", "images.api"]).output().map(drop))?;
        Ok(Row { what: "build with nothing changed", ours: seconds(ours), peer: String::new() })
    }

    fn one_line(&self) -> Result<Row> {
        let file = self.project.join("images/api/app/spirit/version.py");
        let mut n = 0;
        let ours = median(RUNS, || {
            n += 1;
            let stamp = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos();
            fs::write(&file, format!("VERSION = \"{stamp}.{n}\"\n"))?;
            self.deploy(&["build", "images.api"]).output().map(drop)
        })?;
        Ok(Row { what: "one line of the app changed, to an image", ours: seconds(ours), peer: String::new() })
    }

    fn nothing_to_switch(&self) -> Result<Row> {
        let host = "bench";
        fs::copy(root().join("hosts/local.toml"), self.project.join("hosts/bench.toml"))?;
        self.deploy(&["switch", host, "--yes"]).output()?;
        let measured = self.switch_rows(host);
        self.deploy(&["machine", "remove", host]).output()?;
        measured
    }

    fn switch_rows(&self, host: &str) -> Result<Row> {
        let ours = median(RUNS, || self.deploy(&["switch", host, "--yes"]).output().map(drop))?;
        let listed = self.deploy(&["machine", "list", "--json"]).output()?;
        let address = listed.split("\"address\":\"").nth(1).and_then(|rest| rest.split('"').next());
        let address = address.context("the machine has no address")?;
        let identity = self.dir.join("state/cairn/machines/machines").join(host).join("id_ed25519");
        let peer = median(RUNS, || {
            program("ssh")
                .args([
                    "-o",
                    "StrictHostKeyChecking=no",
                    "-o",
                    "UserKnownHostsFile=/dev/null",
                    "-o",
                    "LogLevel=ERROR",
                    "-i",
                ])
                .args([&identity])
                .args([&format!("root@{address}"), "true"])
                .output()
                .map(drop)
        })?;
        Ok(Row {
            what: "switch with nothing changed",
            ours: seconds(ours),
            peer: format!("{} ssh HOST true ({:.2}x)", seconds(peer), ours.as_secs_f64() / peer.as_secs_f64()),
        })
    }

    /// Puts every locked archive where the fetcher looks first.
    fn seed_downloads(&self, store: &Path) -> Result<()> {
        let downloads = store.join("nix/var/cairn/downloads");
        fs::create_dir_all(&downloads)?;
        for entry in fs::read_dir(self.dir.join("store/nix/store"))? {
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

fn remove(dir: &Path) -> Result<()> {
    if dir.exists() {
        program("chmod").args(["-R", "u+w"]).args([dir]).output()?;
        program("rm").args(["-rf"]).args([dir]).output()?;
    }
    Ok(())
}

fn timed(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

fn median(runs: usize, mut work: impl FnMut() -> Result<()>) -> Result<Duration> {
    let mut times = (0..runs).map(|_| timed(&mut work)).collect::<Result<Vec<_>>>()?;
    times.sort();
    Ok(times[runs / 2])
}

fn seconds(time: Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}
