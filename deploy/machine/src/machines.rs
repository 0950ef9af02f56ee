//! The machines of a state directory: start, look, stop, cut, remove.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use cairn_formats::Sha256;
use nix::sys::signal::Signal;

use crate::boot;
use crate::error::at;
use crate::event::Event;
use crate::files::remove_dir_all;
use crate::mounts::RunMount;
use crate::name::MachineName;
use crate::network::{Network, free_index};
use crate::process::Tool;
use crate::record::{MachineRecord, StateDir};
use crate::root::MachineFiles;
use crate::supervisor::{Supervisor, send};
use crate::{MachineError, MachineSpec, Result, base, cgroup, mounts};

/// How long an orderly shutdown may take. systemd itself gives a unit 90 s; a test bed need not wait.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// All machines of a state directory.
#[derive(Debug, Clone)]
pub struct Machines {
    state: StateDir,
}

/// One machine, as it was when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    pub name: String,
    /// Where it is, or will be when it is started again if nobody takes its network meanwhile.
    pub address: Ipv4Addr,
    pub ssh_port: u16,
    /// `ssh-ed25519 AAAA…`, to be pinned.
    pub host_key: String,
    /// The private key that root's login takes.
    pub identity: PathBuf,
    /// Of systemd-nspawn; none if the machine is stopped.
    pub pid: Option<u32>,
    pub state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Running,
    Stopped,
}

impl Machines {
    /// `$XDG_STATE_HOME/cairn/machines`, else `~/.local/state/cairn/machines`.
    pub fn default_state() -> Result<PathBuf> {
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
        Ok(state.ok_or(MachineError::NoStateDir)?.join("cairn/machines"))
    }

    /// Creates the directory if it is not there. Needs root.
    pub fn new(state: PathBuf) -> Result<Self> {
        if !nix::unistd::geteuid().is_root() {
            return Err(MachineError::NotRoot);
        }
        Ok(Self { state: StateDir::create(state)? })
    }

    /// Starts the machine unless it runs, making it first if there is none; returns when its SSH
    /// server answers. An existing machine keeps its files, whatever `spec` says.
    pub fn ensure_running(&self, name: &str, spec: &MachineSpec, events: &dyn Fn(Event)) -> Result<Machine> {
        let name = MachineName::parse(name)?;
        let _lock = self.state.lock()?;
        let start = Instant::now();
        let mut record = match self.state.load(&name)? {
            Some(record) => record,
            None => self.plan(&name, spec, events)?,
        };
        if let Some(supervisor) = record.running() {
            self.wait(&name, &record, supervisor)?;
            return self.describe(&name, &record);
        }
        for tool in [Tool::Nspawn, Tool::Ip, Tool::SshKeygen, Tool::Setsid] {
            tool.require()?;
        }
        self.boot_or_clear(&name, &mut record, events)?;
        events(Event::Ready { name: name.to_string(), elapsed: start.elapsed() });
        self.describe(&name, &record)
    }

    /// Sorted by name.
    pub fn list(&self) -> Result<Vec<Machine>> {
        self.state.records()?.iter().map(|(name, record)| self.describe(name, record)).collect()
    }

    pub fn get(&self, name: &str) -> Result<Machine> {
        let name = MachineName::parse(name)?;
        self.describe(&name, &self.load(&name)?)
    }

    /// What the machine said on its console since it was started.
    pub fn console(&self, name: &str) -> Result<String> {
        let folder = self.state.machine(&MachineName::parse(name)?);
        let path = MachineFiles::new(&folder).console();
        std::fs::read_to_string(&path).map_err(at("read", &path))
    }

    /// Shuts the machine down in order, and by force if that takes more than half a minute. Its files
    /// stay.
    pub fn stop(&self, name: &str) -> Result<()> {
        let name = MachineName::parse(name)?;
        let _lock = self.state.lock()?;
        let mut record = self.load(&name)?;
        if let Some(supervisor) = record.running() {
            // nspawn passes on what systemd takes for an orderly halt.
            supervisor.send(Signal::SIGTERM);
            supervisor.wait(STOP_LIMIT);
        }
        self.down(&name, &mut record)
    }

