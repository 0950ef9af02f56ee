//! A machine's files: an overlay over the base, and what makes it this machine.
//!
//! Creating an overlay takes milliseconds; a copy of a base takes seconds. Where the kernel refuses
//! an overlay, as on top of another one, the base is copied.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use crate::error::at;
use crate::files::{absent_is_fine, remove_dir_all};
use crate::mounts::{is_mounted, mount_at, unmount_below};
use crate::name::MachineName;
use crate::process::{Tool, run};
use crate::tree::Tree;
use crate::{MachineError, Result};

/// Root's keys only. `UseDNS` and `PrintMotd` cost time at each login.
const SSHD: &str = "# Written by cairn when the machine was made.\n\
    HostKey /etc/ssh/ssh_host_ed25519_key\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n\
    KbdInteractiveAuthentication no\nUseDNS no\nPrintMotd no\nMaxStartups 100\n";

const RESOLV: &str = "# No name servers: this machine reaches its own network only.\n";

/// Timers of a plain Debian that would look for mirrors that this machine cannot reach.
const MASKED: [&str; 2] = ["apt-daily.timer", "apt-daily-upgrade.timer"];

/// The folders and keys in a machine's folder.
pub(crate) struct MachineFiles<'a> {
    folder: &'a Path,
}

impl<'a> MachineFiles<'a> {
    pub const fn new(folder: &'a Path) -> Self {
        Self { folder }
    }

    pub fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    pub fn console(&self) -> PathBuf {
        self.folder.join("console.log")
    }

    pub fn identity(&self) -> PathBuf {
        self.folder.join("id_ed25519")
    }

    /// Type and key, as in `known_hosts`.
    pub fn host_key(&self) -> Result<String> {
        let path = self.folder.join("host_ed25519.pub");
        let text = fs::read_to_string(&path).map_err(at("read", &path))?;
        Ok(text.split_ascii_whitespace().take(2).collect::<Vec<_>>().join(" "))
    }

    /// Makes the files of a new machine; whatever an interrupted run left is thrown away.
    pub fn create(&self, name: &MachineName, base: &Path) -> Result<()> {
        self.unmount()?;
        for folder in ["root", "upper", "work"] {
            remove_dir_all(&self.folder.join(folder))?;
        }
        for (file, comment) in [("host_ed25519", name.as_str()), ("id_ed25519", "cairn")] {
            let path = self.folder.join(file);
            for old in [path.clone(), path.with_extension("pub")] {
                absent_is_fine(fs::remove_file(&old)).map_err(at("remove", &old))?;
            }
            let path = path.display().to_string();
            run(Tool::SshKeygen, &["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", &path])?;
        }
        self.mount(base)?;
        self.personalise(name)
    }

    /// Makes `root` the machine's root, if it is not.
    pub fn mount(&self, base: &Path) -> Result<()> {
        let root = self.root();
        let [upper, work] = ["upper", "work"].map(|part| self.folder.join(part));
        if is_mounted(&root)? {
            return Ok(());
        }
        if root.is_dir() && !upper.is_dir() {
            return Ok(()); // a copy
        }
        for path in [&root, &upper, &work] {
            fs::create_dir_all(path).map_err(at("create", path))?;
        }
        match overlay_options(base, &upper, &work).map(|options| mount_at("overlay", "overlay", &options, &root)) {
            Some(Ok(())) => Ok(()),
            refused => {
                if fs::read_dir(&upper).map_err(at("list", &upper))?.next().is_some() {
                    // A machine that was an overlay once cannot become a copy without losing files.
                    return refused.unwrap_or(Err(MachineError::StillMounted { path: root }));
                }
                copy(base, &root)?;
                remove_dir_all(&work)?;
                remove_dir_all(&upper)
            }
        }
    }

    /// Whether the files can be seen: an overlay that is not mounted shows none.
    pub fn is_there(&self) -> Result<bool> {
        Ok(is_mounted(&self.root())? || !self.folder.join("upper").is_dir())
    }

    pub fn unmount(&self) -> Result<()> {
        unmount_below(&self.root())
    }

    /// Writes the names of the other machines into this one's `/etc/hosts`.
    pub fn introduce(&self, name: &MachineName, others: &[(Ipv4Addr, &MachineName)]) -> Result<()> {
        Tree::open(&self.root())?.overwrite("etc/hosts", hosts_file(name, others).as_bytes())
    }

