//! A machine that a measurement has switched, and the way into it.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::{Bench, json};
use crate::process::{Program, program};

pub struct Machine {
    pub address: String,
    identity: PathBuf,
}

impl Machine {
    /// The one machine of the measurements that is there.
    pub fn find(bench: &Bench, host: &str) -> Result<Self> {
        let listed = bench.deploy(&["machine", "list", "--json"]).output()?;
        let entry = listed.split('{').find(|entry| json::text(entry, "name") == Some(host));
        let address = entry.and_then(|entry| json::text(entry, "address"));
        let address = address.with_context(|| format!("machine `{host}` has no address in {listed}"))?.to_owned();
        let folder = bench.dir.join("state/cairn/machines/machines").join(host);
        Ok(Self { address, identity: folder.join("id_ed25519") })
    }

    /// What its newest activation told.
    pub fn events(&self) -> Result<String> {
        self.ssh("cat \"$(ls -d /nix/var/cairn/activations/* | tail -n 1)/events.jsonl\"").output()
    }

    /// A line for the shell of its root.
    pub fn ssh(&self, line: &str) -> Program {
        program("ssh")
            .args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"])
            .args(["-i"])
            .args([&self.identity])
            .args([&format!("root@{}", self.address), line])
    }
}