    /// Cuts the power: every process of the machine is killed at once. What it wrote is there when it
    /// starts again, synced or not: it is this computer's memory that holds it.
    pub fn poweroff_hard(&self, name: &str) -> Result<()> {
        let name = MachineName::parse(name)?;
        let _lock = self.state.lock()?;
        let mut record = self.load(&name)?;
        self.down(&name, &mut record)
    }

    /// Restarts the machine's system in order and waits until it answers again.
    ///
    /// Where systemd does not run on this computer, nspawn does not start a machine again that reboots,
    /// but ends (`--keep-unit` makes it leave that to whoever started it), so this does it. A machine
    /// that reboots by its own command there stays off until [`ensure_running`](Self::ensure_running).
    pub fn reboot(&self, name: &str, events: &dyn Fn(Event)) -> Result<Machine> {
        let name = MachineName::parse(name)?;
        let _lock = self.state.lock()?;
        let mut record = self.load(&name)?;
        let not_running = || MachineError::NotRunning { name: name.to_string() };
        let supervisor = record.running().ok_or_else(not_running)?.clone();
        let before = supervisor.leader().ok_or_else(not_running)?;
        // To systemd this is the three keys on a console: a reboot.
        send(before, Signal::SIGINT);
        let deadline = Instant::now() + STOP_LIMIT;
        let same = || supervisor.alive() && supervisor.leader().is_none_or(|leader| leader == before);
        while same() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        if supervisor.alive() && !same() {
            self.wait(&name, &record, &supervisor)?;
        } else {
            self.boot_or_clear(&name, &mut record, events)?;
        }
        self.describe(&name, &record)
    }

    /// Stops the machine and takes away all of it. Does nothing if there is none.
    pub fn remove(&self, name: &str) -> Result<()> {
        let name = MachineName::parse(name)?;
        let _lock = self.state.lock()?;
        let folder = self.state.machine(&name);
        if folder.exists() {
            // Half made, or by another version: what can be found by name goes. Nothing is kept, so
            // there is nothing to shut down in order.
            let record = self.state.load(&name).ok().flatten();
            self.clear(&name, &record.unwrap_or_else(|| MachineRecord::new(0, String::new())))?;
            remove_dir_all(&folder)?;
        }
        self.release_shared()
    }

    /// Installs what machines of `spec` are made from, if that has not been done yet.
    pub fn prepare(&self, spec: &MachineSpec, events: &dyn Fn(Event)) -> Result<()> {
        let _lock = self.state.lock()?;
        base::ensure(&self.state, spec, events).map(drop)
    }

    fn load(&self, name: &MachineName) -> Result<MachineRecord> {
        let unknown = || MachineError::Unknown { name: name.to_string(), state: self.state.path().to_owned() };
        self.state.load(name)?.ok_or_else(unknown)
    }

    /// A new machine: an address and a base, written down before anything is made.
    fn plan(&self, name: &MachineName, spec: &MachineSpec, events: &dyn Fn(Event)) -> Result<MachineRecord> {
        let (_, base) = base::ensure(&self.state, spec, events)?;
        let used: Vec<_> = self.state.records()?.iter().map(|(_, record)| record.index).collect();
        let full = || MachineError::NetworkFull { state: self.state.path().to_owned() };
        let record = MachineRecord::new(free_index(&used).ok_or_else(full)?, base);
        self.state.save(name, &record)?;
        Ok(record)
    }

    /// After a failure the files and the console's log are there, and nothing that runs or is mounted.
    fn boot_or_clear(&self, name: &MachineName, record: &mut MachineRecord, events: &dyn Fn(Event)) -> Result<()> {
        let started = self.boot(name, record, events);
        if started.is_err() {
            self.down(name, record)?;
        }
        started
    }

    fn boot(&self, name: &MachineName, record: &mut MachineRecord, events: &dyn Fn(Event)) -> Result<()> {
        // What a crash, ours or this computer's, may have left.
        self.clear(name, record)?;
        let folder = self.state.machine(name);
        let files = MachineFiles::new(&folder);
        let base = self.state.bases().join(&record.base);
        if !record.created {
            events(Event::Creating { name: name.to_string() });
            files.create(name, &base)?;
            record.created = true;
            self.state.save(name, record)?;
        }
        events(Event::Booting { name: name.to_string() });
        events(Event::SharesRoot { name: name.to_string() });
        files.mount(&base)?;
        self.run_mount().hold()?;
        let network = Network::ensure(&self.state)?;
        network.attach(name, record.index)?;
        self.introduce_all(network, events)?;
        let supervisor = boot::start(name, &network.label(name), &files)?;
        record.supervisor = Some(supervisor.clone());
        self.state.save(name, record)?;
        self.wait(name, record, &supervisor)
    }

