//! An operator who comes while the host boots waits for it; if it takes too long, he is told why.

use std::process::Stdio;
use std::thread;
use std::time::Duration;

use cairn_tests::phase::Upcoming;
use cairn_tests::{Machine, Project, eventually, http};

const MAIN: &str = "images/api/app/spirit/version.py";
/// Keeps the boot from ending for as long as there is a file.
const SLOW: &str = "mkdir -p /etc/systemd/system/cairn-boot.service.d && cd /etc/systemd/system/cairn-boot.service.d && \
    printf '[Service]\\nExecStartPre=/bin/sh -c \"while test -e /etc/slow; do sleep 0.1; done\"\\n' >slow.conf && \
    touch /etc/slow && systemctl daemon-reload && sync";

#[test]
fn a_switch_waits_for_the_boot_and_goes_on_from_what_it_settled() {
    let project = Project::with_shared_store();
    let machine = project.machine("e2e-boot");
    let host = machine.name;
    project.front(&format!("hosts/{host}.toml"), "");
    project.deploy(&["switch", host, "--yes"]).ok();
    machine.ssh(SLOW).ok();

    // The power goes in the middle of a switch.
    project.edit(MAIN, "1.0.0", "99.0.1");
    let upcoming = machine.upcoming();
    let mut client = project.command(&["switch", host, "--yes"]).stderr(Stdio::null()).spawn().expect("deploy");
    assert!(upcoming.wait(&mut client, |upcoming: &Upcoming| upcoming.has_reached("start")), "it was over before");
    machine.machines().poweroff_hard(host).expect("a machine to switch off");
    client.kill().and_then(|()| client.wait()).expect("an end");

    // Who comes now waits, and finds a host that has settled what was cut off.
    project.deploy(&["machine", "start", host]).ok();
    let mut early = project.command(&["switch", host, "--yes"]).stderr(Stdio::null()).spawn().expect("deploy");
    eventually(Duration::from_secs(30), || machine.ssh("pgrep -f 'cairn-agent serve'").code == 0);
    thread::sleep(Duration::from_secs(2));
    assert_eq!(early.try_wait().expect("a child"), None, "it did not wait");
    assert!(boots(&machine), "the boot was over");
    machine.ssh("rm /etc/slow").ok();
    assert!(early.wait().expect("an end").success());
    whole(&project, &machine, 2, "99.0.1");
    let history = project.deploy(&["history", host, "--json"]).ok().json();
    let outcomes = history["attempts"].as_array().into_iter().flatten().map(|attempt| attempt["outcome"].clone());
    assert_eq!(outcomes.collect::<Vec<_>>(), ["committed", "reverted", "committed"]);

    // A boot that does not end keeps everybody away, and says who it is.
    machine.ssh("touch /etc/slow && sync").ok();
    machine.machines().poweroff_hard(host).expect("a machine to switch off");
    project.deploy(&["machine", "start", host]).ok();
    project.edit(MAIN, "99.0.1", "99.0.2");
    let late = project.deploy(&["switch", host, "--yes"]);
    late.fails(5, &["locked by systemd for the boot", "cairn-boot.service has not ended"]);
    assert!(boots(&machine), "the boot was over");
    machine.ssh("rm /etc/slow").ok();
    whole(&project, &machine, 2, "99.0.1");
    project.deploy(&["switch", host, "--yes"]).ok();
    whole(&project, &machine, 3, "99.0.2");
}

fn boots(machine: &Machine) -> bool {
    machine.ssh("systemctl is-active cairn-boot.service").stdout.trim() == "activating"
}

#[track_caller]
fn whole(project: &Project, machine: &Machine, generation: u64, version: &str) {
    let url = format!("https://{}:8443/health", machine.inner().address);
    assert_eq!(http::eventually(&url, 200, 60).json()["version"], version);
    let status = project.deploy(&["status", machine.name, "--json"]).json();
    assert_eq!(status["hosts"][0]["generation"], generation, "{status}");
    assert_eq!(machine.faults(), "");
}
