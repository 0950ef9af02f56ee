//! A machine that a measurement has switched, and the way into it.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::delay::Line;
use super::way::Way;
use super::{Bench, json};
use crate::process::{Program, program};

pub struct Machine {
    pub address: String,
    host_key: String,
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
        let host_key = std::fs::read_to_string(folder.join("host_ed25519.pub"))?;
        let host_key = host_key.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
        Ok(Self { address, host_key, identity: folder.join("id_ed25519") })
    }

    /// A longer way to it, and that way as a host's definition has it.
    pub fn line(&self) -> Result<(Line, Way)> {
        let line = Line::to(SocketAddr::new(self.address.parse()?, 22))?;
        let way = Way { port: line.port, host_key: self.host_key.clone(), identity: self.identity.clone() };
        Ok((line, way))
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
