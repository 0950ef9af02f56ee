//! A compromised service on a real host: what it plants in its own folder makes root do nothing for it,
//! and no other user of the host can hold or read what is the agent's.

use std::time::{Duration, Instant};

use cairn_tests::{Machine, Project, http};

/// A check that passes at once: each switch runs it, and puts up the sign that lets checks through.
const CHECK: &str = "[services.look]\nimage = \"smoke\"\nkind = \"check\"\nafter = [\"proxy\"]\n\
    command = [\"/usr/bin/python3.11\", \"-c\", \"pass\"]\n";

/// Runs shell lines as the service's user, in the folder of the instance that has the traffic.
fn as_service(machine: &Machine<'_>, service: &str, uid: u32, lines: &str) -> String {
    let line = format!(
        "cd /run/cairn/{service}/current/ && setpriv --reuid {uid} --regid {uid} --clear-groups sh -c '{lines}'"
    );
    machine.ssh(&line).ok().stdout
}

#[test]
fn a_service_makes_root_touch_nothing_but_its_own_folder() {
    let project = Project::with_shared_store();
    project.front("hosts/local.toml", CHECK);
    project.edit("services/front.toml", "replicas = 1", "replicas = 2");
    let machine = project.machine("e2e-owned");
    let host = machine.name;
    project.deploy(&["switch", host, "--yes"]).ok();
    let alive = || http::eventually(&format!("{}/health", machine.url("proxy")), 200, 10);
    alive();
    let switch = |memory: u32| {
        let text = std::fs::read_to_string(project.path("services/proxy.toml")).expect("a definition");
        let before = text.split("memory = \"").nth(1).and_then(|rest| rest.split('"').next()).expect("a limit");
        let to = format!("memory = \"{memory}M\"");
        project.edit("services/proxy.toml", &format!("memory = \"{before}\""), &to);
        project.deploy(&["switch", host, "--yes"]).ok();
    };

    // A link in place of the sign for checks, of which each activation makes one.
    as_service(&machine, "proxy", 10002, "ln -s /etc/nologin maintenance.checks");
    switch(257);
    machine.ssh("test ! -e /etc/nologin").ok();

    // A FIFO there, in both instances that an activation may meet: it must not hold the lock.
    as_service(&machine, "proxy", 10002, "rm -rf maintenance.checks; mkfifo maintenance.checks");
    let began = Instant::now();
    project.edit(&format!("hosts/{host}.toml"), "[machine]", "description = \"again\"\n[machine]");
    project.edit("services/front.toml", "WEB_CONCURRENCY = 1", "WEB_CONCURRENCY = 2");
    project.deploy(&["switch", host, "--yes"]).ok();
    assert!(began.elapsed() < Duration::from_secs(300), "the switch hung");
    alive();

    // Links in place of the files that are written beside maintenance's sign, for all likely processes.
    machine.ssh("echo kept >/root/victim; chmod 600 /root/victim").ok();
    as_service(
        &machine,
        "proxy",
        10002,
        "ln -s nothing maintenance; for p in $(seq 1 4000); do ln -s /root/victim maintenance.new-$p; \
         ln -s /root/victim .maintenance.new-$p; done",
    );
    project.deploy(&["maintenance", "on", host]).ok();
    project.deploy(&["maintenance", "off", host]).ok();
    assert_eq!(machine.ssh("cat /root/victim; stat -c %a /root/victim").ok().stdout, "kept\n600\n");

    // The API swaps links with its hidden socket's name while root hides it, in each restart.
    let attack = "i=0; while [ $i -lt 400000 ]; do i=$((i+1)); if [ -e 1.hidden ] || [ -e 2.hidden ]; then \
        ln -sf /root/victim l1; mv -fT l1 1.sock 2>/dev/null; ln -sf /root/victim l2; mv -fT l2 2.sock 2>/dev/null; \
        fi; [ -e stop ] && exit 0; done; exit 0";
    let attacker = format!(
        "systemd-run --quiet --collect --unit e2e-attack --uid 10001 --gid 10001 \
         --working-directory \"$(readlink -f /run/cairn/api/current)\" sh -c '{attack}'"
    );
    machine.ssh(&attacker).ok();
    for _ in 0..3 {
        // It may well fail, as the service breaks its own socket.
        project.deploy(&["restart", "api", host]);
    }
    machine.ssh("systemctl stop e2e-attack.service; true");
    assert_eq!(machine.ssh("cat /root/victim; stat -c %a /root/victim").ok().stdout, "kept\n600\n");

    // A folder in place of a socket does not keep a replica from coming up.
    as_service(&machine, "api", 10001, "rm -rf l1 l2 *.hidden; rm -rf 1.sock; mkdir -p 1.sock/deep/er");
    machine.ssh("systemctl restart \"$(systemctl list-units --plain --no-legend \"cairn-api-*-1.service\" | cut -d\" \" -f1)\"").ok();
    project.deploy(&["restart", "api", host]).ok();
    alive();

    // Other users of the host can neither hold the agent's locks nor read its records.
    let nobody =
        |line: &str| machine.ssh(&format!("setpriv --reuid 65534 --regid 65534 --clear-groups sh -c '{line}'"));
    assert_ne!(nobody("flock -n /nix/var/cairn/lock true").code, 0);
    assert_ne!(nobody("cat /nix/var/cairn/activations/*/events.jsonl").code, 0);
    assert_ne!(nobody("cat /nix/var/nix/db/db.sqlite").code, 0);
    // As an earlier version has left them: corrected at the next contact.
    machine.ssh("chmod 755 /nix/var/cairn; chmod 644 /nix/var/cairn/lock").ok();
    assert_eq!(nobody("flock -n /nix/var/cairn/lock true").code, 0, "the test's own premise");
    project.deploy(&["status", host]);
    assert_ne!(nobody("flock -n /nix/var/cairn/lock true").code, 0);
    switch(258);
    alive();
}
