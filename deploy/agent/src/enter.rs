//! Runs a command where a replica runs: its root file system and mounts, network, cgroup, user and
//! environment.
//!
//! The command joins the namespaces of the replica's main process, which costs no unit and shows
//! the very files, sockets and credentials that the replica has; a second unit with the same
//! settings would have a network, a `/tmp` and credentials of its own. It is in the replica's
//! cgroup, so that limits and address filters hold for it, and it ends with the replica. What it is
//! told by the terminal and tells goes over the SSH connection: neither its environment nor its
//! output is seen by `systemctl` or the journal.
//!
//! The order of the steps is forced. Cgroups, `/proc` and names of users are the host's, so they
//! come before the mounts. A service's user namespace does not let anybody set groups, so they are
//! set before it is joined; the user can only be set after, since joining takes root.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use cairn_closure::{Replica, Service, UnitName};
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl::set_no_new_privs;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, User, chroot, fchdir, setgroups, setresgid, setresuid};

use crate::error::{AgentError, Fault, Result, file};
use crate::paths::Paths;
use crate::{manifests, systemd};

/// Where systemd shows a unit's credentials, to the unit itself as well.
const CREDENTIALS: &str = "/run/credentials";
/// What systemd gives to services that say nothing else.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Without a command: the first of these that the image has.
const SHELLS: [&[&str]; 4] = [&["/bin/bash"], &["/bin/sh"], &["/usr/bin/busybox", "sh"], &["/bin/busybox", "sh"]];

/// Only returns when it fails. `replica` is a number from 1; without one the first that runs is taken.
pub fn run(service: &str, replica: Option<usize>, command: &[Vec<u8>]) -> Result<Infallible> {
    let paths = Paths::host();
    let (manifest, name) = manifests::live_service(&paths, service)?;
    let service = &manifest.services[&name];
    if !service.kind.is_service() {
        return Err(Fault::new(format!("{name} does not run all the time, so there is nothing to enter"))
            .advice("name a service; tasks, checks and timers run to their end")
            .into());
    }
    let (unit, pid) = running(service, replica).map_err(|message| Fault::new(format!("{name}: {message}")))?;
    let (_, closure) = manifests::committed(&paths)?.ok_or_else(|| Fault::new("the host has no generation"))?;
    let text = read(&paths.store_path(&closure).join("units").join(unit.as_str()))?;
    let environment = environment(&unit, service, &text);
    enter(&unit, pid, service)?;
    let command = match command.is_empty() {
        true => shell()?,
        false => command.iter().cloned().map(OsString::from_vec).collect(),
    };
    execute(&command, environment)
}

/// The unit and main process of the replica that is meant.
fn running(service: &Service, number: Option<usize>) -> std::result::Result<(UnitName, i32), String> {
    let all: &[Replica] = &service.replicas;
    let wanted = match number {
        None => all,
        Some(number) => all
            .get(number.wrapping_sub(1)..number)
            .ok_or_else(|| format!("there is no replica {number}: they have the numbers 1 to {}", all.len()))?,
    };
    let units: Vec<UnitName> = wanted.iter().map(|replica| replica.unit.clone()).collect();
    let states = systemd::states(&units).map_err(|error| error.to_string())?;
    let pid = |unit: &UnitName| states.get(unit).filter(|state| state.is_active()).and_then(|state| state.main_pid);
    let found = units.iter().find_map(|unit| Some((unit.clone(), pid(unit)?)));
    found.ok_or_else(|| "no replica runs that could be entered; `deploy logs` says why".to_owned())
}

/// As systemd makes it for the replica, without what speaks of one process alone (its invocation,
/// its sockets). A process's own memory of it would not do: some servers write over it.
fn environment(unit: &UnitName, service: &Service, text: &str) -> Vec<(String, OsString)> {
    let mut all: Vec<(String, OsString)> = vec![("PATH".to_owned(), PATH.into())];
    if let Ok(Some(user)) = User::from_uid(Uid::from_raw(service.user.uid)) {
        let home = user.dir.into_os_string();
        all.extend([("USER".to_owned(), user.name.clone().into()), ("LOGNAME".to_owned(), user.name.into())]);
        all.push(("HOME".to_owned(), home));
    }
    if !service.secrets.is_empty() {
        all.push(("CREDENTIALS_DIRECTORY".to_owned(), format!("{CREDENTIALS}/{unit}").into()));
    }
    // Of the operator's own only this: how to draw on the terminal.
    all.extend(std::env::var_os("TERM").map(|term| ("TERM".to_owned(), term)));
    let own = cairn_closure::environment(text);
    all.extend(own.into_iter().filter(|(name, _)| name != "NGINX").map(|(name, value)| (name, value.into())));
    all
}

