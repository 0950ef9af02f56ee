//! API and nginx of a machine's stack started by hand on the same machine, over the same database:
//! what the stack is compared with.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::machine::Machine;
use crate::process::program;

const PORT: u16 = 9000;
const TLS_PORT: u16 = 9443;

/// Where to ask what was started by hand.
pub struct ByHand {
    /// Gunicorn itself, HTTP.
    pub direct: String,
    /// Through nginx, HTTPS.
    pub proxied: String,
}

/// Starts both and waits until they are ready.
pub fn start(machine: &Machine) -> Result<ByHand> {
    let script = include_str!("by_hand.sh").replace('\'', r"'\''");
    machine.ssh(&format!("sh -c '{script}' sh {PORT} {TLS_PORT}")).output()?;
    let address = &machine.address;
    let by_hand =
        ByHand { direct: format!("http://{address}:{PORT}"), proxied: format!("https://{address}:{TLS_PORT}") };
    wait(&format!("{}/ready", by_hand.direct))?;
    wait(&format!("{}/ready", by_hand.proxied))?;
    Ok(by_hand)
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
        let answered = program("curl").args(["-fsSk", "--max-time", "5", url]).succeeds();
        in_a_row = if answered { in_a_row + 1 } else { 0 };
        if !answered {
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    Ok(())
}
