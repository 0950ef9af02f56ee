//! Real machines, started, spoken to over SSH, rebooted, cut off and removed without a trace.
//!
//! Needs root and what `cargo xtask test` installs. The base is taken from the state directory
//! `CAIRN_TEST_STATE`, or made once below the target directory.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use cairn_machine::{Event, Machine, MachineError, MachineSpec, Machines, State};

/// A state directory of this test's own, with the shared base.
struct Bed {
    dir: tempfile::TempDir,
    machines: Machines,
}

impl Bed {
    fn new() -> Self {
        Self::named("bed-")
    }

    fn named(prefix: &str) -> Self {
        let shared = std::env::var_os("CAIRN_TEST_STATE")
            .map_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("machines"), PathBuf::from);
        let prepare = Machines::new(shared.clone()).unwrap();
        prepare.prepare(&MachineSpec::default(), &|event| eprintln!("{event}")).unwrap();
        // Beside the base, and so on a disk: an overlay does not go onto every file system.
        let dir = tempfile::Builder::new().prefix(prefix).tempdir_in(&shared).unwrap();
        std::os::unix::fs::symlink(shared.join("bases"), dir.path().join("bases")).unwrap();
        let machines = Machines::new(dir.path().to_owned()).unwrap();
        Self { dir, machines }
    }

    fn start(&self, name: &str) -> Machine {
        let start = Instant::now();
        let events = |event| eprintln!("{:5.2} s: {event}", start.elapsed().as_secs_f64());
        self.machines.ensure_running(name, &MachineSpec::default(), &events).unwrap()
    }

    /// Everything that speaks of this state directory or of its network, anywhere on this computer.
    fn traces(&self) -> Vec<String> {
        let state = self.dir.path().canonicalize().unwrap().display().to_string();
        let mut found = Vec::new();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        found.extend(mounts.lines().filter(|line| line.contains(&state)).map(str::to_owned));
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&command).contains(&state) {
                found.push(format!("process {}", entry.path().display()));
            }
        }
        let network: serde_json::Value =
            serde_json::from_slice(&fs::read(self.dir.path().join("network.json")).unwrap()).unwrap();
        let bridge = format!("cairn{}", network["number"]);
        for folder in ["/sys/class/net", "/run/netns", "/sys/fs/cgroup/systemd/cairn-machines"] {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let name = entry.file_name().into_string().unwrap();
                let rest = name.strip_prefix(&bridge).map(str::to_owned);
                if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['p', '-'])) {
                    found.push(entry.path().display().to_string());
                }
            }
        }
        found
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        for name in ["left", "right"] {
            if let Err(error) = self.machines.remove(name) {
                eprintln!("cannot remove {name}: {error}");
            }
        }
    }
}

/// One command over SSH, as root, with the machine's key pinned.
fn ssh(machine: &Machine, command: &str) -> Output {
    let known = machine.identity.with_file_name("known_hosts");
    fs::write(&known, format!("{} {}\n", machine.address, machine.host_key)).unwrap();
    let options = ["BatchMode=yes", "StrictHostKeyChecking=yes", "IdentitiesOnly=yes", "ConnectTimeout=10"];
    let mut ssh = Command::new("ssh");
    ssh.arg("-F/dev/null").arg(format!("-oUserKnownHostsFile={}", known.display()));
    ssh.args(options.map(|option| format!("-o{option}"))).arg("-i").arg(&machine.identity);
    ssh.args(["-p", &machine.ssh_port.to_string(), &format!("root@{}", machine.address), command]);
    ssh.output().unwrap()
}

