//! The root that a command of an image sees.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;

use nix::mount::{MsFlags, mount};

use super::ImageCommand;
use crate::mounts::{Access, DEVICES, attach, bind, change_root, keep_private, own_processes};
use crate::{Input, SandboxError};

/// The largest that a writable folder can get.
const SIZE: &str = "256m";
const HOSTS: &str = "/etc/hosts";
/// What is longer is cut off.
const LONGEST_HOSTS: u64 = 1 << 20;

pub fn build_root(image: &ImageCommand) -> Result<(), SandboxError> {
    keep_private()?;
    let at = &image.at;
    attach(&image.root, at, Access::Read)?;
    // First what comes from outside. Links in the image lead elsewhere there, so these must be
    // folders themselves.
    for folder in ["run", "dev", "proc"] {
        let folder = at.join(folder);
        let kind = fs::symlink_metadata(&folder).map_err(SandboxError::at("find a folder", &folder))?;
        if !kind.is_dir() {
            return Err(SandboxError::at("mount", &folder)(io::ErrorKind::NotADirectory.into()));
        }
    }
    writable(image, &at.join("run"), 0o755)?;
    for Input { from, to } in &image.inputs {
        bind(at, from, to, Access::Read)?;
    }
    devices(image, &at.join("dev"))?;
    own_processes(&at.join("proc"), false);
    change_root(at)?;

    for folder in &image.folders {
        fs::create_dir_all(folder).map_err(SandboxError::at("make a folder", folder))?;
        hand_over(image, folder)?;
    }
    writable(image, Path::new("/tmp"), 0o1777)?;
    writable(image, Path::new("/var/tmp"), 0o1777)?;
    for volume in &image.volumes {
        writable(image, volume, 0o750)?;
    }
    hosts(image)
}

/// An empty folder in memory, of the image's user.
fn writable(image: &ImageCommand, at: &Path, mode: u32) -> Result<(), SandboxError> {
    let options = format!("mode={mode:o},uid={},gid={},size={SIZE}", image.uid, image.gid);
    mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some(options.as_str()))
        .map_err(|e| SandboxError::at("mount an empty folder", at)(e.into()))
}

fn devices(image: &ImageCommand, dev: &Path) -> Result<(), SandboxError> {
    writable(image, dev, 0o755)?;
    for device in DEVICES {
        bind(dev, &Path::new("/dev").join(device), Path::new(device), Access::Device)?;
    }
    for (name, target) in [
        ("random", "urandom"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        symlink(target, dev.join(name)).map_err(SandboxError::at("make a link", &dev.join(name)))?;
    }
    let shm = dev.join("shm");
    fs::create_dir(&shm)
        .and_then(|()| fs::set_permissions(&shm, fs::Permissions::from_mode(0o1777)))
        .map_err(SandboxError::at("make a folder", &shm))
}

/// Names can be added to the image's own.
fn hosts(image: &ImageCommand) -> Result<(), SandboxError> {
    // An image may have a link there, which would lead out of what its user may read.
    let is_plain = |path: &str, wanted: fn(&fs::FileType) -> bool| {
        fs::symlink_metadata(path).is_ok_and(|meta| wanted(&meta.file_type()))
    };
    if !is_plain("/etc", fs::FileType::is_dir) || !is_plain(HOSTS, fs::FileType::is_file) {
        return Ok(());
    }
    let copy = Path::new("/run/hosts");
    let mut text = Vec::new();
    let read = fs::File::open(HOSTS).and_then(|file| file.take(LONGEST_HOSTS).read_to_end(&mut text));
    read.map_err(SandboxError::at("read", Path::new(HOSTS)))?;
    fs::write(copy, text).map_err(SandboxError::at("make a file", copy))?;
    hand_over(image, copy)?;
    attach(copy, Path::new(HOSTS), Access::Write)
}

/// What was made before the rights were given up belongs to the user already, unless there is no
/// user namespace.
fn hand_over(image: &ImageCommand, path: &Path) -> Result<(), SandboxError> {
    if nix::unistd::geteuid().as_raw() == image.uid {
        return Ok(());
    }
    chown(path, Some(image.uid), Some(image.gid)).map_err(SandboxError::at("hand over", path))
}
