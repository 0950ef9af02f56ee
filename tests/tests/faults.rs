//! What goes wrong on a host leaves it as it was, and says so.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cairn_tests::phase::PHASES;
use cairn_tests::{Machine, Project, eventually, http, run, tool};

const MAIN: &str = "images/api/app/spirit/version.py";

#[test]
fn a_host_is_left_as_it_was_by_whatever_fails() {
    let project = Project::with_shared_store();
    let machine = project.machine("e2e-faults");
    let host = machine.name;

    // A first deploy that fails leaves nothing running.
    project.edit(MAIN, "\"\"\"", "raise RuntimeError(\"broken on purpose\")\n\"\"\"");
    let failed = project.deploy(&["switch", host, "--yes", "--json"]);
    let failed = failed.fails(3, &["broken on purpose", "back on no generation"]).json();
    assert_eq!(failed["hosts"][0]["outcome"], "reverted");
    assert!(failed["hosts"][0]["log"].as_array().is_some_and(|log| !log.is_empty()), "{failed}");
    let units =
        machine.ssh("systemctl list-units --plain --no-legend 'cairn-*.service' --state=active,failed,activating");
    assert_eq!(units.ok().stdout.trim(), "", "units are left over");

    project.edit(MAIN, "raise RuntimeError(\"broken on purpose\")\n", "");
    project.deploy(&["switch", host, "--yes"]).ok();
    let url = machine.url("proxy");
    let alive = |url: &str| http::eventually(&format!("{url}/health"), 200, 10);
    alive(&url);

    // A health check that never passes: the old generation goes on serving.
    let definition = format!("hosts/{host}.toml");
    project.edit("services/api.toml", "path = \"/ready\"\ntimeout = \"60s\"", "path = \"/nowhere\"\ntimeout = \"8s\"");
    project.edit(&definition, "WEB_CONCURRENCY = 1", "WEB_CONCURRENCY = 2");
    project.deploy(&["switch", host, "--yes"]).fails(3, &["404", "back on generation 1"]);
    alive(&url);
    project.edit("services/api.toml", "path = \"/nowhere\"\ntimeout = \"8s\"", "path = \"/ready\"\ntimeout = \"60s\"");

    // Two at once: one wins, the other learns who holds the host.
    let mut winner = project.command(&["switch", host, "--yes"]).stderr(Stdio::piped()).spawn().expect("deploy");
    let locked = until(Duration::from_secs(30), || {
        let tried = project.deploy(&["rollback", host, "--to", "1", "--yes"]);
        (tried.code == 5).then_some(tried)
    });
    locked.fails(5, &["@"]);
    assert!(winner.wait().expect("an end").success());
    let status = project.deploy(&["status", host, "--json"]).ok().json();
    assert_eq!(status["hosts"][0]["generation"], 2);

    // The activation is killed in the middle: systemd goes back, and the host serves.
    project.edit(MAIN, "\"\"\"", "\"\"\"Changed once more. ");
    let mut victim = project.command(&["switch", host, "--yes"]).stderr(Stdio::piped()).spawn().expect("deploy");
    until(Duration::from_secs(30), || {
        let kill = "for d in /proc/[0-9]*; do tr '\\0' ' ' <$d/cmdline 2>/dev/null | grep -q 'cairn-agent activate' && kill -9 ${d#/proc/} && echo killed; done";
        machine.ssh(kill).stdout.contains("killed").then_some(())
    });
    let code = victim.wait().expect("an end").code();
    assert!(matches!(code, Some(1 | 3)), "{code:?}");
    let status = project.deploy(&["status", host, "--json"]).ok().json();
    assert_eq!(status["hosts"][0]["generation"], 2, "{status}");
    alive(&url);

    // Then the machine loses its power, and the committed generation comes up.
    machine.machines().poweroff_hard(host).expect("a machine to switch off");
    project.deploy(&["machine", "start", host]).ok();
    alive(&machine.url("proxy"));
    let status = project.deploy(&["status", host, "--json"]).json();
    assert_eq!(status["hosts"][0]["generation"], 2);

    // The next switch works.
    project.deploy(&["switch", host, "--yes"]).ok();
    alive(&url);

    // Interrupted at the keyboard: no harm, and the same switch goes through afterwards.
    project.edit(MAIN, "\"\"\"Changed once more. ", "\"\"\"Changed yet again. ");
    let mut stopped = project.command(&["switch", host, "--yes"]).stderr(Stdio::piped()).spawn().expect("deploy");
    std::thread::sleep(Duration::from_millis(1200));
    let pid = nix::unistd::Pid::from_raw(i32::try_from(stopped.id()).expect("a pid"));
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT);
    stopped.wait().expect("an end");
    alive(&url);
    until(Duration::from_secs(90), || {
        let tried = project.deploy(&["switch", host, "--yes"]);
        (tried.code == 0).then_some(())
    });
    alive(&url);

    read_only(&project, &machine);
    alive(&url);
    clock_set_back(&project, &machine);
    alive(&url);

    // Gone without a trace.
    machine.remove().ok();
    let left = run(Command::new("ip").args(["netns", "list"])).ok().stdout;
    assert!(!left.contains(host), "{left}");
    project.deploy(&["status", host, "--json"]);
}

