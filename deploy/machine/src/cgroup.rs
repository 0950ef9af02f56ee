//! A cgroup for each machine, where there is no systemd on this computer to make one.
//!
//! `systemd-nspawn --keep-unit` stays in the cgroup that it is started in, and names what it makes
//! there `payload` and `supervisor`. Two machines started in the same cgroup would share `payload`,
//! and the systemd of one would find, and kill, the services of the other. So each is started in a
//! cgroup of its own. That also tells us every process of a machine, whoever its parent is: nspawn's
//! machines outlive nspawn when it is killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::error::at;
use crate::files::absent_is_fine;
use crate::supervisor::send;
use crate::{MachineError, Result, mounts};

const PARENT: &str = "cairn-machines";

/// A cgroup file system that systemd uses to keep processes apart.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    mount: PathBuf,
    /// Where we are in it, relative to the mount.
    own: PathBuf,
    /// Version 1 moves single threads, version 2 whole processes.
    members: &'static str,
}

fn hierarchies() -> Result<Vec<Hierarchy>> {
    let path = Path::new("/proc/self/cgroup");
    let own = fs::read_to_string(path).map_err(at("read", path))?;
    Ok(find(&own, &mounts::list()?))
}

/// `own` as `cgroups(7)` describes `/proc/PID/cgroup`: `NUMBER:CONTROLLERS:PATH`.
fn find(own: &str, mounts: &[mounts::Mount]) -> Vec<Hierarchy> {
    let hierarchy = |line: &str| {
        let mut parts = line.splitn(3, ':');
        let (kind, members) = match (parts.next()?, parts.next()?) {
            ("0", "") => ("cgroup2", "cgroup.procs"),
            (_, "name=systemd") => ("cgroup", "tasks"),
            _ => return None,
        };
        let own = parts.next()?.trim_start_matches('/');
        let named = |m: &&mounts::Mount| kind == "cgroup2" || m.options.split(',').any(|o| o == "name=systemd");
        let mount = mounts.iter().filter(|m| m.kind == kind).find(named)?;
        Some(Hierarchy { mount: mount.point.clone(), own: PathBuf::from(own), members })
    };
    own.lines().filter_map(hierarchy).collect()
}

fn folders(label: &str) -> Result<Vec<PathBuf>> {
    Ok(hierarchies()?.into_iter().map(|h| h.mount.join(PARENT).join(label)).collect())
}

/// While it lives, the calling thread is in the machine's cgroup, and so is what it starts.
pub(crate) struct Entered(Vec<PathBuf>);

impl Entered {
    pub fn new(label: &str) -> Result<Self> {
        let mut entered = Self(Vec::new());
        for hierarchy in hierarchies()? {
            let folder = hierarchy.mount.join(PARENT).join(label);
            fs::create_dir_all(&folder).map_err(at("create", &folder))?;
            let members = folder.join(hierarchy.members);
            fs::write(&members, "0").map_err(at("enter", &members))?;
            entered.0.push(hierarchy.mount.join(hierarchy.own).join(hierarchy.members));
        }
        Ok(entered)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        for members in &self.0 {
            // Nothing to be done, and little lost: we would be taken for a process of the machine.
            let _ = fs::write(members, "0");
        }
    }
}

/// Ends every process of the machine, at once.
pub(crate) fn kill(name: &str, label: &str) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let mut pids = Vec::new();
        for folder in folders(label)? {
            members(&folder, &mut pids)?;
        }
        // Moved back on drop, but a process that was killed in between may have left us here.
        pids.retain(|pid| *pid != std::process::id());
        if pids.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(MachineError::Unkillable { name: name.to_owned(), pids });
        }
        for pid in pids {
            send(pid, Signal::SIGKILL);
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Takes away the machine's empty cgroups and, after the last machine, their parent.
pub(crate) fn remove(label: &str) -> Result<()> {
    for folder in folders(label)? {
        let deadline = Instant::now() + Duration::from_secs(5);
        // A cgroup stays busy until the kernel has buried its last process.
        while let Err(error) = remove_tree(&folder) {
            if Instant::now() > deadline {
                return Err(error);
            }
            thread::sleep(Duration::from_millis(20));
        }
        if let Some(parent) = folder.parent() {
            let _ = fs::remove_dir(parent);
        }
    }
    Ok(())
}

fn subfolders(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(at("list", folder)(error)),
    };
    Ok(entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect())
}

fn members(folder: &Path, pids: &mut Vec<u32>) -> Result<()> {
    for sub in subfolders(folder)? {
        members(&sub, pids)?;
    }
    // Gone in the meantime means empty.
    let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
    pids.sort_unstable();
    pids.dedup();
    Ok(())
}

fn remove_tree(folder: &Path) -> Result<()> {
    for sub in subfolders(folder)? {
        remove_tree(&sub)?;
    }
    absent_is_fine(fs::remove_dir(folder)).map_err(at("remove", folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hierarchies_of_systemd_are_found() {
        let mount = |point: &str, kind: &str, options: &str| mounts::Mount {
            point: point.into(),
            kind: kind.into(),
            options: options.into(),
        };
        let mounts = [
            mount("/sys/fs/cgroup/cpu", "cgroup", "rw,cpu"),
            mount("/sys/fs/cgroup/systemd", "cgroup", "rw,name=systemd"),
            mount("/sys/fs/cgroup/unified", "cgroup2", "rw"),
        ];
        let hybrid = find("9:name=systemd:/a\n4:memory:/x\n0::/b:c\n", &mounts);
        let expected = [("/sys/fs/cgroup/systemd", "a", "tasks"), ("/sys/fs/cgroup/unified", "b:c", "cgroup.procs")];
        assert_eq!(hybrid, expected.map(|(m, own, members)| Hierarchy { mount: m.into(), own: own.into(), members }));
        assert_eq!(find("0::/\n", &mounts[..2]), []);
    }
}
