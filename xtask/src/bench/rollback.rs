//! How long it takes until traffic is on the other generation when a rollback was asked for.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::machine::Machine;
use super::measure::{middle, seconds};
use super::{Bench, Row, json, stack};
use crate::process::program;

const HOST: &str = "bench-rollback";
const RUNS: usize = 11;

/// The API behind the proxy, and nothing that both generations share.
const DEFINITION: &str = r#"
include = ["../services/api.toml", "../services/proxy.toml"]

[machine]

[config.api]
SPIRIT_ENVIRONMENT = "development"
WEB_CONCURRENCY = 1

[services.api]
replicas = 1
health = { path = "/health" }

[services.proxy]
listen = { tcp = ["0.0.0.0:8080"], tls = ["0.0.0.0:8443"] }

[services.proxy.settings.listen]
http = ["0.0.0.0:8080"]
https = ["0.0.0.0:8443"]

[services.proxy.settings.tls]
public_port = 8443
"#;

pub fn rows(bench: &Bench) -> Result<Vec<Row>> {
    fs::write(bench.project.join(format!("hosts/{HOST}.toml")), DEFINITION)?;
    let measured = measure(bench);
    bench.deploy(&["machine", "remove", HOST]).output()?;
    measured
}

fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let mut versions = Vec::new();
    for _ in 0..2 {
        bench.change_a_line()?;
        bench.deploy(&["switch", HOST, "--yes"]).output()?;
        versions.push(version(&Machine::find(bench, HOST)?)?);
    }
    let machine = Machine::find(bench, HOST)?;
    let (mut whole, mut health) = (Vec::new(), Vec::new());
    for run in 0..RUNS {
        // From the second generation to the first, and to and fro.
        let to = run % 2;
        let began = Instant::now();
        let mut client = bench.deploy(&["rollback", HOST, "--to", &(to + 1).to_string(), "--yes"]).spawn()?;
        while version(&machine)? != versions[to] {
            if client.try_wait()?.is_some_and(|status| !status.success()) || began.elapsed() > Duration::from_secs(60) {
                bail!("the rollback to generation {} moved no traffic", to + 1);
            }
        }
        whole.push(began.elapsed());
        if !client.wait()?.success() {
            bail!("the rollback to generation {} failed", to + 1);
        }
        health.push(stack::waits(&machine.events()?)?.health);
    }
    let beyond = whole.iter().zip(&health).map(|(whole, health)| whole.saturating_sub(*health)).collect();
    let [whole, health, beyond] = [whole, health, beyond].map(|times: Vec<Duration>| seconds(middle(times)));
    Ok(vec![Row {
        what: "rollback: from the request to traffic on the generation before",
        ours: format!("{whole}: {health} until healthy, {beyond} else"),
        peer: String::new(),
    }])
}

/// The version that answers.
fn version(machine: &Machine) -> Result<String> {
    let answer = program("curl")
        .args(["-fsSk", "--max-time", "5", &format!("https://{}:8443/health", machine.address)])
        .output()?;
    match json::text(&answer, "version") {
        Some(version) => Ok(version.to_owned()),
        None => bail!("the API told no version: {answer}"),
    }
}
