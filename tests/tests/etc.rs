//! The host itself, on a real one over real SSH: files below `/etc`, kernel settings, people, mounts
//! and plain units come, change, fail, and go with the generations.

use std::fs;
use std::process::Command;
use std::time::Duration;

use cairn_tests::project::Machine;
use cairn_tests::{Project, run, tool};

/// The whole of what a switch may touch, but for logs and tools' own copies of `/etc/passwd`.
const STATE: &str = "cd /etc && find . -xdev \\( -name '*-' -o -name .pwd.lock -o -path './systemd/system-generators*' \\) -prune \
    -o -printf '%p %y %m %U %l\\n' | sort; \
    find . -xdev -type f ! -name '*-' ! -name .pwd.lock -exec sha256sum {} + | sort -k2; \
    cat /proc/sys/net/core/somaxconn; findmnt -rn -o TARGET,OPTIONS -t tmpfs | grep /srv | sort; \
    systemctl list-units --plain --no-legend 'tick*' 'tock*' --all --state=active,failed | awk '{print $1, $4}'";

/// Machines are containers, where kernel settings cannot be written; this one's can, from its boot on.
const WRITABLE: &str = "mkdir -p /etc/systemd/system/sysinit.target.wants && cd /etc/systemd/system && \
    printf '[Unit]\\nDefaultDependencies=no\\nBefore=systemd-sysctl.service cairn-host.service\\n[Service]\\nType=oneshot\\n\
    RemainAfterExit=yes\\nExecStart=/bin/mount -o remount,bind,rw /proc/sys\\n' >writable.service && \
    ln -s ../writable.service sysinit.target.wants/ && systemctl daemon-reload && systemctl start writable.service && \
    grep ' /proc/sys' /proc/mounts && echo 4000 >/proc/sys/net/core/somaxconn && cat /proc/sys/net/core/somaxconn";

struct Host<'a> {
    project: &'a Project,
    machine: &'a Machine<'a>,
    key: String,
}

impl Host<'_> {
    /// Writes the definition: how to reach it, sshd's settings, what else.
    fn define(&self, name: &str, reach: &str, sshd: &str, more: &str) {
        let text = format!(
            "{reach}\n[etc.\"ssh/sshd_config.d/10-team.conf\"]\ntext = '''\n{sshd}\n'''\nreload = [\"ssh.service\"]\n{more}"
        );
        fs::write(self.project.path(&format!("hosts/{name}.toml")), text).expect("a writable project");
    }

    /// All of it, as a team would have it.
    fn team(&self, options: &str, tock: &str, shell: &str) -> String {
        format!(
            "[etc.\"team/deep/tock.conf\"]\ntemplate = \"tock.conf.j2\"\nsettings = {{ word = \"{tock}\" }}\nmode = \"0600\"\n\
             restart = [\"tock.service\"]\n\
             [sysctl]\n\"net.core.somaxconn\" = 1234\n\
             [users.alice]\nuid = 2001\ngroups = [\"users\"]\nshell = \"{shell}\"\nkeys = [\"{}\"]\n\
             [mounts.\"/srv/my-data\"]\nwhat = \"tmpfs\"\ntype = \"tmpfs\"\noptions = [{options}]\n\
             [units.\"tock.service\"]\ntext = '''\n[Service]\nType=exec\nExecStart=/bin/sleep infinity\n'''\n\
             [units.\"tick.timer\"]\ntext = '''\n[Timer]\nOnCalendar=daily\n'''\n\
             [units.\"tick.service\"]\ntext = '''\n[Service]\nType=oneshot\nExecStart=/bin/true\n'''\nstart = false\n",
            self.key
        )
    }

    #[track_caller]
    fn on_host(&self, line: &str) -> String {
        self.machine.ssh(line).ok().stdout.trim().to_owned()
    }

    #[track_caller]
    fn switch(&self) {
        self.project.deploy(&["switch", self.machine.name, "--yes"]).ok();
    }

    fn pid(&self, unit: &str) -> String {
        self.on_host(&format!("systemctl show --value --property=MainPID {unit}"))
    }

    fn tries(&self) -> String {
        self.on_host("sshd -T | grep -i maxauthtries")
    }

    #[track_caller]
    fn drift(&self) -> Vec<String> {
        let status = self.project.deploy(&["status", self.machine.name, "--json"]).json();
        let drift = status["hosts"][0]["drift"].as_array().cloned().unwrap_or_default();
        drift.iter().map(|drift| format!("{} {}", drift["unit"], drift["problem"]).replace('"', "")).collect()
    }

    /// Power off and on, as in a power cut.
    fn lose_power(&self) {
        self.machine.machines().poweroff_hard(self.machine.name).expect("a machine to switch off");
        self.project.deploy(&["machine", "start", self.machine.name]).ok();
    }
}

