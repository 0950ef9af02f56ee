//! A real OpenSSH on the loopback interface, in a mount namespace whose `/nix` is a disk of its own:
//! a file with an ext4, mounted there alone, so that it is gone with the last process of the server.
//!
//! A new file system for each cold copy, because ext4 is slow to give inodes again that were freed in
//! the minutes before: with one that is emptied instead, a copy of 12,000 files and folders takes
//! three times as long.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::measure::remove;
use super::way::Way;
use crate::process::program;

/// Makes the disk `$1` anew and mounts it. Nothing of it is left for the kernel to write later.
const FRESH: &str = "rm -f \"$1\"; truncate -s 8G \"$1\"; mkfs.ext4 -q -E assume_storage_prezeroed=1 \"$1\"; \
    mount -o loop \"$1\" /nix";

/// Ends with this value.
pub struct Server {
    child: Child,
    dir: PathBuf,
    port: u16,
}

impl Server {
    pub fn start(dir: PathBuf) -> Result<Self> {
        remove(&dir)?;
        fs::create_dir_all(&dir)?;
        // The mount point; stays empty where no Nix is installed. And sshd's own.
        fs::create_dir_all("/nix")?;
        fs::create_dir_all("/run/sshd")?;
        for key in ["host", "user"] {
            program("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).args([dir.join(key)]).output()?;
        }
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let script = format!("set -e; mount --make-rprivate /; {FRESH}; shift; exec \"$@\"");
        let authorized = format!("AuthorizedKeysFile={}", dir.join("user.pub").display());
        let child = Command::new("unshare")
            .args(["--mount", "sh", "-c", &script, "sh"])
            .arg(dir.join("disk"))
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
        while TcpStream::connect(server.address()).is_err() {
            if Instant::now() > deadline {
                bail!("the SSH server does not answer: {}", fs::read_to_string(server.dir.join("log"))?);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// What is `/nix` there.
    fn nix(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root/nix", self.child.id()))
    }

    pub fn way(&self) -> Result<Way> {
        let key = fs::read_to_string(self.dir.join("host.pub"))?;
        let key: Vec<&str> = key.split_whitespace().take(2).collect();
        Ok(Way { port: self.port, host_key: key.join(" "), identity: self.dir.join("user") })
    }

    /// As if a switch had made this closure, which was copied, the first generation.
    pub fn commit(&self, closure: &str) -> Result<()> {
        let profiles = self.nix().join("var/nix/profiles");
        symlink(closure, profiles.join("cairn-1-link")).context("cannot make a generation")?;
        symlink("cairn-1-link", profiles.join("cairn")).context("cannot make it the live one")
    }

    /// Takes away all that was copied to it.
    pub fn empty(&self) -> Result<()> {
        // An agent that is just ending still holds it.
        let script = format!("set -e; for _ in $(seq 100); do umount /nix && break || sleep 0.1; done; {FRESH}; sync");
        program("nsenter")
            .args(["--mount", "--target", &self.child.id().to_string(), "sh", "-c", &script, "sh"])
            .args([self.dir.join("disk")])
            .output()
            .map(drop)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(self.dir.join("disk"));
    }
}
