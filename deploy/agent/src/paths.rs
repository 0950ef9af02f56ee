//! Where the agent keeps and finds things, below one root: `/` on a host, a folder in tests.

use std::path::{Path, PathBuf};

use cairn_closure::{HostName as FleetName, InstanceId, ServiceName, UnitName, layout};
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

    pub fn boot_id(&self) -> PathBuf {
        self.at("/proc/sys/kernel/random/boot_id")
    }
}