#[test]
fn the_host_itself_is_part_of_each_generation() {
    let project = Project::with_shared_store();
    let machine = project.machine("e2e-etc");
    let name = machine.name;
    let identity = project.path("alice");
    let file = identity.to_str().expect("a plain path");
    tool("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "alice", "-f", file]);
    let key = fs::read_to_string(project.path("alice.pub")).expect("a key").trim().to_owned();
    fs::write(project.path("hosts/tock.conf.j2"), "{{ word }} on {{ host }}\n").expect("a template");
    let host = Host { project: &project, machine: &machine, key };
    project.deploy(&["machine", "start", name]).ok();
    let prepared = host.on_host(WRITABLE);
    assert!(prepared.ends_with("4000"), "{prepared}");
    host.lose_power();
    let bare = host.on_host(STATE);

    // A first generation that shuts everybody out is not confirmed; the power goes before it reverts.
    host.define(name, "[machine]", "AllowUsers nobody", &host.team("\"size=1m\"", "one", "/bin/sh"));
    let shut = project.deploy(&["switch", name, "--yes", "--confirm-within", "300"]);
    assert_ne!(shut.code, 0, "{shut:?}");
    host.lose_power();
    assert_eq!(host.on_host(STATE), bare, "what a trial left over a power cut");

    // All of it comes at once.
    host.define(name, "[machine]", "MaxAuthTries 5", &host.team("\"size=1m\"", "one", "/bin/sh"));
    let plan = project.deploy(&["plan", name]).ok().stdout;
    for line in [
        "+ /etc/ssh/sshd_config.d/10-team.conf: new",
        "+ sysctl net.core.somaxconn: new",
        "+ user alice: new",
        "+ mount /srv/my-data: new",
        "+ unit tick.timer: new",
        "+MaxAuthTries 5",
        "+net.core.somaxconn = 1234",
    ] {
        assert!(plan.contains(line), "{line}\n{plan}");
    }
    let sshd = host.pid("ssh.service");
    host.switch();
    assert_eq!(host.tries(), "maxauthtries 5");
    assert_eq!(host.pid("ssh.service"), sshd, "sshd was told, not started anew");
    assert_eq!(host.on_host("cat /proc/sys/net/core/somaxconn"), "1234");
    assert_eq!(
        host.on_host("cat /etc/team/deep/tock.conf; stat -L -c %a:%U /etc/team/deep/tock.conf"),
        format!("one on {name}\n600:root")
    );
    assert_eq!(
        host.on_host("findmnt -n -o FSTYPE /srv/my-data; systemctl is-active tick.timer tock.service"),
        "tmpfs\nactive\nactive"
    );
    let alice = || {
        let inner = machine.inner();
        let ssh =
            ["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-i", file];
        let at = format!("alice@{}", inner.address);
        run(Command::new("ssh").args(ssh).args([at.as_str(), "id -un; id -Gn; echo $SHELL"])).ok().stdout
    };
    assert_eq!(alice(), "alice\nalice users\n/bin/sh\n");
    assert_eq!(host.drift(), [""; 0]);

    // Of the units that read files, the one whose file changed is told, and no other.
    let tock = host.pid("tock.service");
    host.define(name, "[machine]", "MaxAuthTries 4", &host.team("\"size=2m\"", "one", "/bin/sh"));
    host.switch();
    assert_eq!((host.tries().as_str(), host.pid("tock.service")), ("maxauthtries 4", tock.clone()));
    assert_eq!(host.on_host("findmnt -n -o OPTIONS /srv/my-data | tr , '\\n' | grep size"), "size=2048k");
    host.define(name, "[machine]", "MaxAuthTries 4", &host.team("\"size=2m\"", "two", "/bin/bash"));
    host.switch();
    assert_ne!(host.pid("tock.service"), tock);
    assert_eq!(host.pid("ssh.service"), sshd);
    assert!(alice().ends_with("/bin/bash\n"));
    let diff = project.deploy(&["diff", name, "2", "3"]).ok().stdout;
    for line in ["~ /etc/team/deep/tock.conf: changed", "~ user alice: changed", "-one on", "+two on"] {
        assert!(diff.contains(line), "{line}\n{diff}");
    }
    let third = host.on_host(STATE);

    // What sshd does not take, and what shuts us out, leaves all as it was: the rest of it, too.
    let other = "[sysctl]\n\"net.core.somaxconn\" = 99\n[users.bob]\nuid = 2002\n[etc.issue-of-us]\ntext = \"x\"\n\
        [mounts.\"/srv/other\"]\nwhat = \"tmpfs\"\ntype = \"tmpfs\"\n";
    host.define(name, "[machine]", "Nonsense yes", other);
    project.deploy(&["switch", name, "--yes"]).fails(3, &["ssh.service", "back on generation 3"]);
    assert_eq!(host.on_host(STATE), third, "after a file that sshd refuses");
    host.define(name, "[machine]", "AllowUsers nobody", other);
    assert_eq!(project.deploy(&["switch", name, "--yes", "--confirm-within", "3"]).code, 1);
    cairn_tests::eventually(Duration::from_secs(60), || {
        let tried = machine.ssh("true");
        let status = project.deploy(&["status", name, "--json"]).json();
        tried.code == 0 && status["hosts"][0]["activation"].is_null()
    });
    assert_eq!(host.on_host(STATE), third, "after nobody could confirm");
    assert_eq!(host.tries(), "maxauthtries 4");

    // What is somebody else's is not touched, until it was adopted.
    host.define(name, "[machine]", "MaxAuthTries 4", "[etc.motd]\ntext = \"ours\"\n");
    project.deploy(&["switch", name, "--yes"]).fails(1, &["/etc/motd exists, and is not Cairn's", "deploy adopt"]);
    host.define(name, "[machine]", "MaxAuthTries 4", "[users.daemon]\nuid = 2003\n");
    project.deploy(&["switch", name, "--yes"]).fails(1, &["has a user daemon already"]);
    host.define(name, "[machine]", "MaxAuthTries 4", "[users.bob]\nuid = 2001\n");
    project.deploy(&["switch", name, "--yes"]).fails(1, &["2001", "alice"]);
    assert_eq!(host.on_host(STATE), third);

    // Back, over a power cut, and what somebody does by hand is told.
    project.deploy(&["rollback", name, "--to", "1", "--yes"]).ok();
    assert_eq!(host.tries(), "maxauthtries 5");
    let first = host.on_host(STATE);
    host.lose_power();
    // Units may come up after sshd.
    cairn_tests::eventually(Duration::from_secs(60), || machine.ssh(STATE).stdout.trim() == first);
    assert_eq!(host.tries(), "maxauthtries 5");
    assert!(alice().ends_with("/bin/sh\n"));
    host.on_host(
        "sysctl -q net.core.somaxconn=77 || echo 77 >/proc/sys/net/core/somaxconn; rm /etc/team/deep/tock.conf",
    );
    assert_eq!(host.drift(), ["/etc/team/deep/tock.conf is gone", "sysctl net.core.somaxconn is 77, not 1234"]);

    // sshd moves to another port: confirmed there, and there alone.
    let inner = machine.inner();
    let reach = |port: &str| {
        format!(
            "[ssh]\naddress = \"{}\"\nuser = \"root\"\nidentity = \"{}\"\nhost_key = \"{}\"\n{port}",
            inner.address,
            inner.identity.display(),
            inner.host_key
        )
    };
    let adopt = "mkdir -p /nix/var/cairn/adopted/etc && cp -a /etc/motd /nix/var/cairn/adopted/etc/motd";
    host.on_host(adopt);
    host.define("moved", &reach("port = 2222\nport_before = 22\n"), "Port 2222", "[etc.motd]\ntext = \"ours\"\n");
    project.deploy(&["switch", "moved", "--yes"]).ok();
    assert_ne!(machine.ssh("true").code, 0, "sshd still listens at the old port");
    host.define("moved", &reach("port = 2222\n"), "Port 2222", "[etc.motd]\ntext = \"ours\"\n");
    let status = project.deploy(&["status", "moved", "--json"]).json();
    assert_eq!(status["hosts"][0]["drift"], serde_json::json!([]), "{status}");
    // A port that the definition does not say is never confirmed.
    host.define("moved", &reach("port = 2222\n"), "Port 2223", "[etc.motd]\ntext = \"ours\"\n");
    assert_eq!(project.deploy(&["switch", "moved", "--yes", "--confirm-within", "3"]).code, 1);
    host.define("moved", &reach("port = 2222\n"), "Port 2222", "[etc.motd]\ntext = \"ours\"\n");
    cairn_tests::eventually(Duration::from_secs(60), || project.deploy(&["switch", "moved", "--yes"]).code == 0);

    // Gone without a trace; a home is somebody's data.
    fs::write(project.path("hosts/moved.toml"), reach("port = 22\nport_before = 2222\n")).expect("a writable project");
    project.deploy(&["switch", "moved", "--yes"]).ok();
    assert_eq!(host.on_host(STATE), bare);
    assert_eq!(host.on_host("ls /home; test -e /run/cairn/etc/current || echo none"), "alice\nbob\nnone");
}

/// Confirmed is only what can be reached anew: a rule that lets no answer out (as a firewall of the
/// host has them), and no network at all.
#[test]
fn a_generation_that_cuts_the_way_to_the_host_goes_back_by_itself() {
    let project = Project::with_shared_store();
    let machine = project.machine("e2e-cut");
    let name = machine.name;
    let define = |units: &str| {
        let text = format!("[machine]\n[etc.team]\ntext = \"{}\"\n{units}", units.len());
        fs::write(project.path(&format!("hosts/{name}.toml")), text).expect("a writable project");
    };
    define("");
    project.deploy(&["switch", name, "--yes"]).ok();
    let look = format!("ip -brief address show host0; ip rule; ip route; {STATE}");
    let bare = machine.ssh(&look).ok().stdout;
    for (cut, mend) in [
        ("ip rule add pref 1 prohibit", "ip rule del pref 1"),
        (
            "ip route show default >/run/way; ip link set dev host0 down",
            "ip link set dev host0 up; ip route add $$(cat /run/way)",
        ),
    ] {
        let unit = |start: &str, stop: &str| {
            format!(
                "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c '{start}'\nExecStop=/bin/sh -c '{stop}'\n"
            )
        };
        define(&format!("[units.\"wall.service\"]\ntext = \"\"\"\n{}\"\"\"\n", unit(cut, mend)));
        let failed = project.deploy(&["switch", name, "--yes", "--confirm-within", "4"]);
        assert!(matches!(failed.code, 1 | 3), "{cut}: {failed:?}");
        cairn_tests::eventually(Duration::from_secs(60), || {
            let status = project.deploy(&["status", name, "--json"]).json();
            machine.ssh("true").code == 0 && status["hosts"][0]["activation"].is_null()
        });
        let now = machine.ssh(&look).ok().stdout;
        let other: Vec<&str> = now.lines().filter(|line| !bare.lines().any(|known| known == *line)).collect();
        assert!(now == bare, "{cut}: {other:?}");
        let history = project.deploy(&["history", name, "--limit", "1", "--json"]).ok().json();
        assert_eq!(history["attempts"][0]["outcome"], "reverted", "{cut}: {history}");
        let status = project.deploy(&["status", name, "--json"]).json();
        assert_eq!(
            (&status["hosts"][0]["generation"], &status["hosts"][0]["drift"]),
            (&1.into(), &serde_json::json!([]))
        );
    }
}
