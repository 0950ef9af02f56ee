//! A disk that machines lie on and that loses its power with them: an ext4 of its own. Shut down
//! (`EXT4_IOC_SHUTDOWN`), it drops whatever nobody has synced, as a disk does whose power goes; and it
//! writes nothing by itself that has not been asked for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cairn_machine::{MachineSpec, Machines};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{Machine, eventually, run, state, tool};

/// The request number, `_IOR('X', 125, u32)` of Linux's fs/ext4/ext4.h, and the flag that drops the
/// journal as well.
const SHUT_DOWN: &str = "import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";

pub struct Disk {
    image: PathBuf,
    folder: PathBuf,
}

impl Disk {
    /// A folder for the state of machines, with the base that all tests share.
    pub fn new(name: &str) -> Self {
        let machines = Machines::new(state().join("cairn/machines")).expect("a folder for machines");
        machines.prepare(&MachineSpec::default(), &|event| eprintln!("{event}")).expect("a base for machines");
        let disk = Self { image: state().join(format!("{name}.img")), folder: state().join(name) };
        disk.detach();
        fs::create_dir_all(&disk.folder).expect("a folder");
        tool("truncate", ["--size=4G".as_ref(), disk.image.as_os_str()]);
        tool("mkfs.ext4", ["-q".as_ref(), "-F".as_ref(), disk.image.as_os_str()]);
        disk.attach();
        fs::create_dir_all(disk.state().join("cairn/machines")).expect("a folder");
        let (base, link) = (state().join("cairn/machines/bases"), disk.state().join("cairn/machines/bases"));
        std::os::unix::fs::symlink(base, link).expect("a link");
        disk
    }

    pub fn state(&self) -> &Path {
        &self.folder
    }

    /// What is there by now will be there.
    pub fn sync(&self) {
        tool("sync", ["--file-system".as_ref(), self.folder.as_os_str()]);
    }

    /// Cuts the power of the disk and of the machine on it, and gives it back to the disk.
    #[track_caller]
    pub fn cut(&self, machine: &Machine) {
        let (nspawn, leader) = (machine.inner().pid.expect("a machine that runs"), machine.leader());
        tool("python3", ["-c".as_ref(), SHUT_DOWN.as_ref(), self.folder.as_os_str()]);
        for pid in [leader, nspawn] {
            // The second may have gone with the first.
            let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
        }
        eventually(Duration::from_secs(10), || self.is_detached());
        self.attach();
    }

    fn attach(&self) {
        // Nothing is written that nobody has synced, as far as that is up to the file system.
        let options = "--options=loop,commit=300";
        tool("mount", [options.as_ref(), self.image.as_os_str(), self.folder.as_os_str()]);
    }

    /// With all that is mounted on it; whether nothing of it is left.
    fn is_detached(&self) -> bool {
        let below = |line: &str| line.split(' ').nth(4).map(PathBuf::from).filter(|at| at.starts_with(&self.folder));
        let table = fs::read_to_string("/proc/self/mountinfo").expect("the mounts");
        let points: Vec<PathBuf> = table.lines().filter_map(below).collect();
        // A machine that has not quite ended still holds it, and whoever mounts it then gets the dead one.
        points.iter().rev().all(|point| run(Command::new("umount").arg(point)).code == 0)
            && tool("losetup", ["--associated".as_ref(), self.image.as_os_str()]).is_empty()
    }

    fn detach(&self) {
        if self.image.exists() {
            eventually(Duration::from_secs(10), || self.is_detached());
            fs::remove_file(&self.image).expect("our own file");
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.detach();
    }
}
