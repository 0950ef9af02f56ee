//! What any host must have: rights, systemd, a kernel, room, the right time.

use std::fs;
use std::path::{Path, PathBuf};

use cairn_formats::Platform;
use cairn_protocol::Finding;
use nix::sys::statvfs::{FsFlags, statvfs};

use crate::activation::preflight::{FREE_BYTES, OLDEST_SYSTEMD};
use crate::activation::record;
use crate::error::{Result, file};
use crate::paths::Paths;
use crate::systemd as manager;

/// Below it a copy of an ordinary closure may not fit.
const ROOM: u64 = 1 << 30;
const FULL_PERCENT: u64 = 90;
/// Seconds that a clock may be off: to be told, and to be a fault.
const SKEW: [u64; 2] = [5, 60];
/// What limits of services are made of.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

pub fn findings(paths: &Paths, now: u64) -> Result<Vec<Finding>> {
    let mut found = vec![rights(), Finding::good("platform", Platform::native().to_string()), systemd(paths)];
    found.extend([namespaces(paths), seccomp(paths), cgroups(paths), memory(paths)]);
    found.extend(disks(paths)?);
    found.push(clock(record::milliseconds(), now));
    Ok(found)
}

fn rights() -> Finding {
    if nix::unistd::geteuid().is_root() {
        return Finding::good("rights", "the agent is root");
    }
    Finding::wrong(
        "rights",
        format!("the agent runs as user {}", nix::unistd::geteuid()),
        "units, users and the store are root's",
        "log in as root, or as a user with `ALL=(root) NOPASSWD: ALL` in /etc/sudoers.d",
    )
}

fn systemd(paths: &Paths) -> Finding {
    let needs = format!("services are units of systemd {OLDEST_SYSTEMD} or later");
    if !paths.runtime_units().is_dir() {
        return Finding::wrong("systemd", "it is not this host's first process", needs, "boot the host with systemd");
    }
    match manager::version() {
        Ok(version) if version >= OLDEST_SYSTEMD => Finding::good("systemd", format!("version {version}")),
        Ok(version) => {
            Finding::wrong("systemd", format!("version {version}"), needs, "upgrade the host's distribution")
        }
        Err(error) => super::fault("systemd", &error),
    }
}

fn namespaces(paths: &Paths) -> Finding {
    let text = fs::read_to_string(paths.at("/proc/sys/user/max_user_namespaces")).unwrap_or_default();
    match text.trim().parse::<u64>() {
        Ok(1..) => Finding::good("user namespaces", "the kernel has them"),
        _ => Finding::wrong(
            "user namespaces",
            "the kernel has none, or allows none",
            "services run in one of their own (`PrivateUsers=`)",
            "`sysctl user.max_user_namespaces=10000`, or a kernel with CONFIG_USER_NS",
        ),
    }
}

fn seccomp(paths: &Paths) -> Finding {
    let status = fs::read_to_string(paths.at("/proc/self/status")).unwrap_or_default();
    if status.lines().any(|line| line.starts_with("Seccomp:")) {
        return Finding::good("system call filters", "the kernel has them");
    }
    Finding::wrong(
        "system call filters",
        "the kernel has none",
        "services may make only the system calls that they need (`SystemCallFilter=`)",
        "use a kernel with CONFIG_SECCOMP_FILTER",
    )
}

fn cgroups(paths: &Paths) -> Finding {
    let next = "boot with systemd.unified_cgroup_hierarchy=1";
    let Ok(text) = fs::read_to_string(paths.at("/sys/fs/cgroup/cgroup.controllers")) else {
        return Finding::note(
            "cgroups",
            "the host has not version 2",
            "limits of memory and processors are not enforced as they are in a definition",
            next,
        );
    };
    let has: Vec<&str> = text.split_whitespace().collect();
    let missing: Vec<&str> = CONTROLLERS.into_iter().filter(|name| !has.contains(name)).collect();
    if missing.is_empty() {
        return Finding::good("cgroups", "version 2");
    }
    let what = format!("version 2, without {}", missing.join(", "));
    Finding::note(
        "cgroups",
        what,
        "limits that need them are not enforced",
        "enable these controllers, or raise no limits",
    )
}