/// Becomes a process of the service as far as the kernel can tell.
fn enter(unit: &UnitName, pid: i32, service: &Service) -> Result<()> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let open = |name: &str| {
        let path = process.join(name);
        File::open(&path).map_err(file("cannot open", &path))
    };
    let status = read(&process.join("status"))?;
    let groups = numbers(&status, "Groups:", 10).into_iter().map(Gid::from_raw).collect::<Vec<_>>();
    let mask = numbers(&status, "Umask:", 8);
    let (root, folder) = (open("root")?, open("cwd")?);
    let spaces = ["net", "ipc", "uts", "mnt"].map(|name| open(&format!("ns/{name}")));
    let own_users = fs::read_link("/proc/self/ns/user").ok() == fs::read_link(process.join("ns/user")).ok();
    let users = open("ns/user")?;
    join_cgroups(&process, unit)?;

    let refused = |doing: &'static str| {
        move |e: nix::errno::Errno| {
            AgentError::from(Fault::new(format!("cannot {doing} of the replica's process: {e}")))
        }
    };
    for space in spaces {
        setns(space?, CloneFlags::empty()).map_err(refused("join a namespace"))?;
    }
    fchdir(&root).and_then(|()| chroot(".")).map_err(refused("take the root"))?;
    fchdir(&folder).map_err(refused("take the folder"))?;
    let (uid, gid) = (Uid::from_raw(service.user.uid), Gid::from_raw(service.user.gid));
    setgroups(&groups).and_then(|()| setresgid(gid, gid, gid)).map_err(refused("take the groups"))?;
    if !own_users {
        setns(users, CloneFlags::empty()).map_err(refused("join the user namespace"))?;
    }
    setresuid(uid, uid, uid).map_err(refused("take the user"))?;
    if let Some(mask) = mask.first() {
        umask(Mode::from_bits_truncate(*mask));
    }
    set_no_new_privs().map_err(refused("take the restrictions"))
}

/// `NUMBER:CONTROLLERS:PATH` lines, as cgroups(7) says: each a folder of some hierarchy. Where systemd
/// has made none for the unit, it does not limit it.
fn join_cgroups(process: &Path, unit: &UnitName) -> Result<()> {
    let text = read(&process.join("cgroup"))?;
    let is_own = |folder: &PathBuf| folder.components().any(|part| part.as_os_str() == unit.as_str());
    for folder in text.lines().filter_map(cgroup).filter(is_own) {
        let members = folder.join("cgroup.procs");
        let mut out = fs::OpenOptions::new().write(true).open(&members).map_err(file("cannot open", &members))?;
        out.write_all(b"0").map_err(file("cannot join", &members))?;
    }
    Ok(())
}

fn cgroup(line: &str) -> Option<PathBuf> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?.trim_start_matches('/'));
    let mount = match controllers.strip_prefix("name=").unwrap_or(controllers) {
        // Where version 1 is mounted as well, version 2 has a folder beside its controllers.
        "" if Path::new("/sys/fs/cgroup/unified").is_dir() => "/sys/fs/cgroup/unified".to_owned(),
        "" => "/sys/fs/cgroup".to_owned(),
        name => format!("/sys/fs/cgroup/{name}"),
    };
    Some(Path::new(&mount).join(path))
}

/// The numbers of one line of `/proc/PID/status`.
fn numbers(status: &str, key: &str, radix: u32) -> Vec<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    line.split_whitespace().filter_map(|word| u32::from_str_radix(word, radix).ok()).collect()
}

/// In the image.
fn shell() -> Result<Vec<OsString>> {
    let found = SHELLS.iter().find(|words| words.first().is_some_and(|program| Path::new(program).exists()));
    match found {
        Some(words) => Ok(words.iter().map(OsString::from).collect()),
        None => Err(Fault::new("the image has no shell").advice("name a command of the image after `--`").into()),
    }
}

fn execute(command: &[OsString], environment: Vec<(String, OsString)>) -> Result<Infallible> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(Fault::new("there is no command").into());
    };
    let error = Command::new(program).args(arguments).env_clear().envs(environment).exec();
    Err(Fault::new(format!("cannot run {} in the image: {error}", program.display())).into())
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(file("cannot read", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_of_a_process_is_read() {
        let status = "Name:\tgunicorn\nUmask:\t0007\nUid:\t10001\t10001\nGroups:\t10001 10003 \nNStgid:\t9\n";
        assert_eq!(numbers(status, "Groups:", 10), [10001, 10003]);
        assert_eq!(numbers(status, "Umask:", 8), [7]);
        assert_eq!(numbers("Groups:\t\n", "Groups:", 10), [0_u32; 0]);
        for (line, expected) in [
            (
                "1:name=systemd:/system.slice/cairn-api.service",
                Some("/sys/fs/cgroup/systemd/system.slice/cairn-api.service"),
            ),
            ("9:cpu,cpuacct:/a", Some("/sys/fs/cgroup/cpu,cpuacct/a")),
            ("junk", None),
        ] {
            assert_eq!(cgroup(line).as_deref(), expected.map(Path::new), "{line}");
        }
    }
}
