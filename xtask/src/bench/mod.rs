//! Measurements, each beside a peer where there is one: medians, printed as a table.
//!
//! Everything happens in stores and folders below `target/bench`, over the repository's own
//! definitions. The peers are the ordinary tools on the same computer in the same run.

mod build;
mod by_hand;
mod copy;
mod delay;
mod fifty;
mod files;
mod host;
mod json;
mod large;
mod latency;
mod load;
mod machine;
mod measure;
mod rollback;
mod sent;
mod server;
mod stack;
mod way;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::process::{Program, program};
use crate::{setup, target};

struct Row {
    what: &'static str,
    ours: String,
    peer: String,
}

type Measure = fn(&Bench) -> Result<Vec<Row>>;

const ALL: [(&str, Measure); 12] = [
    ("cold", build::cold),
    ("cached", build::cached),
    ("line", build::one_line),
    ("switch", host::rows),
    ("copy", copy::rows),
    ("latency", latency::rows),
    ("changed", sent::changed),
    ("interrupted", sent::interrupted),
    ("large", large::rows),
    ("fifty", fifty::rows),
    ("rollback", rollback::rows),
    ("stack", stack::rows),
];

/// All rows, or those of the named measurements.
pub fn run(only: &[&str]) -> Result<()> {
    if let Some(unknown) = only.iter().find(|word| ALL.iter().all(|(name, _)| name != *word)) {
        anyhow::bail!("no measurement `{unknown}`; there are: {}", ALL.map(|(name, _)| name).join(", "));
    }
    setup::all()?;
    let bench = Bench::prepare()?;
    let mut rows = Vec::new();
    for (_, measure) in ALL.iter().filter(|(name, _)| only.is_empty() || only.contains(name)) {
        rows.extend(measure(&bench)?);
    }
    println!("\n| what | deploy | peer |\n|---|---|---|");
    for row in rows {
        println!("| {} | {} | {} |", row.what, row.ours, row.peer);
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
        let deploy = crate::build::programs()?.join("deploy");
        let dir = target().join("bench");
        let project = dir.join("project");
        if project.exists() {
            fs::remove_dir_all(&project)?;
        }
        fs::create_dir_all(&project)?;
        program("cp").args(["-a", "images", "hosts", "services", "secrets", "deploy.toml"]).args([&project]).run()?;
        // For the hosts of the measurements as well.
        let index = project.join("secrets/secrets.toml");
        fs::write(&index, fs::read_to_string(&index)?.replace("\"local\"", "\"*\""))?;
        let bench = Self { deploy, dir, project };
        bench.deploy(&["build", "images.api", "hosts.local"]).output()?;
        Ok(bench)
    }

    fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    fn deploy(&self, arguments: &[&str]) -> Program {
        self.deploy_over(&self.store(), arguments)
    }

    fn deploy_over(&self, store: &Path, arguments: &[&str]) -> Program {
        self.within(program(&self.deploy).args(arguments), store)
    }

    fn within(&self, program: Program, store: &Path) -> Program {
        program.dir(&self.project).env("DEPLOY_STORE", store).env("XDG_STATE_HOME", self.dir.join("state"))
    }

    /// Processor time of `deploy` and of all that it starts.
    fn processor_time(&self, arguments: &[&str]) -> Result<Duration> {
        let script = "TIMEFORMAT='%3U %3S'; exec 3>&2; { time \"$@\" >/dev/null 2>&3; } 2>&1";
        let timed = program("bash").args(["-c", script, "bash"]).args([&self.deploy]).args(arguments);
        let said = self.within(timed, &self.store()).output()?;
        let seconds: Option<Vec<f64>> = said.split_whitespace().map(|part| part.parse().ok()).collect();
        let seconds = seconds.with_context(|| format!("`time` said `{said}`"))?;
        Ok(Duration::from_secs_f64(seconds.iter().sum()))
    }

    /// Builds a host; gives the store path of its closure.
    fn closure(&self, host: &str) -> Result<String> {
        let built = self.deploy(&["build", &format!("hosts.{host}"), "--json"]).output()?;
        Ok(json::text(&built, "store_path").context("`deploy build` named no store path")?.to_owned())
    }

    /// Writes a store path and all that it needs into one file, uncompressed.
    fn archive(&self, path: &str, to: &Path) -> Result<()> {
        let script = "nix-store --store \"$1\" --export $(nix-store --store \"$1\" -qR \"$2\") > \"$3\"";
        let store = self.store();
        program("sh").args(["-c", script, "sh"]).args([&store]).args([path]).args([to]).output().map(drop)
    }

    /// Changes one line of the application.
    fn change_a_line(&self) -> Result<()> {
        self.stamp(&self.project.join("images/api/app/spirit/version.py"))
    }

    /// Writes what was never there before.
    fn stamp(&self, file: &Path) -> Result<()> {
        let stamp = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos();
        Ok(fs::write(file, format!("VERSION = \"{stamp}\"\n"))?)
    }
}
