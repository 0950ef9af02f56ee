//! Measurements, each beside a peer where there is one: medians, printed as a table.
//!
//! Everything happens in stores and folders below `target/bench`, over the repository's own
//! definitions. The peers are the ordinary tools on the same computer in the same run.

mod build;
mod by_hand;
mod copy;
mod host;
mod json;
mod load;
mod machine;
mod measure;
mod stack;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::process::{Program, program};
use crate::{setup, target};

struct Row {
    what: &'static str,
    ours: String,
    peer: String,
}

type Measure = fn(&Bench) -> Result<Vec<Row>>;

const ALL: [(&str, Measure); 6] = [
    ("cold", build::cold),
    ("cached", build::cached),
    ("line", build::one_line),
    ("switch", host::rows),
    ("copy", copy::rows),
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
        program(&self.deploy)
            .args(arguments)
            .dir(&self.project)
            .env("DEPLOY_STORE", store)
            .env("XDG_STATE_HOME", self.dir.join("state"))
    }

    /// Changes one line of the application.
    fn change_a_line(&self) -> Result<()> {
        let stamp = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos();
        Ok(fs::write(self.project.join("images/api/app/spirit/version.py"), format!("VERSION = \"{stamp}\"\n"))?)
    }
}