    /// Every machine finds the others by their names. One that has made its `/etc/hosts` something else
    /// keeps no other from starting, nor itself.
    fn introduce_all(&self, network: Network, events: &dyn Fn(Event)) -> Result<()> {
        let records = self.state.records()?;
        let addresses: Vec<_> = records.iter().map(|(name, record)| (network.address(record.index), name)).collect();
        // Those that are not mounted learn it when they are started.
        for (name, _) in records.iter().filter(|(_, record)| record.created) {
            let folder = self.state.machine(name);
            let files = MachineFiles::new(&folder);
            if files.is_there()? {
                let others: Vec<_> = addresses.iter().filter(|(_, other)| *other != name).copied().collect();
                if let Err(error) = files.introduce(name, &others) {
                    events(Event::NotIntroduced { name: name.to_string(), reason: error.to_string() });
                }
            }
        }
        Ok(())
    }

    fn wait(&self, name: &MachineName, record: &MachineRecord, supervisor: &Supervisor) -> Result<()> {
        let folder = self.state.machine(name);
        let address = self.address(record)?;
        boot::wait_for_ssh(name, address, supervisor, &MachineFiles::new(&folder).console())
    }

    /// Ends what runs and takes away what is outside the folder.
    fn down(&self, name: &MachineName, record: &mut MachineRecord) -> Result<()> {
        self.clear(name, record)?;
        record.supervisor = None;
        self.state.save(name, record)?;
        self.release_shared()
    }

    /// With the last machine that runs goes what they share.
    fn release_shared(&self) -> Result<()> {
        if self.state.records()?.iter().any(|(_, record)| record.running().is_some()) {
            return Ok(());
        }
        if let Some(network) = Network::recorded(&self.state)? {
            network.remove(&self.state)?;
        }
        self.run_mount().release()
    }

    fn clear(&self, name: &MachineName, record: &MachineRecord) -> Result<()> {
        if let Some(supervisor) = record.running() {
            // The machine's PID 1 first: it would outlive nspawn, and all others die with it.
            if let Some(leader) = supervisor.leader() {
                send(leader, Signal::SIGKILL);
                supervisor.wait(Duration::from_secs(2));
            }
            supervisor.send(Signal::SIGKILL);
            if !supervisor.wait(Duration::from_secs(10)) {
                return Err(MachineError::Unkillable { name: name.to_string(), pids: vec![supervisor.pid] });
            }
        }
        let folder = self.state.machine(name);
        if let Some(network) = Network::recorded(&self.state)? {
            let label = network.label(name);
            if !mounts::booted_with_systemd() {
                cgroup::kill(name.as_str(), &label)?;
                cgroup::remove(&label)?;
            }
            network.detach(name, record.index)?;
        }
        MachineFiles::new(&folder).unmount()
    }

    fn run_mount(&self) -> RunMount {
        RunMount::new(Sha256::of(self.state.path().as_os_str().as_encoded_bytes()).hex()[..16].to_owned())
    }

    fn address(&self, record: &MachineRecord) -> Result<Ipv4Addr> {
        let network = Network::recorded(&self.state)?;
        Ok(network.map_or(Ipv4Addr::UNSPECIFIED, |network| network.address(record.index)))
    }

    fn describe(&self, name: &MachineName, record: &MachineRecord) -> Result<Machine> {
        let folder = self.state.machine(name);
        let files = MachineFiles::new(&folder);
        let pid = record.running().map(|supervisor| supervisor.pid);
        Ok(Machine {
            name: name.to_string(),
            address: self.address(record)?,
            ssh_port: 22,
            // A machine that is half made has none yet.
            host_key: if record.created { files.host_key()? } else { String::new() },
            identity: files.identity(),
            pid,
            state: if pid.is_some() { State::Running } else { State::Stopped },
        })
    }
}
