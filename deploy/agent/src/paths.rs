//! Where the agent keeps and finds things, below one root: `/` on a host, a folder in tests.

use std::path::{Path, PathBuf};

use cairn_closure::{EtcPath, HostName as FleetName, InstanceId, ServiceName, SysctlName, UnitName, layout};
use cairn_formats::StorePath;
use cairn_protocol::ActivationId;

#[derive(Debug, Clone)]
pub struct Paths {
    root: PathBuf,
}

impl Paths {
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The host the agent runs on.
    pub fn host() -> Self {
        Self::new(Path::new("/"))
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// An absolute path of the host, below the root.
    pub fn at(&self, absolute: &str) -> PathBuf {
        self.root.join(absolute.trim_start_matches('/'))
    }

    pub fn store_path(&self, path: &StorePath) -> PathBuf {
        self.at(&path.absolute())
    }

    pub fn profile(&self) -> PathBuf {
        self.at(layout::PROFILE)
    }

    pub fn run_dir(&self) -> PathBuf {
        self.at(layout::RUN_DIR)
    }

    pub fn service_dir(&self, service: &ServiceName) -> PathBuf {
        layout::service_dir(&self.run_dir(), service)
    }

    /// Files that an instance may be told to read again.
    pub fn live_dir(&self, service: &ServiceName, instance: &InstanceId) -> PathBuf {
        self.at(layout::LIVE_DIR).join(service.as_str()).join(instance.as_str())
    }

    pub fn instance_dir(&self, service: &ServiceName, instance: &InstanceId) -> PathBuf {
        layout::instance_dir(&self.run_dir(), service, instance)
    }

    pub fn current_link(&self, service: &ServiceName) -> PathBuf {
        self.service_dir(service).join(layout::CURRENT)
    }

    pub fn slot_link(&self, service: &ServiceName, slot: &str) -> PathBuf {
        self.service_dir(service).join(slot)
    }

    /// systemd reads this directory before the output of generators, and it is gone after a
    /// reboot: the place for a trial.
    pub fn runtime_units(&self) -> PathBuf {
        self.at("/run/systemd/system")
    }

    pub fn runtime_unit(&self, unit: &UnitName) -> PathBuf {
        self.runtime_units().join(unit.as_str())
    }

    /// Read by systemd at boot and at every reload, before units are loaded.
    pub fn generator_link(&self) -> PathBuf {
        self.at("/etc/systemd/system-generators/cairn")
    }

    pub fn state_dir(&self) -> PathBuf {
        self.at("/nix/var/cairn")
    }

    /// What the host was before we came.
    pub fn host_record(&self) -> PathBuf {
        self.state_dir().join("host.json")
    }

    /// Whether a store was made here; to open one makes it.
    pub fn has_store(&self) -> bool {
        self.at("/nix/var/nix/db/db.sqlite").exists()
    }

    /// Copies of files that generations may replace: that of `/etc/X` at `adopted/etc/X`.
    pub fn adopted(&self) -> PathBuf {
        self.state_dir().join("adopted")
    }

    /// What is known of those files.
    pub fn adopted_files(&self) -> PathBuf {
        self.adopted().join("files.json")
    }

    /// Units of the host in whose place generations come.
    pub fn adopted_units(&self) -> PathBuf {
        self.adopted().join("units.json")
    }

    /// There since the committed generation was prepared at boot. No service has this name.
    pub fn booted(&self) -> PathBuf {
        self.run_dir().join("boot")
    }

    /// A service's state folders.
    pub fn state_of(&self, service: &ServiceName) -> PathBuf {
        self.at(layout::STATE_DIR).join(service.as_str())
    }

    /// Secrets as they were sent, sealed to the host's key.
    pub fn sealed_secrets(&self) -> PathBuf {
        self.state_dir().join("secrets")
    }

    /// Secrets in clear, in memory.
    pub fn secrets(&self) -> PathBuf {
        self.at(layout::SECRETS_DIR)
    }

    /// The key that secrets are sealed to; beside it, with `.pub`, its public part.
    pub fn host_key(&self) -> PathBuf {
        self.at("/etc/ssh/ssh_host_ed25519_key")
    }

    /// A key that secrets of a host that pulls may be sealed to; its owner puts it there.
    pub fn pull_key(&self) -> PathBuf {
        self.at("/etc/cairn/pull.key")
    }

    /// Where the host pulls from, and whom it believes.
    pub fn pull_config(&self) -> PathBuf {
        self.at("/etc/cairn/pull.json")
    }

    /// What it has seen, and what became of it.
    pub fn pull_state(&self) -> PathBuf {
        self.state_dir().join("pull.json")
    }

    pub fn pull_lock_file(&self) -> PathBuf {
        self.state_dir().join("pull.lock")
    }

    pub fn lock_file(&self) -> PathBuf {
        self.state_dir().join("lock")
    }

    /// Held by whoever works on the whole fleet, on the host of it that has the tasks.
    pub fn fleet_lock_file(&self, fleet: &FleetName) -> PathBuf {
        self.state_dir().join(format!("fleet-{fleet}.lock"))
    }

    /// The file at which a copy was interrupted.
    pub fn begun(&self) -> PathBuf {
        self.state_dir().join("begun")
    }

    /// Which services are in maintenance.
    pub fn maintenance(&self) -> PathBuf {
        self.state_dir().join("maintenance")
    }

    pub fn activations(&self) -> PathBuf {
        self.state_dir().join("activations")
    }

    pub fn activation(&self, id: &ActivationId) -> PathBuf {
        self.activations().join(id.as_str())
    }

    pub fn generations(&self) -> PathBuf {
        self.state_dir().join("generations")
    }

    /// Who committed a generation, and why.
    pub fn generation_note(&self, number: u64) -> PathBuf {
        self.generations().join(format!("{number}.json"))
    }

    /// There for a generation that is pinned.
    pub fn generation_pin(&self, number: u64) -> PathBuf {
        self.generations().join(format!("{number}.pin"))
    }

    /// Where the store keeps its named roots.
    pub fn named_root(&self, name: &str) -> PathBuf {
        self.at("/nix/var/nix/gcroots/cairn").join(name)
    }

    /// Something below `/etc`.
    pub fn etc(&self, path: &str) -> PathBuf {
        self.at("/etc").join(path)
    }

    /// The files that `/etc` links to, one folder for each set of them.
    pub fn etc_trees(&self) -> PathBuf {
        self.at(layout::ETC_DIR)
    }

    /// Leads to the set that counts.
    pub fn etc_current(&self) -> PathBuf {
        self.etc_trees().join(layout::CURRENT)
    }

    /// What was in the place of a file below `/etc` before it was ours, as somebody has agreed to.
    pub fn adopted_file(&self, path: &EtcPath) -> PathBuf {
        self.adopted().join("etc").join(path.as_str())
    }

    /// Which links below `/etc` may be ours.
    pub fn etc_record(&self) -> PathBuf {
        self.state_dir().join("etc.json")
    }

    /// Which users of the host may be ours.
    pub fn people_record(&self) -> PathBuf {
        self.state_dir().join("users.json")
    }

    /// What kernel settings were before us; they last as long as this boot.
    pub fn sysctl_record(&self) -> PathBuf {
        self.run_dir().join("sysctl.json")
    }

    pub fn sysctl(&self, name: &SysctlName) -> PathBuf {
        self.at("/proc/sys").join(name.as_str().replace('.', "/"))
    }

    pub fn boot_id(&self) -> PathBuf {
        self.at("/proc/sys/kernel/random/boot_id")
    }
}