/// The store's file system can only be read, as the kernel makes one that it finds damaged.
fn read_only(project: &Project, machine: &Machine) {
    let (host, url) = (machine.name, machine.url("proxy"));
    let remount = |how: &str| machine.ssh(&format!("mount -o remount,bind,{how} /nix")).code == 0;
    machine.ssh("mount --bind /nix /nix").ok();
    let before = project.deploy(&["generations", host, "--json"]).ok().stdout;

    assert!(remount("ro"));
    project.edit(MAIN, "\"\"\"Changed yet again. ", "\"\"\"Changed on a disk that cannot be written. ");
    project.deploy(&["switch", host, "--yes"]).fails(1, &["Read-only file system"]);
    http::eventually(&format!("{url}/health"), 200, 10);
    assert!(remount("rw"));
    assert_eq!(project.deploy(&["generations", host, "--json"]).ok().stdout, before);

    project.deploy(&["switch", host, "--yes"]).ok();
    let failed =
        machine.ssh("systemctl list-units --plain --no-legend --state=failed 'cairn-*' | grep -v '^cairn-activation-'");
    assert_eq!(failed.stdout, "", "units that failed");
}

/// The host's clock was decades ahead when it was switched last, and is right now. A machine shares
/// its clock with this computer, so what it wrote then is what a clock like that makes it write.
fn clock_set_back(project: &Project, machine: &Machine) {
    let host = machine.name;
    let newest = || project.deploy(&["history", host, "--limit", "1", "--json"]).ok().json()["attempts"][0].clone();
    let live = newest()["to"].as_u64().expect("a generation");
    let ahead = "cd /nix/var/cairn/activations && last=$(ls | tail -n 1) && \
        sed -i \"s/$last/4102444800000-1/g; s/\\(\\\"began\\\": \\)[0-9]*/\\14102444800/\" $last/*.json* && \
        mv $last 4102444800000-1 && grep -c 'began.: 4102444800' 4102444800000-1/state.json";
    assert_eq!(machine.ssh(ahead).ok().stdout.trim(), "1");
    assert_eq!(newest()["to"], live);

    project.edit(MAIN, "\"\"\"Changed on a disk that cannot be written. ", "\"\"\"Changed when the clock was right. ");
    project.deploy(&["switch", host, "--yes"]).ok();
    assert_eq!((&newest()["to"], &newest()["outcome"]), (&(live + 1).into(), &"committed".into()));
    project.deploy(&["rollback", host, "--yes"]).ok();
    assert_eq!((&newest()["to"], &newest()["outcome"]), (&live.into(), &"committed".into()));
    assert_eq!(machine.faults(), "");
}

