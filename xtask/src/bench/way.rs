//! The way to an SSH server that listens on the loopback interface: as a host's definition has it,
//! and for the plain client.

use std::path::PathBuf;

use super::delay::Line;
use crate::process::{Program, program};

/// To skip what only a person needs.
const OPTIONS: [&str; 6] =
    ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"];

pub struct Way {
    pub port: u16,
    /// The server's public key: type and key.
    pub host_key: String,
    pub identity: PathBuf,
}

impl Way {
    /// The same server behind a line.
    pub fn over(&self, line: &Line) -> Self {
        Self { port: line.port, host_key: self.host_key.clone(), identity: self.identity.clone() }
    }

    /// For a host's definition.
    pub fn section(&self) -> String {
        format!(
            "[ssh]\naddress = \"127.0.0.1\"\nuser = \"root\"\nport = {}\nhost_key = \"{}\"\nidentity = \"{}\"\n",
            self.port,
            self.host_key,
            self.identity.display()
        )
    }

    /// A line for the shell of its root.
    pub fn ssh(&self, line: &str) -> Program {
        program("ssh")
            .args(OPTIONS)
            .args(["-p", &self.port.to_string(), "-i"])
            .args([&self.identity])
            .args(["root@127.0.0.1", line])
    }

    /// `nix copy` to the server's store.
    pub fn nix_copy(&self, from: &std::path::Path, path: &str) -> Program {
        let identity = self.identity.display();
        program("nix")
            .args(["--extra-experimental-features", "nix-command", "copy", "--no-check-sigs", "--from"])
            .args([from])
            .args(["--to", "ssh-ng://root@127.0.0.1", path])
            .env("NIX_SSHOPTS", format!("-p {} -i {identity} {}", self.port, OPTIONS.join(" ")))
    }
}
