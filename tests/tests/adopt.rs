//! A host that existed before us: looked at, made ours through a jump host as a user with sudo, its
//! web server and files adopted, and given back as it was.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use cairn_tests::run::run;
use cairn_tests::{Machine, Project, Ran, eventually};
use serde_json::Value;

/// What a host is, as far as we could change it: names with kind, mode, owner and target, contents
/// of `/etc`, units, users, mounts. Left out is what the tools of the distribution keep for
/// themselves: backups of `/etc/passwd`, seeds, clocks.
const LISTING: &str = r"
find /etc /var/lib /nix /run/cairn /run/systemd/system /run/systemd/transient /tmp /var/tmp /root -xdev \
    ! -path '/var/lib/systemd/random-seed' ! -path '/var/lib/private*' ! -path '*systemd-private-*' \
    ! -path /run/systemd/transient ! -path '/run/systemd/transient/session-*' ! -path '/run/systemd/transient/user-*' \
    ! -path '/tmp/.*' ! -path '/etc/.pwd.lock' ! -path '/etc/passwd-' ! -path '/etc/group-' \
    ! -path '/etc/shadow-' ! -path '/etc/gshadow-' ! -path '/etc/subuid-' ! -path '/etc/subgid-' \
    ! -path '/var/lib/systemd/timers/*' ! -path '/var/lib/systemd/timesync*' ! -path '/var/lib/sudo*' \
    ! -path '/var/lib/systemd/linger*' -printf '%p %y %m %U:%G %l\n' 2>/dev/null | sort
find /etc -type f ! -name '*-' ! -name .pwd.lock -exec sha256sum {} + | sort -k2
systemctl list-unit-files --no-legend --plain --full | grep -v transient | sort
systemctl list-units --all --no-legend --plain --full 'cairn*'
systemctl is-active web.service
getent passwd; getent group
cut -d' ' -f5 /proc/self/mountinfo | grep -e cairn -e nix
true
";

struct Bed<'a> {
    project: &'a Project,
    machine: &'a Machine<'a>,
    /// Holds an `ssh` that reads a configuration of ours, with a jump host.
    bin: tempfile::TempDir,
}

impl<'a> Bed<'a> {
    /// The same machine, from here on as a host that is reached as `admin` through itself.
    fn new(project: &'a Project, machine: &'a Machine<'a>) -> Self {
        let bin = tempfile::tempdir().expect("a folder");
        let inner = machine.inner();
        let at = |name: &str| bin.path().join(name);
        fs::write(at("known_hosts"), format!("outer {}\n", inner.host_key)).expect("a file");
        let config = format!(
            "Host outer\n  HostName {}\n  Port {}\n  User root\n  IdentityFile {}\n  HostKeyAlias outer\n  \
             UserKnownHostsFile {}\n\
             Host inner\n  HostName 127.0.0.1\n  Port {}\n  ProxyJump outer\n  IdentityFile {}\n  \
             UserKnownHostsFile /dev/null\n",
            inner.address,
            inner.ssh_port,
            inner.identity.display(),
            at("known_hosts").display(),
            inner.ssh_port,
            inner.identity.display()
        );
        fs::write(at("config"), config).expect("a file");
        let script = format!("#!/bin/sh\nexec /usr/bin/ssh -F {} \"$@\"\n", at("config").display());
        fs::write(at("ssh"), script).expect("a program");
        fs::set_permissions(at("ssh"), fs::Permissions::from_mode(0o755)).expect("an executable file");
        let bed = Self { project, machine, bin };
        bed.define("[ssh]\naddress = \"inner\"\nuser = \"admin\"\n");
        bed
    }

    fn file(&self) -> String {
        format!("hosts/{}.toml", self.machine.name)
    }

    fn define(&self, way: &str) {
        fs::write(self.project.path(&self.file()), definition(way)).expect("a definition");
    }

    fn deploy(&self, words: &[&str]) -> Ran {
        let mut command: Command = self.project.command(words);
        let path = std::env::var("PATH").expect("a PATH");
        run(command.env("PATH", format!("{}:{path}", self.bin.path().display())))
    }

    fn json(&self, words: &[&str], code: i32) -> Value {
        self.deploy(words).fails(code, &[]).json()
    }

    fn listing(&self) -> Vec<String> {
        self.machine.ssh(LISTING).ok().stdout.lines().map(str::to_owned).collect()
    }
}

