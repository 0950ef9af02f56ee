//! Mounts: what is mounted where, and the tmpfs that nspawn wants on `/run/systemd`.

use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::error::at;
use crate::files::{absent_is_fine, remove_dir_all};
use crate::{MachineError, Result};

/// One line of `/proc/self/mountinfo` (`proc(5)`), as far as we care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    pub point: PathBuf,
    pub kind: String,
    pub options: String,
}

pub(crate) fn list() -> Result<Vec<Mount>> {
    let path = Path::new("/proc/self/mountinfo");
    Ok(parse(&fs::read_to_string(path).map_err(at("read", path))?))
}

pub(crate) fn parse(text: &str) -> Vec<Mount> {
    let line = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        Some(Mount {
            point: unescape(before.split(' ').nth(4)?),
            kind: after.next()?.to_owned(),
            options: after.nth(1)?.to_owned(),
        })
    };
    text.lines().filter_map(line).collect()
}

/// Blanks and backslashes are written as three octal digits.
fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(|_| *first == b'\\') {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

pub(crate) fn is_mounted(path: &Path) -> Result<bool> {
    Ok(list()?.iter().any(|mount| mount.point == path))
}

pub(crate) fn mount_at(source: &str, kind: &str, options: &str, target: &Path) -> Result<()> {
    mount(Some(source), target, Some(kind), MsFlags::empty(), Some(options))
        .map_err(|errno| at("mount on", target)(errno.into()))
}

/// Unmounts everything at and below `path`, deepest first. A process that just ended may hold a
/// mount for a moment longer, so this is patient for a while.
pub(crate) fn unmount_below(path: &Path) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let mut points: Vec<_> = list()?.into_iter().map(|m| m.point).filter(|p| p.starts_with(path)).collect();
        points.sort();
        let Some(deepest) = points.pop() else { return Ok(()) };
        if umount2(&deepest, MntFlags::UMOUNT_NOFOLLOW).is_err() {
            if Instant::now() > deadline {
                return Err(MachineError::StillMounted { path: deepest });
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

const RUN: &str = "/run/systemd";

/// nspawn keeps sockets and locks below `/run/systemd` and shares parts of it with its machines by
/// mount propagation. Where `/run` lies on the disk and PID 1 is not systemd, as in many containers,
/// that fails, and a tmpfs there is what makes it work. Others may use it as well: each state
/// directory leaves a mark in it, and who takes away the last mark unmounts it if we mounted it.
pub(crate) struct RunMount {
    mark: String,
}

impl RunMount {
    pub fn new(mark: String) -> Self {
        Self { mark }
    }

    fn marks() -> PathBuf {
        Path::new(RUN).join("cairn-machines")
    }

    pub fn hold(&self) -> Result<()> {
        let run = Path::new(RUN);
        if !is_mounted(run)? {
            if booted_with_systemd() || list()?.iter().any(|m| m.point == Path::new("/run") && m.kind == "tmpfs") {
                return Ok(());
            }
            fs::create_dir_all(run).map_err(at("create", run))?;
            mount_at("tmpfs", "tmpfs", "mode=755", run)?;
            fs::create_dir_all(Self::marks()).map_err(at("create", run))?;
        }
        // Only a mount that we made has the folder for marks.
        if Self::marks().is_dir() {
            let mark = Self::marks().join(&self.mark);
            fs::write(&mark, "").map_err(at("write", &mark))?;
        }
        Ok(())
    }

    pub fn release(&self) -> Result<()> {
        let marks = Self::marks();
        if !marks.is_dir() {
            return Ok(());
        }
        let mark = marks.join(&self.mark);
        absent_is_fine(fs::remove_file(&mark)).map_err(at("remove", &mark))?;
        let others = fs::read_dir(&marks).map_err(at("list", &marks))?.next().is_some();
        if others || !is_mounted(Path::new(RUN))? || other_nspawn()? {
            return Ok(());
        }
        remove_dir_all(&marks)?;
        unmount_below(Path::new(RUN))
    }
}

/// As `sd_booted(3)` decides it, but a tmpfs of ours does not fool it.
pub(crate) fn booted_with_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
        && fs::read_to_string("/proc/1/comm").is_ok_and(|comm| comm.trim() == "systemd")
}

/// Somebody else's machines may rely on the mount by now. One that has ended and that nobody has
/// waited for yet keeps its name, but has no command line any more.
fn other_nspawn() -> Result<bool> {
    let proc = Path::new("/proc");
    let entries = fs::read_dir(proc).map_err(at("list", proc))?;
    Ok(entries.flatten().map(|entry| entry.path()).any(|process| {
        fs::read_to_string(process.join("comm")).is_ok_and(|comm| comm.trim() == "systemd-nspawn")
            && fs::read(process.join("cmdline")).is_ok_and(|line| !line.is_empty())
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_is_read_with_escapes_and_optional_fields() {
        let text = "36 35 98:0 /mnt1 /mnt/with\\040blank rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue\n\
                    25 30 0:23 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
                    nonsense\n";
        let mounts = parse(text);
        assert_eq!(mounts.len(), 2);
        assert_eq!((mounts[0].point.as_path(), mounts[0].kind.as_str()), (Path::new("/mnt/with blank"), "ext3"));
        assert_eq!(mounts[1].options, "rw,name=systemd");
        assert_eq!(unescape("a\\134b\\04"), PathBuf::from("a\\b\\04"));
    }
}