/// Tries until there is a result.
#[track_caller]
fn until<T>(limit: Duration, mut try_once: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(result) = try_once() {
            return result;
        }
        assert!(Instant::now() < end, "not within {limit:?}");
    }
}

#[test]
fn a_host_that_cannot_be_reached_or_is_another_one_is_refused() {
    let project = Project::with_shared_store();
    let machine = project.machine("e2e-keys");
    let host = machine.name;
    project.deploy(&["machine", "start", host]).ok();
    let inner = machine.inner();

    let ssh = |key: &str, port: u16| {
        let definition = format!(
            "[ssh]\naddress = \"{}\"\nuser = \"root\"\nport = {port}\nidentity = \"{}\"\nhost_key = \"{key}\"\n",
            inner.address,
            inner.identity.display()
        );
        std::fs::write(project.path("hosts/remote.toml"), definition).expect("a definition");
    };
    let other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGrv1jY6xFk0sY1q3iA1L2m8H2nC0lqkG3m4Wk1QZbXy";
    ssh(other, inner.ssh_port);
    project.deploy(&["switch", "remote", "--yes"]).fails(1, &["remote", "key"]);
    ssh(&inner.host_key, 1);
    project.deploy(&["switch", "remote", "--yes"]).fails(1, &["remote", "refused"]);
    ssh(&inner.host_key, inner.ssh_port);
    project.deploy(&["switch", "remote", "--yes"]).ok();

    // Two hosts, one out of reach: the other is done, and the code says that one is missing.
    std::fs::copy(project.path("hosts/remote.toml"), project.path("hosts/second.toml")).expect("a copy");
    ssh(&inner.host_key, 1);
    let both = project.deploy(&["switch", "remote", "second", "--yes", "--json"]).fails(4, &[]).json();
    assert_eq!(both["hosts"].as_array().map(Vec::len), Some(2));
}

/// A host's disk that is too small, or fills up while files arrive: nothing changes, and with space
/// the same switch goes through.
#[test]
fn a_full_disk_on_the_host_changes_nothing() {
    let project = Project::with_shared_store();
    let machine = project.machine("e2e-disk");
    let host = machine.name;
    project.front(&format!("hosts/{host}.toml"), "");
    project.deploy(&["machine", "start", host]).ok();
    let small = |size: &str| {
        machine.ssh(&format!("mkdir -p /nix && mount -t tmpfs -o size={size} tmpfs /nix")).ok();
    };

    // Seen before anything is sent.
    small("24m");
    project.deploy(&["switch", host, "--yes"]).fails(1, &["free on /nix/store", "nothing was changed"]);
    machine.ssh("umount /nix").ok();

    // Seen in the middle: somebody else takes the space as soon as the first files are there.
    small(ROOMY);
    let fill = "timeout 60 sh -c 'until [ $(ls /nix/store/.links 2>/dev/null | wc -l) -gt 20 ]; do :; done; \
        dd if=/dev/zero of=/nix/fill bs=1M status=none' 2>/dev/null; test -s /nix/fill";
    std::thread::scope(|scope| {
        let filler = scope.spawn(|| machine.ssh(fill));
        let switch = project.deploy(&["switch", host, "--yes"]);
        filler.join().expect("no panic").ok();
        switch.fails(1, &["space"]);
    });
    // The agent itself came with the connection.
    let found = "find /nix/store -mindepth 1 -maxdepth 1 ! -name .links ! -name '*-cairn-agent*' | wc -l";
    let arrived = machine.ssh(found).ok().stdout;
    assert_eq!(arrived.trim(), "0", "paths that are not whole");
    assert_eq!(project.deploy(&["generations", host, "--json"]).ok().json()["generations"], serde_json::json!([]));

    machine.ssh("rm /nix/fill").ok();
    project.deploy(&["switch", host, "--yes"]).ok();
    http::eventually(&format!("{}/health", machine.url("proxy")), 200, 10);

    full_in_each_phase(&project, &machine);
}