fn memory(paths: &Paths) -> Finding {
    let text = fs::read_to_string(paths.at("/proc/filesystems")).unwrap_or_default();
    if text.lines().any(|line| line.ends_with("\tramfs")) {
        return Finding::good("memory file system", "ramfs");
    }
    Finding::note(
        "memory file system",
        "the kernel has no ramfs",
        "secrets in clear lie in /run, which may be swapped out",
        "keep the swap encrypted, or use a kernel with ramfs",
    )
}

/// The nearest folder that there is.
fn nearest(path: &Path) -> PathBuf {
    path.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/")).to_owned()
}

fn disks(paths: &Paths) -> Result<Vec<Finding>> {
    let mut seen = Vec::new();
    let mut found = Vec::new();
    for name in ["/", "/nix", "/var/lib"] {
        let path = nearest(&paths.at(name));
        let stat = statvfs(&path).map_err(|e| file("cannot measure", &path)(e.into()))?;
        let check = format!("disk of {name}");
        if name == "/nix" && stat.flags().intersects(FsFlags::ST_NOEXEC | FsFlags::ST_RDONLY) {
            let what = "it is mounted noexec or read-only";
            found.push(Finding::wrong(
                &check,
                what,
                "programs are stored in /nix and run from there",
                "mount it with rw,exec",
            ));
        }
        // As df(1) counts: what is kept for root is neither used nor free.
        let used = stat.blocks().saturating_sub(stat.blocks_free()).saturating_mul(stat.fragment_size());
        let free = stat.blocks_available().saturating_mul(stat.fragment_size());
        // The same file system tells the same.
        if !seen.contains(&(stat.filesystem_id(), used, free)) {
            seen.push((stat.filesystem_id(), used, free));
            found.push(room(&check, free, used));
        }
    }
    Ok(found)
}

fn room(check: &str, free: u64, used: u64) -> Finding {
    let percent = used.saturating_mul(100) / used.saturating_add(free).max(1);
    let what = format!("{} MiB free, {percent}% used", free >> 20);
    let next = "`deploy gc HOST` removes generations that need not stay; else make room";
    if free < FREE_BYTES || percent >= FULL_PERCENT {
        return Finding::wrong(
            check,
            what,
            "a switch needs room for what it brings, and services for what they write",
            next,
        );
    }
    if free < ROOM {
        return Finding::note(check, what, "a large closure may not fit", next);
    }
    Finding::good(check, what)
}

fn clock(here: u64, there: u64) -> Finding {
    let seconds = here.abs_diff(there) / 1000;
    let what = format!("{seconds} s {} the operator's", if here < there { "behind" } else { "before" });
    let why = "certificates, tokens and the times in logs go by it";
    let next = "`timedatectl set-ntp true` on the host, and look at the operator's own clock";
    match seconds {
        0 => Finding::good("clock", "right to the second"),
        _ if seconds > SKEW[1] => Finding::wrong("clock", what, why, next),
        _ if seconds > SKEW[0] => Finding::note("clock", what, why, next),
        _ => Finding::good("clock", what),
    }
}

#[cfg(test)]
mod tests {
    use cairn_protocol::Level;

    use super::*;

    #[test]
    fn clocks_and_disks_are_judged_by_how_far_they_are_off() {
        for (here, level) in [(0, Level::Good), (4_000, Level::Good), (30_000, Level::Note), (90_000, Level::Wrong)] {
            assert_eq!(clock(1_000_000 + here, 1_000_000).level, level, "{here}");
            assert_eq!(clock(1_000_000, 1_000_000 + here).level, level, "{here}");
        }
        let gib = 1 << 30;
        for (free, used, level) in [
            (50 * gib, 50 * gib, Level::Good),
            (5 * gib, 95 * gib, Level::Wrong),
            (gib / 2, gib, Level::Note),
            (FREE_BYTES - 1, 1, Level::Wrong),
            (0, 0, Level::Wrong),
        ] {
            assert_eq!(room("disk", free, used).level, level, "{free} free, {used} used");
        }
    }
}
