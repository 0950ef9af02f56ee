//! Nothing is torn: whatever is killed at whatever moment of a switch, the host runs one whole
//! generation afterwards, and clients have noticed nothing.
//!
//! `CAIRN_TEST_MOMENTS` says how many random moments are tried beside the phases, 5 unless it does; and
//! then everybody is killed in every phase, not just the activation.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use cairn_tests::clients::{Clients, Site};
use cairn_tests::phase::{PHASES, Upcoming};
use cairn_tests::power::Disk;
use cairn_tests::project::Machine;
use cairn_tests::{Project, http, tool};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    /// The process on the host that does it.
    Activation,
    /// The one that goes back, once the one before was killed.
    Both,
    /// `deploy` itself.
    Client,
    /// The agent that serves the connection.
    Agent,
    /// What serves SSH: it all, that which listens as well.
    Sshd,
    /// The machine, with all that was not synced.
    Power,
}

#[derive(Debug, Clone, Copy)]
enum Moment {
    In(&'static str),
    After(Duration),
}

#[test]
fn a_kill_at_any_moment_leaves_one_whole_generation() {
    let project = Project::with_shared_store();
    let machine = project.machine("e2e-torn");
    let mut host = Host { project: &project, machine: &machine, disk: None, version: "1.0.0".to_owned(), changes: 0 };
    project.front(&format!("hosts/{}.toml", machine.name), "");
    project.deploy(&["switch", machine.name, "--yes"]).ok();

    let site = Site { host: machine.inner().address.to_string(), port: 8443, name: "spirittours.com", path: "/health" };
    let clients = Clients::start(2, &site);
    let moments = std::env::var("CAIRN_TEST_MOMENTS").ok().map(|text| text.parse().expect("a number"));
    for (victim, some) in [
        (Victim::Activation, &PHASES[..]),
        (Victim::Both, &["start", "drain"]),
        (Victim::Client, &["start", "confirm", "drain"]),
        (Victim::Agent, &["start"]),
        (Victim::Sshd, &["stage", "confirm"]),
    ] {
        for phase in if moments.is_some() { &PHASES } else { some } {
            host.strike(victim, Moment::In(phase));
        }
    }
    // Not random in a way that could not be told again: the thirds of a second that a switch takes.
    for number in 0..moments.unwrap_or(5) {
        let victims = [Victim::Activation, Victim::Both, Victim::Client, Victim::Agent, Victim::Sshd];
        let victim = victims[number % victims.len()];
        host.strike(victim, Moment::After(Duration::from_millis((300 + number as u64 * 617) % 4000)));
    }
    let tally = clients.stop();
    assert_eq!(tally.failures, Vec::<String>::new(), "of {} requests", tally.requests);

    verify(&machine);
}

/// All that was not synced is gone with it. What a switch has said is not.
#[test]
fn a_power_cut_at_any_moment_leaves_one_whole_generation() {
    let disk = Disk::new("e2e-power");
    let project = Project::with_shared_store().with_machines_in(disk.state());
    let machine = project.machine("e2e-power");
    let mut host =
        Host { project: &project, machine: &machine, disk: Some(&disk), version: "1.0.0".to_owned(), changes: 0 };
    project.front(&format!("hosts/{}.toml", machine.name), "");
    project.deploy(&["switch", machine.name, "--yes"]).ok();
    for phase in ["stage", "start", "confirm", "commit", "drain"] {
        host.strike(Victim::Power, Moment::In(phase));
    }
    host.change();
    disk.sync();
    project.deploy(&["switch", machine.name, "--yes"]).ok();
    let live = host.generation();
    disk.cut(&machine);
    project.deploy(&["machine", "start", machine.name]).ok();
    assert_eq!(host.generation(), live);
    host.whole("after a switch", &host.version);
    verify(&machine);
}

fn verify(machine: &Machine) {
    let root = machine.inner().identity.with_file_name("root");
    tool("nix-store", ["--store", &root.to_string_lossy(), "--verify", "--check-contents"]);
}

struct Host<'a> {
    project: &'a Project,
    machine: &'a Machine<'a>,
    /// What the machine lies on, if its power can be cut.
    disk: Option<&'a Disk>,
    /// What the project says; the host may run another one.
    version: String,
    changes: usize,
}

