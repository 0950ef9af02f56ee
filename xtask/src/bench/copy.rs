//! A cold copy of a whole closure over SSH, against `nix copy` of the same closure from the same
//! store to the same server, and what memory it takes.
//!
//! The server is a real OpenSSH on the loopback interface, in a mount namespace whose `/nix` is a
//! folder of ours that is emptied before each run.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::measure::{mebibytes, peaks, ratio, remove, seconds, timed};
use super::{Bench, Row};
use crate::process::program;

const RUNS: usize = 5;
const HOST: &str = "bench-copy";

pub fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let server = Server::start(bench.dir.join("server"))?;
    server.define(bench)?;
    let built = bench.deploy(&["build", &format!("hosts.{HOST}"), "--json"]).output()?;
    let closure = built.split_once("\"store_path\":").and_then(|(_, rest)| rest.split('"').nth(1));
    let closure = closure.context("`deploy build` named no store path")?;

    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        server.empty()?;
        ours.push(timed(|| bench.deploy(&["copy", HOST]).output().map(drop))?);
        server.empty()?;
        theirs.push(timed(|| server.nix_copy(bench, closure))?);
    }
    ours.sort();
    theirs.sort();
    let (time, peer) = (ours[RUNS / 2], theirs[RUNS / 2]);
    server.empty()?;
    let [agent, cli] = peaks(["cairn-agent", "deploy"], || bench.deploy(&["copy", HOST]).output().map(drop))?;
    Ok(vec![
        Row {
            what: "cold copy of the closure of `hosts.local`",
            ours: seconds(time),
            peer: format!("{}, `nix copy --to ssh-ng://` ({})", seconds(peer), ratio(time, peer)),
        },
        Row {
            what: "memory meanwhile: agent, `deploy`",
            ours: format!("{}, {}", mebibytes(agent), mebibytes(cli)),
            peer: String::new(),
        },
    ])
}

/// An SSH server of ours; ends with this value.
struct Server {
    child: Child,
    dir: PathBuf,
    port: u16,
}

impl Server {
    fn start(dir: PathBuf) -> Result<Self> {
        remove(&dir)?;
        fs::create_dir_all(dir.join("nix"))?;
        // The mount point; stays empty where no Nix is installed. And sshd's own.
        fs::create_dir_all("/nix")?;
        fs::create_dir_all("/run/sshd")?;
        for key in ["host", "user"] {
            program("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).args([dir.join(key)]).output()?;
        }
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let script = "mount --make-rprivate / && mount --bind \"$1\" /nix && shift && exec \"$@\"";
        let authorized = format!("AuthorizedKeysFile={}", dir.join("user.pub").display());
        let child = Command::new("unshare")
            .args(["--mount", "sh", "-c", script, "sh"])
            .arg(dir.join("nix"))
            .args(["/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null", "-p", &port.to_string(), "-h"])
            .arg(dir.join("host"))
            .args(["-o", "ListenAddress=127.0.0.1", "-o", "PidFile=none", "-o", "UsePAM=no", "-o", "StrictModes=no"])
            .args(["-o", "PermitRootLogin=prohibit-password", "-o", &authorized])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(dir.join("log"))?)
            .spawn()
            .context("cannot start an SSH server")?;
        let server = Self { child, dir, port };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if Instant::now() > deadline {
                bail!("the SSH server does not answer: {}", fs::read_to_string(server.dir.join("log"))?);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// Adds a host to the project that runs what `local` runs and is this server.
    fn define(&self, bench: &Bench) -> Result<()> {
        let local = fs::read_to_string(bench.project.join("hosts/local.toml"))?;
        let key = fs::read_to_string(self.dir.join("host.pub"))?;
        let key: Vec<&str> = key.split_whitespace().take(2).collect();
        let ssh = format!(
            "[ssh]\naddress = \"127.0.0.1\"\nuser = \"root\"\nport = {}\nhost_key = \"{}\"\nidentity = \"{}\"\n",
            self.port,
            key.join(" "),
            self.dir.join("user").display()
        );
        let text = local.replacen("\n[machine]\n", &format!("\n{ssh}"), 1);
        Ok(fs::write(bench.project.join(format!("hosts/{HOST}.toml")), text)?)
    }

    fn empty(&self) -> Result<()> {
        let nix = self.dir.join("nix");
        for entry in fs::read_dir(&nix)? {
            remove(&entry?.path())?;
        }
        // What was freed is not looked at by whoever comes next.
        program("sync").output().map(drop)
    }

    fn nix_copy(&self, bench: &Bench, closure: &str) -> Result<()> {
        let options = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR";
        program("nix")
            .args(["--extra-experimental-features", "nix-command", "copy", "--no-check-sigs", "--from"])
            .args([bench.store()])
            .args(["--to", "ssh-ng://root@127.0.0.1", closure])
            .env("NIX_SSHOPTS", format!("-p {} -i {} {options}", self.port, self.dir.join("user").display()))
            .output()
            .map(drop)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
