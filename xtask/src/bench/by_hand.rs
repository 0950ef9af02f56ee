//! The API of a machine's stack started by hand on the same machine, over the same database: what
//! the stack is compared with.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::machine::Machine;
use crate::process::program;

const PORT: u16 = 9000;

/// Starts it and waits until it is ready; gives its address.
pub fn start(machine: &Machine) -> Result<String> {
    let script = include_str!("by_hand.sh").replace('\'', r"'\''");
    machine.ssh(&format!("sh -c '{script}' sh {PORT}")).output()?;
    let url = format!("http://{}:{PORT}", machine.address);
    wait(&format!("{url}/ready"))?;
    Ok(url)
}

pub fn stop(machine: &Machine) -> Result<()> {
    machine.ssh("systemctl stop 'by-hand-*'").output().map(drop)
}

fn wait(url: &str) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !program("curl").args(["-fsS", "--max-time", "5", url]).succeeds() {
        if Instant::now() > deadline {
            bail!("the API started by hand does not answer at {url}");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}
