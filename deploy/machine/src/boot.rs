//! Starting systemd-nspawn and waiting for the machine's SSH server.

use std::fs::{self, File};
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::cgroup::Entered;
use crate::error::at;
use crate::mounts::booted_with_systemd;
use crate::name::MachineName;
use crate::network::Network;
use crate::process::{Tool, last_lines, spawn};
use crate::root::MachineFiles;
use crate::supervisor::Supervisor;
use crate::{MachineError, Result};

/// A boot takes less than a second here; a computer under load gets a minute.
const BOOT_LIMIT: Duration = Duration::from_secs(60);

/// What hardened services need beyond nspawn's default: `BPF` and `NET_ADMIN`, with the system call
/// `bpf`, make `IPAddressDeny=` work, and `SYS_RESOURCE` lets limits be raised. `SYSLOG`, the log of
/// this computer's kernel, and `PERFMON`, its performance counters, belong to this computer.
///
/// A machine has no user namespace of its own. In one (`--private-users=pick`) the kernel refuses to
/// load the program behind `IPAddressDeny=`, and systemd starts the service without it: with
/// systemd 252 on Linux 6.18 a service with `IPAddressDeny=any` then reached every address. So root in
/// a machine is root on this computer, which [`Event::SharesRoot`](crate::Event::SharesRoot) says.
const CAPABILITIES: &str = "CAP_BPF,CAP_NET_ADMIN,CAP_SYS_RESOURCE";
/// And the system calls: by `pidfd_getfd` the agent takes the sockets of services at a shutdown.
const SYSTEM_CALLS: &str = "bpf pidfd_getfd";

/// Entering a cgroup concerns the whole process in version 2, so one machine at a time.
static ENTERING: Mutex<()> = Mutex::new(());

/// Everything that nspawn is told; `systemd-nspawn(1)` has the meaning of each.
fn arguments(name: &MachineName, label: &str, root: &Path, own_scope: bool) -> Vec<String> {
    let mut args = vec![
        "--quiet".to_owned(),
        "--boot".to_owned(),
        // There may be no machined here, and nothing needs it.
        "--register=no".to_owned(),
        format!("--directory={}", root.display()),
        format!("--machine={label}"),
        format!("--hostname={name}"),
        format!("--network-namespace-path={}", Network::namespace(label).display()),
        format!("--capability={CAPABILITIES}"),
        format!("--system-call-filter={SYSTEM_CALLS}"),
        // The machine's own files, not this computer's.
        "--resolv-conf=off".to_owned(),
        "--timezone=off".to_owned(),
        "--link-journal=no".to_owned(),
        // There is no terminal; what systemd prints goes to our log.
        "--console=passive".to_owned(),
    ];
    if !own_scope {
        // Nobody here makes a scope for it: it stays in the cgroup that we start it in.
        args.push("--keep-unit".to_owned());
    }
    args
}

/// Starts the machine, detached from our terminal and from our life.
pub(crate) fn start(name: &MachineName, label: &str, files: &MachineFiles<'_>) -> Result<Supervisor> {
    let path = files.console();
    let console = File::create(&path).map_err(at("write", &path))?;
    let stderr = console.try_clone().map_err(at("write", &path))?;
    let own_scope = booted_with_systemd();
    let mut command = Command::new(Tool::Setsid.program());
    command.arg(Tool::Nspawn.program()).args(arguments(name, label, &files.root(), own_scope));
    // Our environment may hold secrets, and this process lives long.
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.current_dir("/").stdin(Stdio::null()).stdout(console).stderr(stderr);

    let entering = ENTERING.lock().unwrap_or_else(PoisonError::into_inner);
    let entered = if own_scope { None } else { Some(Entered::new(label)?) };
    let mut child = command.spawn().map_err(|error| spawn(Tool::Setsid, error))?;
    drop(entered);
    drop(entering);

    let supervisor = Supervisor::of(child.id());
    // As long as we live, its end is ours to collect.
    thread::spawn(move || child.wait());
    supervisor
}

/// Waits until the SSH server sends its greeting.
pub(crate) fn wait_for_ssh(
    name: &MachineName,
    address: Ipv4Addr,
    supervisor: &Supervisor,
    console: &Path,
) -> Result<()> {
    let deadline = Instant::now() + BOOT_LIMIT;
    loop {
        if greets(address) {
            return Ok(());
        }
        let said = || last_lines(&fs::read_to_string(console).unwrap_or_default(), 20);
        if !supervisor.alive() {
            return Err(MachineError::Died { name: name.to_string(), console: said() });
        }
        if Instant::now() > deadline {
            return Err(MachineError::NoAnswer {
                name: name.to_string(),
                address,
                waited: BOOT_LIMIT,
                console: said(),
            });
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn greets(address: Ipv4Addr) -> bool {
    let wait = Duration::from_secs(1);
    let Ok(mut stream) = TcpStream::connect_timeout(&SocketAddr::from((address, 22)), wait) else { return false };
    let mut greeting = [0; 4];
    stream.set_read_timeout(Some(wait)).is_ok() && stream.read_exact(&mut greeting).is_ok() && &greeting == b"SSH-"
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn nspawn_is_told_exactly_this() {
        let name = MachineName::parse("local").unwrap();
        let args = arguments(&name, "cairn0-local", Path::new("/s/machines/local/root"), false);
        let expected = [
            "--quiet",
            "--boot",
            "--register=no",
            "--directory=/s/machines/local/root",
            "--machine=cairn0-local",
            "--hostname=local",
            "--network-namespace-path=/run/netns/cairn0-local",
            "--capability=CAP_BPF,CAP_NET_ADMIN,CAP_SYS_RESOURCE",
            "--system-call-filter=bpf pidfd_getfd",
            "--resolv-conf=off",
            "--timezone=off",
            "--link-journal=no",
            "--console=passive",
            "--keep-unit",
        ];
        assert_eq!(args, expected);
        let with_systemd = arguments(&name, "cairn0-local", Path::new("/s/machines/local/root"), true);
        assert_eq!(with_systemd, expected[..13]);
    }
}
