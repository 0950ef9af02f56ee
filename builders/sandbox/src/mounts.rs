//! The root that a build step sees.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{chdir, pivot_root};

use crate::{BUILD_DIR, PROGRAM, Sandbox, SandboxError};

pub const NONE: Option<&str> = None;
pub const PROC: &str = "/proc";
pub const DEVICES: [&str; 3] = ["null", "zero", "urandom"];

/// Makes the root and moves into it. Only [`BUILD_DIR`] and `/tmp` are writable there.
pub fn build_root(sandbox: &Sandbox, program: &Path) -> Result<(), SandboxError> {
    let root = &sandbox.root;
    keep_private()?;
    empty(root, "mode=0755,size=64m")?;
    for dir in ["dev", "tmp", "proc"] {
        let dir = root.join(dir);
        fs::create_dir(&dir).map_err(SandboxError::at("make a folder", &dir))?;
    }
    empty(&root.join("tmp"), "mode=1777,size=1g")?;
    for device in DEVICES {
        let device = Path::new("/dev").join(device);
        bind(root, &device, &device, Access::Device)?;
    }
    let fd = root.join("dev/fd");
    symlink("/proc/self/fd", &fd).map_err(SandboxError::at("make a link", &fd))?;
    bind(root, program, Path::new(PROGRAM), Access::Read)?;
    for input in &sandbox.inputs {
        bind(root, &input.from, &input.to, Access::Read)?;
    }
    bind(root, &sandbox.build, Path::new(BUILD_DIR), Access::Write)?;
    if sandbox.nested {
        // A process that sees no whole /proc may not mount one of its own.
        bind(root, Path::new(PROC), Path::new(PROC), Access::Device)?;
    }
    remount(root, MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV)
        .map_err(SandboxError::at("close the root", root))?;
    change_root(root)
}

/// Shows only the processes of the caller's own namespace from here on.
pub fn own_processes(proc: &Path, writable: bool) {
    let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    if !writable {
        flags |= MsFlags::MS_RDONLY;
    }
    // Refused where parts of this computer's own are hidden, as in some containers. A step's first
    // process, which runs no foreign code, then goes on seeing the computer's; a command of an image
    // finds the folder empty, which is as good as what most services see of it.
    let _ = mount(Some("proc"), proc, Some("proc"), flags, NONE);
}

fn empty(at: &Path, options: &str) -> Result<(), SandboxError> {
    mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some(options))
        .map_err(|e| SandboxError::at("mount an empty folder", at)(e.into()))
}

/// What is mounted from here on stays in this namespace.
pub fn keep_private() -> Result<(), SandboxError> {
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)
        .map_err(|e| SandboxError::at("keep mounts private", Path::new("/"))(e.into()))
}

pub fn change_root(root: &Path) -> Result<(), SandboxError> {
    // pivot_root onto itself stacks the old root on the new one; detaching it leaves the new.
    chdir(root)
        .and_then(|()| pivot_root(".", "."))
        .and_then(|()| umount2(".", MntFlags::MNT_DETACH))
        .and_then(|()| chdir("/"))
        .map_err(|e| SandboxError::at("change the root", root)(e.into()))
}

/// Shows `from` at `to` below the root, where the folders and the file are made.
pub fn bind(root: &Path, from: &Path, to: &Path, access: Access) -> Result<(), SandboxError> {
    let to = root.join(to.strip_prefix("/").unwrap_or(to));
    let meta = fs::symlink_metadata(from).map_err(SandboxError::at("find an input", from))?;
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).map_err(SandboxError::at("make a folder", parent))?;
    }
    if meta.is_symlink() {
        // An output may be nothing but a link; there is nothing to mount.
        let target = fs::read_link(from).map_err(SandboxError::at("read a link", from))?;
        return symlink(target, &to).map_err(SandboxError::at("make a link", &to));
    }
    if meta.is_dir() {
        fs::create_dir_all(&to).map_err(SandboxError::at("make a folder", &to))?;
    } else {
        File::create(&to).map_err(SandboxError::at("make a file", &to))?;
    }
    attach(from, &to, access)
}

/// What can be done with a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
    /// Everything that can be done with it outside: devices work.
    Device,
}

/// Shows `from` at `to`, which is there.
pub fn attach(from: &Path, to: &Path, access: Access) -> Result<(), SandboxError> {
    let fail = |e: io::Error| SandboxError::at("mount an input", from)(e);
    mount(Some(from), to, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE).map_err(|e| fail(e.into()))?;
    let mut flags = match access {
        Access::Device => return Ok(()),
        Access::Write => MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Access::Read => MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_RDONLY,
    };
    // Flags of the file system below are locked in a user namespace and must be repeated.
    let below = statvfs(from).map_err(|e| fail(e.into()))?.flags();
    for (have, keep) in [
        (FsFlags::ST_RDONLY, MsFlags::MS_RDONLY),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
    ] {
        if below.contains(have) {
            flags |= keep;
        }
    }
    remount(to, flags).map_err(fail)
}

fn remount(at: &Path, flags: MsFlags) -> io::Result<()> {
    mount(NONE, at, NONE, MsFlags::MS_BIND | MsFlags::MS_REMOUNT | flags, NONE).map_err(Into::into)
}