fn says(machine: &Machine, command: &str) -> String {
    let output = ssh(machine, command);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {command}: {}\n{stderr}", machine.name, output.status);
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn two_machines_live_and_leave_nothing_behind() {
    let bed = Bed::new();
    let left = bed.start("left");
    let right = bed.start("right");
    assert_ne!(left.address, right.address);
    assert_ne!(left.host_key, right.host_key);
    assert_eq!(bed.machines.list().unwrap(), [left.clone(), right.clone()]);
    assert_eq!(bed.machines.get("left").unwrap(), left);

    assert_eq!(says(&left, "hostname; id -un; systemctl is-system-running --wait"), "left\nroot\nrunning");
    assert_eq!(says(&right, "hostname"), "right");
    let wrong = Machine { host_key: left.host_key.clone(), ..right.clone() };
    assert!(!ssh(&wrong, "true").status.success(), "the host key is checked");

    // They see each other.
    let greeting = format!("exec 3<>/dev/tcp/{}/22; read -r line <&3; echo ${{line:0:4}}", right.address);
    assert_eq!(says(&left, &format!("bash -c '{greeting}'")), "SSH-");
    assert_eq!(says(&left, "mkdir -p /nix/store && findmnt -n -o FSTYPE --target /nix/store"), "overlay");

    // A reboot: another boot at the same address, with the same files and the same key.
    // The kernel is this computer's, so its boot id stays; when systemd started tells boots apart.
    let since = "systemctl show --value --property UserspaceTimestampMonotonic";
    let before: u64 = says(&left, &format!("echo kept > /srv/file; {since}")).parse().unwrap();
    let uptime = Instant::now();
    let rebooted = bed.machines.reboot("left", &|event| eprintln!("{event}")).unwrap();
    eprintln!("reboot: {:.2} s", uptime.elapsed().as_secs_f64());
    assert_eq!(Machine { pid: None, ..rebooted }, Machine { pid: None, ..left.clone() });
    let left = bed.machines.get("left").unwrap();
    assert_eq!(says(&left, "cat /srv/file"), "kept");
    assert!(says(&left, since).parse::<u64>().unwrap() > before);

    // Starting what runs changes nothing.
    assert_eq!(bed.start("left"), left);

    let stop = Instant::now();
    bed.machines.stop("left").unwrap();
    eprintln!("stop: {:.2} s", stop.elapsed().as_secs_f64());
    assert_eq!(bed.machines.get("left").unwrap().state, State::Stopped);
    assert!(bed.machines.console("left").unwrap().contains("Halting system"), "an orderly end");
    bed.machines.stop("left").unwrap();
    assert!(matches!(bed.machines.reboot("left", &|_| {}), Err(MachineError::NotRunning { .. })));
    assert_eq!(says(&right, "hostname"), "right", "the other one goes on");

    let back = bed.start("left");
    assert_eq!((back.address, &back.host_key), (left.address, &left.host_key));
    assert_eq!(says(&back, "cat /srv/file"), "kept");

    for name in ["left", "right", "right"] {
        bed.machines.remove(name).unwrap();
    }
    assert_eq!(bed.traces(), Vec::<String>::new());
    assert!(bed.machines.list().unwrap().is_empty());
    assert_eq!(fs::read_dir(bed.dir.path().join("machines")).unwrap().count(), 0);
    assert!(matches!(bed.machines.get("left"), Err(MachineError::Unknown { .. })));
}

/// The one that comes later may get the network that the other one had, and its machine the same name.
#[test]
fn machines_of_two_state_directories_do_not_meet() {
    let (one, other) = (Bed::new(), Bed::new());
    let before = one.start("left");
    one.machines.stop("left").unwrap();
    let theirs = other.start("left");
    assert_eq!(theirs.address, before.address);
    let mine = one.start("left");
    assert_ne!(mine.address, theirs.address);
    assert_eq!((says(&mine, "hostname"), says(&theirs, "hostname")), ("left".to_owned(), "left".to_owned()));
    assert_ne!(mine.host_key, theirs.host_key);
    one.machines.remove("left").unwrap();
    assert_eq!(says(&theirs, "hostname"), "left");
    other.machines.remove("left").unwrap();
    assert_eq!((one.traces(), other.traces()), (Vec::new(), Vec::new()));
}

#[test]
fn a_power_cut_and_a_crash_of_everything_are_recovered_from() {
    let bed = Bed::new();
    let left = bed.start("left");
    says(&left, "echo kept > /srv/file; sync");
    bed.machines.poweroff_hard("left").unwrap();
    assert_eq!(bed.machines.get("left").unwrap().state, State::Stopped);
    assert_eq!(bed.traces(), Vec::<String>::new());

    // nspawn alone is killed: the machine lives on without it, and its mount and network are left.
    let left = bed.start("left");
    assert_eq!(says(&left, "cat /srv/file"), "kept");
    let pid = left.pid.unwrap();
    Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap();
    while bed.machines.get("left").unwrap().pid.is_some() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(!bed.traces().is_empty());
    let again = bed.start("left");
    assert_ne!(again.pid, Some(pid));
    assert_eq!(says(&again, "cat /srv/file"), "kept");

    // A record of an earlier life of this computer, and one that nobody can read.
    bed.machines.poweroff_hard("left").unwrap();
    let record = bed.dir.path().join("machines/left/machine.json");
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    json["supervisor"] = serde_json::json!({"pid": 1, "started": 1, "boot_id": "an earlier one"});
    fs::write(&record, json.to_string()).unwrap();
    assert_eq!(bed.machines.get("left").unwrap().state, State::Stopped);
    bed.start("left");
    fs::write(&record, "{").unwrap();
    assert!(matches!(bed.machines.get("left"), Err(MachineError::Record { .. })));
    bed.machines.remove("left").unwrap();
    assert_eq!(bed.traces(), Vec::<String>::new());
}

/// What a hardened service needs of its host, as real hosts have it: the reason for nspawn's flags.
#[test]
fn a_machine_hardens_services_as_a_real_host_does() {
    let bed = Bed::new();
    let (left, right) = (bed.start("left"), bed.start("right"));
    says(
        &left,
        "cd /srv && mkdir -p root/usr root/proc root/sys root/dev root/run root/tmp root/var/tmp root/etc && \
         ln -s usr/lib root/lib && ln -s usr/lib64 root/lib64 && touch root/etc/resolv.conf",
    );
    let hardened = [
        "RootDirectory=/srv/root",
        "BindReadOnlyPaths=/usr",
        "BindReadOnlyPaths=/etc/resolv.conf",
        "MountAPIVFS=yes",
        "User=nobody",
        "RuntimeDirectory=t",
        "ProtectSystem=strict",
        "ProtectHome=yes",
        "ProtectProc=invisible",
        "ProcSubset=pid",
        "ProtectKernelTunables=yes",
        "ProtectKernelModules=yes",
        "ProtectKernelLogs=yes",
        "ProtectClock=yes",
        "ProtectHostname=yes",
        "ProtectControlGroups=yes",
        "PrivateTmp=yes",
        "PrivateDevices=yes",
        "PrivateUsers=yes",
        "PrivateMounts=yes",
        "NoNewPrivileges=yes",
        "RestrictSUIDSGID=yes",
        "RestrictNamespaces=yes",
        "RestrictRealtime=yes",
        "LockPersonality=yes",
        "MemoryDenyWriteExecute=yes",
        "RemoveIPC=yes",
        "CapabilityBoundingSet=",
        "SystemCallFilter=@system-service",
        "SystemCallArchitectures=native",
        "'RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6'",
        "UMask=0077",
        "MemoryMax=64M",
        "Nice=-5",
    ];
    let run = |more: &str, script: &str| {
        let properties: String = hardened.iter().map(|property| format!("-p {property} ")).collect();
        ssh(&left, &format!("systemd-run --quiet --wait --pipe {properties} {more} /usr/bin/bash -c '{script}'"))
    };
    let script = "set -- $(< /proc/self/uid_map); echo $1 $3; ls /; ulimit -u >/dev/null; \
                  nice; touch /x 2>&1; : > /tmp/x && echo tmp; unshare -m true 2>&1; read -r t < /proc/self/stat";
    let output = run("", script);
    let said = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{stderr}");
    let expected = "0 1\ndev\netc\nlib\nlib64\nproc\nroot\nrun\nsys\ntmp\nusr\nvar\n-5\n\
                    touch: cannot touch '/x': Read-only file system\ntmp\n\
                    unshare: unshare failed: Operation not permitted\n";
    // systemd adds the folder `root` for ProtectHome.
    assert_eq!(said, expected, "{stderr}");

    let reach = format!("exec 3<>/dev/tcp/{}/22 && echo reached", right.address);
    let reach = format!("timeout 2 bash -c \"{reach}\"");
    assert!(run("", &reach).status.success());
    assert!(!run("-p IPAddressDeny=any -p IPAddressAllow=localhost", &reach).status.success(), "IPAddressDeny= works");
}

/// What a machine may not see or do of this computer, although its root is this computer's root.
#[test]
fn a_machine_reads_neither_the_kernels_log_nor_its_counters() {
    let bed = Bed::new();
    let left = bed.start("left");
    let line = says(&left, "grep CapBnd /proc/1/status");
    let bounding = u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap();
    // Numbers from capability.h.
    for (name, bit, expected) in
        [("SYSLOG", 34, false), ("PERFMON", 38, false), ("BPF", 39, true), ("SYS_ADMIN", 21, true)]
    {
        assert_eq!(bounding >> bit & 1 == 1, expected, "CAP_{name} in {bounding:x}");
    }
    let log = ssh(&left, "dmesg");
    let stderr = String::from_utf8_lossy(&log.stderr);
    assert!(!log.status.success() && stderr.contains("Operation not permitted"), "{stderr}");
    assert_eq!(String::from_utf8_lossy(&log.stdout), "");

    // Root in there makes /etc a link to a folder of this computer. The next start of a machine writes
    // the machines' names, and must not write them there.
    let trap = bed.dir.path().join("trap");
    fs::create_dir(&trap).unwrap();
    fs::write(trap.join("hosts"), "of this computer").unwrap();
    says(&left, &format!("mv /etc /e && ln -s {} /etc", trap.display()));
    let said = std::sync::Mutex::new(Vec::new());
    let events = |event: Event| said.lock().unwrap().push(event.to_string());
    bed.machines.ensure_running("right", &MachineSpec::default(), &events).unwrap();
    let said = said.into_inner().unwrap().join("\n");
    assert_eq!(fs::read_to_string(trap.join("hosts")).unwrap(), "of this computer", "{said}");
    assert!(said.contains("the machine left does not learn the names of the others"), "{said}");
    assert!(said.contains("root in the machine right is root on this computer"), "{said}");
}

/// Why a machine has no user namespace: in one the kernel refuses what `IPAddressDeny=` is made of, and
/// systemd starts the service without it. A kernel on which this fails makes `--private-users=` possible.
#[test]
fn a_user_namespace_would_take_address_filters_away() {
    let script = include_str!("load_address_filter.py");
    let say = |prefix: &[&str]| {
        let mut words = prefix.to_vec();
        words.extend(["python3", "-c", script]);
        let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(say(&["env"]), "loaded");
    assert_eq!(say(&["unshare", "--user", "--map-root-user"]), "Operation not permitted");
}

#[test]
fn where_no_overlay_can_be_the_base_is_copied() {
    // A comma ends a mount option.
    let bed = Bed::named("bed,");
    let left = bed.start("left");
    assert_ne!(says(&left, "echo kept > /srv/file; findmnt -n -o FSTYPE /"), "overlay");
    bed.machines.stop("left").unwrap();
    assert_eq!(says(&bed.start("left"), "cat /srv/file"), "kept");
    bed.machines.remove("left").unwrap();
    assert_eq!(bed.traces(), Vec::<String>::new());
}

#[test]
fn wrong_names_and_machines_that_are_not_there_are_said_to_be_so() {
    let dir = tempfile::tempdir().unwrap();
    let machines = Machines::new(dir.path().join("state")).unwrap();
    assert!(matches!(machines.get("../x"), Err(MachineError::Name { .. })));
    for result in [machines.stop("a"), machines.poweroff_hard("a"), machines.reboot("a", &|_| {}).map(drop)] {
        assert!(matches!(result, Err(MachineError::Unknown { .. })), "{result:?}");
    }
    machines.remove("a").unwrap();
    assert!(machines.list().unwrap().is_empty());
}