    fn personalise(&self, name: &MachineName) -> Result<()> {
        let tree = Tree::open(&self.root())?;
        let key = |file: &str| {
            let path = self.folder.join(file);
            fs::read(&path).map_err(at("read", &path))
        };
        tree.create("etc/hostname", format!("{name}\n").as_bytes(), 0o644)?;
        tree.create("etc/hosts", hosts_file(name, &[]).as_bytes(), 0o644)?;
        tree.create("etc/resolv.conf", RESOLV.as_bytes(), 0o644)?;
        tree.create("etc/machine-id", &machine_id()?, 0o444)?;
        tree.create("etc/ssh/ssh_host_ed25519_key", &key("host_ed25519")?, 0o600)?;
        tree.create("etc/ssh/ssh_host_ed25519_key.pub", &key("host_ed25519.pub")?, 0o644)?;
        tree.create("etc/ssh/sshd_config.d/cairn.conf", SSHD.as_bytes(), 0o644)?;
        tree.create_dir("root/.ssh", 0o700)?;
        tree.create("root/.ssh/authorized_keys", &key("id_ed25519.pub")?, 0o600)?;
        for unit in MASKED {
            tree.link(&format!("etc/systemd/system/{unit}"), "/dev/null")?;
        }
        Ok(())
    }
}

/// `hosts(5)` of a machine.
fn hosts_file(name: &MachineName, others: &[(Ipv4Addr, &MachineName)]) -> String {
    let mut text = format!("127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost ip6-localhost ip6-loopback\n");
    for (address, other) in others {
        text.push_str(&format!("{address} {other}\n"));
    }
    text
}

/// `machine-id(5)`; an empty one would make systemd take this for a first boot and apply its presets.
fn machine_id() -> Result<Vec<u8>> {
    let path = Path::new("/proc/sys/kernel/random/uuid");
    let uuid = fs::read_to_string(path).map_err(at("read", path))?;
    Ok(format!("{}\n", uuid.trim().replace('-', "")).into_bytes())
}

/// None if a path has a character that means something in the options.
fn overlay_options(lower: &Path, upper: &Path, work: &Path) -> Option<String> {
    let [lower, upper, work] = [lower, upper, work].map(Path::to_str);
    let options = format!("lowerdir={},upperdir={},workdir={}", lower?, upper?, work?);
    let plain = |path: Option<&str>| path.is_some_and(|path| !path.contains([':', ',', '\\']));
    (plain(lower) && plain(upper) && plain(work)).then_some(options)
}

/// By way of another name, so that a copy that was interrupted is never taken for a whole one.
fn copy(base: &Path, root: &Path) -> Result<()> {
    let partial = root.with_extension("partial");
    remove_dir_all(&partial)?;
    let args = ["-a", "--reflink=auto", "--no-target-directory", "--"].map(AsRef::as_ref);
    run(Tool::Cp, &[&args[..], &[base.as_os_str(), partial.as_os_str()]].concat())?;
    remove_dir_all(root)?;
    fs::rename(&partial, root).map_err(at("create", root))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::symlink;

    use super::*;

    /// A machine's folder with what `personalise` needs of a base.
    fn machine(dir: &Path) {
        for folder in ["root/etc/ssh/sshd_config.d", "root/etc/systemd/system", "root/root"] {
            fs::create_dir_all(dir.join(folder)).unwrap();
        }
        for key in ["host_ed25519", "host_ed25519.pub", "id_ed25519.pub"] {
            fs::write(dir.join(key), key).unwrap();
        }
    }

    /// The machine makes its `/etc` a link, then another machine starts: this computer's files stay.
    #[test]
    fn a_machine_whose_etc_is_a_link_gets_nothing_written_through_it() {
        let dir = tempfile::tempdir().unwrap();
        let (name, other) = (MachineName::parse("a").unwrap(), MachineName::parse("b").unwrap());
        machine(dir.path());
        let files = MachineFiles::new(dir.path());
        files.personalise(&name).unwrap();
        files.introduce(&name, &[(Ipv4Addr::new(10, 213, 0, 3), &other)]).unwrap();
        let hosts = fs::read_to_string(dir.path().join("root/etc/hosts")).unwrap();
        assert!(hosts.ends_with("\n10.213.0.3 b\n"), "{hosts}");

        let outside = dir.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("hosts"), "of this computer").unwrap();
        fs::rename(dir.path().join("root/etc"), dir.path().join("root/e")).unwrap();
        symlink(&outside, dir.path().join("root/etc")).unwrap();
        for result in [files.introduce(&name, &[]), files.personalise(&name)] {
            assert!(matches!(result, Err(MachineError::Foreign { .. })), "{result:?}");
        }
        assert_eq!(fs::read_to_string(outside.join("hosts")).unwrap(), "of this computer");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    }

    #[test]
    fn paths_that_the_kernel_would_split_are_not_given_to_it() {
        let ok = overlay_options(Path::new("/b"), Path::new("/u x"), Path::new("/w"));
        assert_eq!(ok.as_deref(), Some("lowerdir=/b,upperdir=/u x,workdir=/w"));
        for bad in ["/a:b", "/a,b", "/a\\b"] {
            assert_eq!(overlay_options(Path::new("/b"), Path::new(bad), Path::new("/w")), None, "{bad}");
        }
    }
}
