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
pub const DEVICES: [&str; 3] = ["null", "zero", "urandom"];

pub fn build_root(sandbox: &Sandbox, program: &Path) -> Result<(), SandboxError> {
    let root = &sandbox.root;
    keep_private()?;
    mount(Some("tmpfs"), root, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("mode=0755,size=1g"))
        .map_err(|e| SandboxError::at("mount a root", root)(e.into()))?;

    for dir in ["dev", "tmp", "proc"] {
        let dir = root.join(dir);
        fs::create_dir(&dir).map_err(SandboxError::at("make a folder", &dir))?;
    }
    for device in DEVICES {
        let device = Path::new("/dev").join(device);
        bind(root, &device, &device, true)?;
    }
    let fd = root.join("dev/fd");
    symlink("/proc/self/fd", &fd).map_err(SandboxError::at("make a link", &fd))?;
    bind(root, program, Path::new(PROGRAM), false)?;
    for input in &sandbox.inputs {
        bind(root, &input.from, &input.to, false)?;
    }
    bind(root, &sandbox.build, Path::new(BUILD_DIR), true)?;
    if sandbox.proc {
        bind(root, Path::new("/proc"), Path::new("/proc"), true)?;
    }
    change_root(root)
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
pub fn bind(root: &Path, from: &Path, to: &Path, writable: bool) -> Result<(), SandboxError> {
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
    attach(from, &to, writable)
}

/// Shows `from` at `to`, which is there.
pub fn attach(from: &Path, to: &Path, writable: bool) -> Result<(), SandboxError> {
    let fail = |e: io::Error| SandboxError::at("mount an input", from)(e);
    mount(Some(from), to, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE).map_err(|e| fail(e.into()))?;
    if writable {
        return Ok(());
    }
    // Flags of the file system below are locked in a user namespace and must be repeated.
    let below = statvfs(from).map_err(|e| fail(e.into()))?.flags();
    let mut flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    for (have, keep) in [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
    ] {
        if below.contains(have) {
            flags |= keep;
        }
    }
    mount(NONE, to, NONE, flags, NONE).map_err(|e| fail(e.into()))
}