impl Host<'_> {
    /// Kills in the middle of a switch, then looks, then switches for good.
    fn strike(&mut self, victim: Victim, moment: Moment) {
        let what = format!("{victim:?} {moment:?}");
        eprintln!("{what}");
        let live = self.generation();
        let before = self.version.clone();
        self.change();
        if let Some(disk) = self.disk {
            disk.sync();
        }
        let upcoming = self.machine.upcoming();
        let switch = ["switch", self.machine.name, "--yes", "--confirm-within", "8"];
        let client = self.project.command(&switch).stderr(Stdio::null()).spawn();
        let mut client = client.expect("deploy");
        let there = |upcoming: &Upcoming| match moment {
            Moment::In(phase) => upcoming.is_in(phase),
            Moment::After(time) => upcoming.elapsed() >= time,
        };
        let struck = upcoming.wait(&mut client, there) && self.end(victim, &mut client);
        client.wait().expect("an end");
        if victim == Victim::Power {
            self.project.deploy(&["machine", "start", self.machine.name]).ok();
        }
        self.machine.settled();
        let now = self.generation();
        assert!(struck || matches!(moment, Moment::After(_)), "{what}: the switch was over before");
        assert!(now == live || now == live + 1, "{what}: generation {live} became {now}");
        // Once a drain was seen, the new generation had been committed.
        assert!(!matches!(moment, Moment::In("drain")) || now == live + 1, "{what}: generation {live} came back");
        self.whole(&what, if now == live { &before } else { &self.version });
        if now == live {
            self.project.deploy(&["switch", self.machine.name, "--yes"]).ok();
            self.whole(&what, &self.version);
        }
    }

    fn change(&mut self) {
        self.changes += 1;
        let next = format!("99.0.{}", self.changes);
        self.project.edit("images/api/app/spirit/version.py", &self.version, &next);
        self.version = next;
    }

    /// Whether somebody was there to be killed.
    fn end(&self, victim: Victim, client: &mut Child) -> bool {
        match victim {
            Victim::Activation => end_all(self.machine, "cairn-agent activate"),
            Victim::Both => {
                let ended = end_all(self.machine, "cairn-agent activate");
                let began = Instant::now();
                while ended && !end_all(self.machine, "cairn-agent revert") && began.elapsed() < Duration::from_secs(2)
                {
                }
                ended
            }
            Victim::Client => client.kill().is_ok(),
            Victim::Agent => end_all(self.machine, "cairn-agent serve"),
            Victim::Sshd => end_all(self.machine, "sshd: "),
            Victim::Power => {
                self.disk.expect("a disk").cut(self.machine);
                // It would wait for a host that is not there.
                client.kill().is_ok()
            }
        }
    }

    fn generation(&self) -> u64 {
        let status = self.project.deploy(&["status", self.machine.name, "--json"]).json();
        status["hosts"][0]["generation"].as_u64().unwrap_or_else(|| panic!("no generation: {status}"))
    }

    /// One generation, all of it and nothing else.
    fn whole(&self, what: &str, version: &str) {
        let url = format!("https://{}:8443", self.machine.inner().address);
        let served = http::eventually(&format!("{url}/health"), 200, 30).json();
        assert_eq!(served["version"], version, "{what}");
        assert_eq!(self.machine.faults(), "", "{what}");
    }
}

/// Kills every process of the machine whose command line holds these words; whether there was one.
fn end_all(machine: &Machine, words: &str) -> bool {
    let namespace = |process: &Path| fs::read_link(process.join("ns/pid")).ok();
    let its_own = namespace(&Path::new("/proc").join(machine.leader().to_string()));
    let mut ended = false;
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(words) && namespace(&entry.path()) == its_own {
            ended |= kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok();
        }
    }
    ended
}
