//! A machine's files: an overlay over the base, and what makes it this machine.
//!
//! Creating an overlay takes milliseconds; a copy of a base takes seconds. Where the kernel refuses
//! an overlay, as on top of another one, the base is copied.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use crate::error::at;
use crate::files::{absent_is_fine, fresh, remove_dir_all};
use crate::mounts::{is_mounted, mount_at, unmount_below};
use crate::name::MachineName;
use crate::process::{Tool, run};
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

    /// Tells the machine the names of the others. The file stays the same one: services that run
    /// have it mounted.
    pub fn introduce(&self, name: &MachineName, others: &[(Ipv4Addr, &MachineName)]) -> Result<()> {
        let path = self.root().join("etc/hosts");
        let text = hosts_file(name, others);
        if fs::read_to_string(&path).is_ok_and(|now| now == text) {
            return Ok(());
        }
        // A link would lead out of the machine's files.
        let file = OpenOptions::new().write(true).custom_flags(nix::libc::O_NOFOLLOW).open(&path);
        let write = |mut file: fs::File| {
            file.write_all(text.as_bytes())?;
            file.set_len(text.len() as u64)
        };
        file.and_then(write).map_err(at("write", &path))
    }

    fn personalise(&self, name: &MachineName) -> Result<()> {
        let root = self.root();
        let key = |file: &str| {
            let path = self.folder.join(file);
            fs::read(&path).map_err(at("read", &path))
        };
        let etc = root.join("etc");
        fresh(&etc.join("hostname"), format!("{name}\n").as_bytes(), 0o644)?;
        fresh(&etc.join("hosts"), hosts_file(name, &[]).as_bytes(), 0o644)?;
        fresh(&etc.join("resolv.conf"), RESOLV.as_bytes(), 0o644)?;
        fresh(&etc.join("machine-id"), &machine_id()?, 0o444)?;
        fresh(&etc.join("ssh/ssh_host_ed25519_key"), &key("host_ed25519")?, 0o600)?;
        fresh(&etc.join("ssh/ssh_host_ed25519_key.pub"), &key("host_ed25519.pub")?, 0o644)?;
        fresh(&etc.join("ssh/sshd_config.d/cairn.conf"), SSHD.as_bytes(), 0o644)?;
        let ssh = root.join("root/.ssh");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&ssh).map_err(at("create", &ssh))?;
        fresh(&ssh.join("authorized_keys"), &key("id_ed25519.pub")?, 0o600)?;
        for unit in MASKED {
            let link = etc.join("systemd/system").join(unit);
            absent_is_fine(fs::remove_file(&link)).map_err(at("remove", &link))?;
            symlink("/dev/null", &link).map_err(at("write", &link))?;
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
    use super::*;

    #[test]
    fn paths_that_the_kernel_would_split_are_not_given_to_it() {
        let ok = overlay_options(Path::new("/b"), Path::new("/u x"), Path::new("/w"));
        assert_eq!(ok.as_deref(), Some("lowerdir=/b,upperdir=/u x,workdir=/w"));
        for bad in ["/a:b", "/a,b", "/a\\b"] {
            assert_eq!(overlay_options(Path::new("/b"), Path::new(bad), Path::new("/w")), None, "{bad}");
        }
    }
}