/// One service, which wants an address that systemd holds for it, and has state.
fn definition(way: &str) -> String {
    format!(
        "description = \"a host that was there before\"\nplatform = \"linux/amd64\"\n{way}\n\
         [services.redis]\nimage = \"redis\"\nlisten = {{ tcp = [\"0.0.0.0:8080\"] }}\ndrain = \"2s\"\n\
         command = [\"/usr/bin/busybox\", \"sh\", \"-c\", \"{PROGRAM}\"]\n"
    )
}

const PROGRAM: &str = "echo here; exec /usr/bin/busybox sleep 1000000";

/// The lines that only one of them has.
fn differences(before: &[String], after: &[String]) -> Vec<String> {
    let only = |mark: &str, one: &[String], other: &[String]| -> Vec<String> {
        one.iter().filter(|line| !other.contains(line)).map(|line| format!("{mark} {line}")).collect()
    };
    [only("-", before, after), only("+", after, before)].concat()
}

/// The findings of one host that are not well: check and what.
fn wrong(examined: &Value) -> Vec<String> {
    let found = examined["findings"].as_array().expect("findings");
    let text = |finding: &Value| format!("{}: {}", finding["check"], finding["what"]).replace('"', "");
    found.iter().filter(|finding| finding["level"] == "wrong").map(text).collect()
}

#[test]
fn a_host_becomes_ours_and_is_given_back_as_it_was() {
    let project = Project::with_shared_store();
    let machine = project.machine("e2e-adopt");
    let host = machine.name;
    fs::write(project.path(&format!("hosts/{host}.toml")), definition("[machine]")).expect("a definition");
    project.deploy(&["machine", "start", host]).ok();
    let prepared = "useradd --create-home --shell /bin/sh admin && cp -r /root/.ssh /home/admin/ && chown -R admin: /home/admin/.ssh \
        && printf 'hello\\n' > /etc/motd && chown admin:admin /etc/motd && chmod 640 /etc/motd \
        && printf '[Service]\\nExecStart=/usr/bin/systemd-socket-activate --listen=8080 /bin/cat\\n[Install]\\nWantedBy=multi-user.target\\n' \
           > /etc/systemd/system/web.service && systemctl daemon-reload && systemctl enable --quiet --now web.service";
    machine.ssh(prepared).ok();
    eventually(Duration::from_secs(10), || machine.ssh("ss -ltn | grep -q ':8080 '").code == 0);
    let bed = Bed::new(&project, &machine);

    keys_and_rights(&bed);
    let before = bed.listing();
    looking_leaves_nothing(&bed, &before);
    made_ours(&bed);
    switched(&bed);
    doctor(&bed);
    given_back(&bed, &before);
}

/// The host's key must be known, and the user must be able to become root.
fn keys_and_rights(bed: &Bed) {
    let host = bed.machine.name;
    let unknown = bed.deploy(&["bootstrap", host, "--yes"]);
    let (_, rest) = unknown.stderr.split_once("SHA256:").expect("the fingerprint that it shows");
    let fingerprint = format!("SHA256:{}", rest.split_ascii_whitespace().next().expect("a word"));
    unknown.fails(1, &["its host key is not known", "--accept-host-key"]);
    bed.deploy(&["bootstrap", host, "--accept-host-key", "SHA256:another"])
        .fails(1, &["nothing was changed", &fingerprint]);
    bed.deploy(&["bootstrap", host, "--accept-host-key", &fingerprint])
        .fails(1, &["pinned its key", "NOPASSWD: ALL", "sudoers.d"]);
    let text = fs::read_to_string(bed.project.path(&bed.file())).expect("the definition");
    assert!(text.contains(&format!("host_key = \"{}\"", bed.machine.inner().host_key)), "{text}");
    for command in ["switch", "status", "doctor"] {
        let said = if command == "switch" { vec!["switch", host, "--yes"] } else { vec![command, host] };
        let ran = bed.deploy(&said);
        assert!(ran.code == 1 && format!("{}{}", ran.stdout, ran.stderr).contains("NOPASSWD: ALL"), "{ran:?}");
    }
    bed.machine
        .ssh("echo 'admin ALL=(root) NOPASSWD: ALL' > /etc/sudoers.d/admin && chmod 440 /etc/sudoers.d/admin")
        .ok();
}