/// The disk of [`a_full_disk_on_the_host_changes_nothing`] where there is enough.
const ROOMY: &str = "600m";

/// No page more can be written from one phase of an activation on, whichever. `CAIRN_TEST_PAGES=N`
/// also leaves 1 to N pages in each, so that each write is once the first that fails.
fn full_in_each_phase(project: &Project, machine: &Machine) {
    let most = std::env::var("CAIRN_TEST_PAGES").map_or(0, |text| text.parse().expect("a number"));
    let mut version = "1.0.0".to_owned();
    let mut live = 1;
    for (number, (phase, pages)) in
        PHASES.into_iter().flat_map(|phase| (0..=most).map(move |pages| (phase, pages))).enumerate()
    {
        let what = format!("{pages} pages from {phase} on");
        let next = format!("98.0.{number}");
        project.edit(MAIN, &version, &next);
        let upcoming = machine.upcoming();
        let mut switch = project.command(&["switch", machine.name, "--yes"]);
        let mut client = switch.stderr(Stdio::piped()).spawn().expect("deploy");
        assert!(
            upcoming.wait(&mut client, |upcoming| upcoming.has_reached(phase)),
            "{what}: the switch was over before"
        );
        leave(machine, pages);
        let switch = client.wait_with_output().expect("an end");
        let said = String::from_utf8_lossy(&switch.stderr);
        let room = format!("mount -o remount,size={ROOMY} /nix");
        within(machine, &room).expect("room again");
        machine.settled();

        let status = project.deploy(&["status", machine.name, "--json"]).json();
        let now = status["hosts"][0]["generation"].as_u64().unwrap_or_else(|| panic!("{what}: {status}"));
        eprintln!("{what}: generation {live} became {now}, code {:?}\n{said}", switch.status.code());
        assert!(now == live || now == live + 1, "{what}: generation {live} became {now}");
        assert!(switch.status.success() || said.contains("space") || said.contains("free"), "{what}: {said}");
        assert!(now == live + 1 || !switch.status.success(), "{what}: success was said");
        whole(machine, &what, if now == live { &version } else { &next });
        if now == live {
            project.deploy(&["switch", machine.name, "--yes"]).ok();
            whole(machine, &what, &next);
        }
        (version, live) = (next, live + 1);
    }
    let copy = tempfile::TempDir::new_in(cairn_tests::state()).expect("a folder");
    let nix = machine.sight().join("nix");
    tool("cp", ["-a", &nix.to_string_lossy(), &copy.path().to_string_lossy()]);
    tool("nix-store", ["--store", &copy.path().to_string_lossy(), "--verify", "--check-contents"]);
}

/// Makes the disk as small as what is on it, and so many pages.
#[track_caller]
fn leave(machine: &Machine, pages: u64) {
    // What is written meanwhile makes it too small by the time that it is set.
    eventually(Duration::from_secs(10), || {
        let is = nix::sys::statvfs::statvfs(&machine.sight().join("nix")).expect("a file system");
        let used = (is.blocks() - is.blocks_free() + pages) * is.fragment_size();
        within(machine, &format!("mount -o remount,size={used} /nix")).is_ok()
    });
}

/// Runs a command line on the machine, whatever can be written there.
fn within(machine: &Machine, line: &str) -> Result<(), String> {
    let leader = machine.leader().to_string();
    let ran = run(Command::new("nsenter").args(["-t", &leader, "-m", "sh", "-c", line]));
    if ran.code == 0 { Ok(()) } else { Err(ran.stderr) }
}

#[track_caller]
fn whole(machine: &Machine, what: &str, version: &str) {
    let url = format!("https://{}:8443/health", machine.inner().address);
    assert_eq!(http::eventually(&url, 200, 30).json()["version"], version, "{what}");
    assert_eq!(machine.faults(), "", "{what}");
}
