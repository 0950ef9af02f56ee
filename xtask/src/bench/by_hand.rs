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

/// All replicas have one address: so many good answers in a row come from each of them.
fn wait(url: &str) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut in_a_row = 0;
    while in_a_row < 20 {
        if Instant::now() > deadline {
            bail!("the API started by hand does not answer at {url}");
        }
        let answered = program("curl").args(["-fsS", "--max-time", "5", url]).succeeds();
        in_a_row = if answered { in_a_row + 1 } else { 0 };
        if !answered {
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    Ok(())
}