fn looking_leaves_nothing(bed: &Bed, before: &[String]) {
    let host = bed.machine.name;
    let report = bed.json(&["bootstrap", host, "--yes", "--json"], 1);
    let [port] = &wrong(&report)[..] else { panic!("{report:#}") };
    assert!(port.contains("8080") && port.contains("web.service"), "{port}");
    assert_eq!((&report["ours"], &report["installed"]), (&false.into(), &false.into()));
    let next = report["findings"].as_array().and_then(|f| f.iter().find(|f| f["level"] == "wrong")).expect("it");
    assert!(next["next"].as_str().is_some_and(|next| next.contains("deploy adopt HOST --unit web.service")), "{next}");
    let told = bed.deploy(&["doctor", host]).fails(1, &[]).stdout;
    assert!(told.contains("not ours yet") && told.contains("web.service"), "{told}");
    let nothing = bed.deploy(&["uninstall", host, "--yes"]).ok().stdout;
    assert!(nothing.contains("nothing of ours is there"), "{nothing}");
    assert_eq!(differences(before, &bed.listing()), [""; 0]);
}

fn made_ours(bed: &Bed) {
    let host = bed.machine.name;
    for bad in ["/usr/bin/env", "/etc/none", "/etc/systemd"] {
        bed.deploy(&["adopt", host, bad]).fails(1, &[bad, "cannot be adopted"]);
    }
    bed.deploy(&["adopt", host, "--unit", "none.service"]).fails(1, &["none.service", "does not know it"]);
    let adopted = bed.json(&["adopt", host, "/etc/motd", "--unit", "web.service", "--json"], 0);
    assert_eq!((&adopted["files"][0]["path"], &adopted["units"][0]["from"]), (&"/etc/motd".into(), &Value::Null));
    let listed = bed.deploy(&["adopt", host, "--list"]).ok().stdout;
    assert!(listed.contains("/etc/motd") && listed.contains("mode 640"), "{listed}");
    // Nothing is seen of it.
    bed.machine.ssh("systemctl is-active web.service && test \"$(cat /etc/motd)\" = hello && test ! -L /etc/motd").ok();

    let report = bed.json(&["bootstrap", host, "--yes", "--json"], 0);
    assert_eq!((wrong(&report), &report["installed"]), (Vec::new(), &true.into()), "{report:#}");
    let again = bed.json(&["bootstrap", host, "--json"], 0);
    assert_eq!((&again["steps"], &again["ours"]), (&serde_json::json!([]), &true.into()));
    // The generator that leads nowhere yet is passed over, and a collection leaves the agent.
    bed.machine.ssh("systemctl daemon-reload && test -L /etc/systemd/system-generators/cairn").ok();
    bed.deploy(&["gc", host]).ok();
    bed.machine.ssh("ls /nix/store/*-cairn-agent/bin/cairn-agent").ok();
    assert_eq!(wrong(&bed.json(&["doctor", host, "--json"], 0)["hosts"][0]), [""; 0]);
}

fn switched(bed: &Bed) {
    let host = bed.machine.name;
    let state =
        || bed.machine.ssh("systemctl show -P LoadState -P ActiveState web.service").ok().stdout.replace('\n', " ");
    // One that fails gives its place back to the host's own.
    let file = bed.file();
    let good = fs::read_to_string(bed.project.path(&file)).expect("the definition");
    fs::write(bed.project.path(&file), good.replace("\"/usr/bin/busybox\", \"sh\"", "\"/usr/bin/none\", \"sh\""))
        .expect("a definition");
    bed.deploy(&["switch", host, "--yes"]).fails(3, &["back on no generation"]);
    assert_eq!(state(), "loaded active ");
    fs::write(bed.project.path(&file), good).expect("a definition");

    let switched = bed.json(&["switch", host, "--yes", "--json"], 0);
    assert_eq!(switched["hosts"][0]["outcome"], "switched", "{switched:#}");
    assert_eq!(state(), "masked inactive ");
    bed.deploy(&["status", host]).ok();
    assert_ne!(bed.deploy(&["logs", "redis", host, "-n", "5"]).ok().stdout, "");
    assert_eq!(bed.deploy(&["exec", "redis", host, "--", "/usr/bin/busybox", "id", "-u"]).ok().stdout.trim(), "10004");
    assert_eq!(bed.deploy(&["ssh", host, "--", "id -un"]).ok().stdout.trim(), "admin");
    assert_eq!(wrong(&bed.json(&["doctor", host, "--verify", "--json"], 0)["hosts"][0]), [""; 0]);
}

fn doctor(bed: &Bed) {
    let (host, machine) = (bed.machine.name, bed.machine);
    let plant = "mkdir -p /run/cairn/gone && mount -t tmpfs tmpfs /run/cairn/gone \
        && ln -s /nix/store/x /run/systemd/system/cairn-gone.target \
        && touch /nix/var/cairn/lock.new-4194999 && mkdir -p /nix/store/0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-gone \
        && ln -s /nix/store/x /nix/var/nix/gcroots/cairn/cairn-activation-1-2 \
        && mkdir /tmp/cairn-agent.0123456789 && touch -d '1 hour ago' /tmp/cairn-agent.0123456789 \
        && ln -sfn /dev/null /etc/systemd/system-generators/cairn \
        && printf '[Service]\\nExecStart=/bin/true\\n' > /etc/systemd/system/cairn-foreign.service";
    machine.ssh(plant).ok();
    let told = wrong(&bed.json(&["doctor", host, "--json"], 1)["hosts"][0]).join("\n");
    for part in [
        "leftover mount: /run/cairn/gone",
        "leftover unit: /run/systemd/system/cairn-gone.target",
        "leftover run directory: /run/cairn/gone",
        "leftover temporary file: /nix/var/cairn/lock.new-4194999",
        "leftover temporary file: /tmp/cairn-agent.0123456789",
        "leftover root: /nix/var/nix/gcroots/cairn/cairn-activation-1-2",
        "store: /nix/store/0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-gone is in the store but not registered",
        "boot generator: /etc/systemd/system-generators/cairn leads to /dev/null",
        "names of units: not of any generation: /etc/systemd/system/cairn-foreign.service",
    ] {
        assert!(told.contains(part), "{part} is not in\n{told}");
    }
    let shown = bed.deploy(&["doctor", host]).fails(1, &[]).stdout;
    assert!(shown.contains("why: ") && shown.contains("next: "), "{shown}");
    bed.deploy(&["bootstrap", host, "--yes"]).fails(1, &["is not ready; nothing was changed"]);
    // Two that are not ours to take away; the rest is left to the uninstallation.
    let undo = "rm /etc/systemd/system/cairn-foreign.service \
        && ln -sfn /nix/var/nix/profiles/cairn/agent /etc/systemd/system-generators/cairn";
    machine.ssh(undo).ok();
}

fn given_back(bed: &Bed, before: &[String]) {
    let (host, machine) = (bed.machine.name, bed.machine);
    // As a generation that declares it has it.
    machine.ssh("ln -sfn /nix/var/nix/profiles/cairn/agent /etc/motd").ok();
    bed.deploy(&["uninstall", host]).fails(1, &["there is no terminal to ask on", "/etc/motd", "web.service"]);
    // While somebody is at work there, nothing is given back.
    machine.ssh("systemd-run --quiet --unit=holder flock /nix/var/cairn/lock sleep 600").ok();
    eventually(Duration::from_secs(30), || machine.ssh("flock -n /nix/var/cairn/lock true").code != 0);
    bed.deploy(&["uninstall", host, "--yes"]).fails(5, &["locked"]);
    machine.ssh("systemctl stop holder").ok();

    // One that was broken off: the profile is gone already.
    machine.ssh("rm /nix/var/nix/profiles/cairn*").ok();
    let done = bed.json(&["uninstall", host, "--yes", "--json"], 0);
    assert_eq!(done["done"], true);
    let kept = done["kept"].to_string();
    assert!(kept.contains("/var/lib/cairn/state/redis"), "{kept}");
    let only_data = differences(before, &bed.listing());
    assert!(
        !only_data.is_empty() && only_data.iter().all(|line| line.starts_with("+ /var/lib/cairn")),
        "{only_data:#?}"
    );
    let active = machine.ssh("systemctl is-active web.service; systemctl is-enabled web.service; cat /etc/motd").stdout;
    assert_eq!(active, "active\nenabled\nhello\n");

    bed.deploy(&["uninstall", host, "--yes", "--delete-data"]).ok();
    assert_eq!(differences(before, &bed.listing()), [""; 0]);
    let nothing = bed.json(&["uninstall", host, "--yes", "--json"], 0);
    assert_eq!(nothing["removed"], serde_json::json!([]));
    assert_eq!(differences(before, &bed.listing()), [""; 0]);
}
