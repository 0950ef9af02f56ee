//! Operating a host that runs a generation: status, logs, restart, maintenance, ways in; and who is
//! told of it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Duration;

use cairn_tests::clients::{Clients, Site};
use cairn_tests::hook::Hook;
use cairn_tests::{Machine, Project, Ran, eventually, http, run};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

#[test]
fn a_host_is_operated_without_anybody_noticing() {
    let project = Project::with_shared_store();
    let machine = project.machine("e2e-operate");
    let host = machine.name;
    let definition = format!("hosts/{host}.toml");
    project.edit(&definition, "[services.api]\n", "[services.api]\nreplicas = 2\n");
    project.edit(
        &definition,
        "[services.proxy.settings.listen]",
        "[services.proxy.settings.limits]\nexempt = [\"0.0.0.0/0\"]\n\n[services.proxy.settings.listen]",
    );
    // One address may not sign up so often: it comes in when there is maintenance.
    project.edit(&definition, "    \"../services/smoke.toml\",\n", "");
    project.deploy(&["switch", host, "--yes"]).ok();
    let url = machine.url("proxy");

    well(&project, host);
    logs(&project, &machine);
    ways_in(&project, &machine);
    restarts(&project, &machine, &url);
    maintenance(&project, &machine, &url);
    drift(&project, &machine);
}

/// The one host's entry.
#[track_caller]
fn status(project: &Project, host: &str, code: i32) -> Value {
    project.deploy(&["status", host, "--json"]).fails(code, &[]).json()["hosts"][0].clone()
}

fn well(project: &Project, host: &str) {
    let entry = status(project, host, 0);
    assert_eq!((&entry["generation"], &entry["health"]), (&1.into(), &"healthy".into()), "{entry}");
    for empty in ["drift", "maintenance"] {
        assert_eq!(entry[empty], serde_json::json!([]), "{entry}");
    }
    assert_eq!(entry["reboot"], Value::Null);
    let used = entry["disks"][0]["used_percent"].as_u64().expect("a number");
    assert!((1..100).contains(&used), "{entry}");
    // The one that the proxy has made for itself.
    assert_eq!(entry["certificate"]["days_left"], 364, "{entry}");
    let shown = project.deploy(&["status", host]).ok().stdout;
    let (heading, row) = shown.split_once('\n').expect("two lines");
    assert_eq!(heading.find("HEALTH"), row.find("healthy"), "{shown}");
}

fn logs(project: &Project, machine: &Machine<'_>) {
    let host = machine.name;
    project.deploy(&["logs", "apo"]).fails(1, &["no host", "did you mean `api`?"]);
    project.deploy(&["logs", "apo", host]).fails(1, &["no service `apo`", "did you mean `api`?"]);
    project.deploy(&["logs", "api", host, "--since", "never"]).fails(1, &["journalctl", "never"]);

    let lines = project.deploy(&["logs", "api", host, "-n", "50", "--json"]).ok().stdout;
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    let mut units: Vec<&str> = lines.iter().map(|line| line["unit"].as_str().expect("a unit")).collect();
    assert!(units.iter().all(|unit| unit.starts_with("cairn-api-")), "{units:?}");
    units.sort_unstable();
    units.dedup();
    assert_eq!(units.len(), 2, "two replicas: {units:?}");
    let times: Vec<&str> = lines.iter().map(|line| line["time"].as_str().expect("a time")).collect();
    assert!(times.is_sorted(), "{times:?}");

    let some = project.deploy(&["logs", "migrate", host, "-n", "3"]).ok().stdout;
    assert_eq!(some.lines().count(), 3, "{some}");
    assert!(some.lines().all(|line| line.starts_with(&format!("{host}  20"))), "{some}");
    let none = project.deploy(&["logs", "api", host, "--grep", "surely nothing says this"]).ok();
    assert_eq!(none.stdout, "");

    // What comes is shown, of instances that come as well; Ctrl-C ends it, here and there.
    let mut follower =
        project.command(&["logs", "proxy", host, "-f", "-n", "0"]).stdout(Stdio::piped()).spawn().expect("deploy");
    let mut shown = BufReader::new(follower.stdout.take().expect("its output")).lines();
    eventually(Duration::from_secs(30), || journals(machine) > 0);
    let url = machine.url("proxy");
    http::eventually(&format!("{url}/health?operate-one"), 200, 10);
    project.edit("services/proxy.toml", "memory = \"256M\"", "memory = \"257M\"");
    project.deploy(&["switch", host, "--yes"]).ok();
    http::eventually(&format!("{url}/operate-two"), 404, 10);
    let seen = shown.by_ref().map(|line| line.expect("text")).any(|line| line.contains("operate-two"));
    assert!(seen, "the new instance's lines are not shown");
    kill(Pid::from_raw(i32::try_from(follower.id()).expect("a pid")), Signal::SIGINT).expect("a process");
    assert_eq!(follower.wait().expect("an end").code(), Some(0));
    eventually(Duration::from_secs(30), || journals(machine) == 0);
}

/// How many `journalctl` run on the machine.
fn journals(machine: &Machine<'_>) -> usize {
    let count = "cat /proc/[0-9]*/comm 2>/dev/null | grep -c '^journalctl$'";
    machine.ssh(count).stdout.trim().parse().expect("a number")
}

fn ways_in(project: &Project, machine: &Machine<'_>) {
    let host = machine.name;
    let name = project.deploy(&["ssh", host, "--", "cat /etc/hostname | tr a-z A-Z; exit 7"]).fails(7, &[]).stdout;
    assert_eq!(name.trim(), machine.ssh("cat /etc/hostname").stdout.trim().to_uppercase());
    project.deploy(&["ssh", "nowhere", "--", "true"]).fails(1, &["nowhere"]);

    let python = |program: &str| {
        let line = ["exec", "api", host, "--", "/usr/bin/python3.11", "-c", program];
        project.deploy(&line)
    };
    let user = python("import os; print(os.getuid(), os.getgid(), os.getcwd(), os.environ['CAIRN_REPLICA'])").ok();
    assert_eq!(user.stdout.trim(), "10001 10001 /app 1");
    // Its own root, read-only, with its secrets and its neighbours' sockets, and the host's nowhere.
    let seen = python(
        "import os; e = os.environ; \
         print(os.path.exists('/app/spirit'), \
         len(open(e['CREDENTIALS_DIRECTORY'] + '/jwt-secret').read()) > 8, os.path.exists('/run/cairn/self/1.sock'), \
         os.path.exists('/run/cairn/secrets'), os.access('/app', os.W_OK))",
    )
    .ok();
    assert_eq!(seen.stdout.trim(), "True True True False False");
    // The same namespaces and cgroup as the replica, and no more rights.
    let own = python("import os; print(*(os.readlink('/proc/self/ns/' + n) for n in ('mnt', 'net', 'user'))); print(open('/proc/self/cgroup').read())").ok();
    let unit = replicas(machine)[0].clone();
    let pid = machine.ssh(&format!("systemctl show -P MainPID {unit}")).ok().stdout;
    let of_replica =
        machine.ssh(&format!("cd /proc/{}/ns && readlink mnt net user | tr '\\n' ' '", pid.trim())).ok().stdout;
    assert_eq!(own.stdout.lines().next().map(str::trim), Some(of_replica.trim()));
    assert!(own.stdout.contains(&unit), "{}", own.stdout);
    let rights =
        python("print([l for l in open('/proc/self/status') if l.startswith(('CapEff', 'NoNewPrivs'))])").ok().stdout;
    assert!(rights.contains("0000000000000000") && rights.contains("NoNewPrivs:\\t1"), "{rights}");
    python("import sys; print(sys.argv[0] + \"' $HOME %\"); sys.exit(9)").fails(9, &[]);
    let shell = project
        .deploy(&[
            "exec",
            "proxy",
            host,
            "--",
            "/usr/bin/busybox",
            "sh",
            "-c",
            "/usr/bin/busybox id -u; echo \"it's $0 100%\"",
            "a b",
        ])
        .ok();
    assert_eq!(shell.stdout, "10002\nit's a b 100%\n");
    // Without a command, the image's shell reads what comes.
    let command = project.command(&["exec", "proxy", host]).stdin(Stdio::null()).output().expect("deploy");
    assert_eq!(command.status.code(), Some(0), "{}", String::from_utf8_lossy(&command.stderr));

    project.deploy(&["exec", "migrate", host, "--", "/bin/true"]).fails(1, &["does not run all the time"]);
    project.deploy(&["exec", "api", host, "--replica", "3", "--", "/bin/true"]).fails(1, &["no replica 3", "1 to 2"]);
    project.deploy(&["exec", "api", host, "--", "/no/such"]).fails(1, &["/no/such", "in the image"]);
    let kept = machine.ssh("journalctl --no-pager -o cat | grep -c 'CREDENTIALS_DIRECTORY.*jwt-secret'").stdout;
    assert_eq!(kept.trim(), "0", "the command is in the journal");
}

/// The API's units.
fn replicas(machine: &Machine<'_>) -> Vec<String> {
    let list = "systemctl list-units --plain --no-legend 'cairn-api-*.service' | cut -d' ' -f1";
    machine.ssh(list).ok().stdout.lines().map(str::to_owned).collect()
}

fn pids(machine: &Machine<'_>) -> Vec<String> {
    let show = format!("systemctl show -P MainPID {}", replicas(machine).join(" "));
    machine.ssh(&show).ok().stdout.split_whitespace().map(str::to_owned).collect()
}

fn restarts(project: &Project, machine: &Machine<'_>, url: &str) {
    let host = machine.name;
    let (_, port) = url.rsplit_once(':').expect("a port");
    let port = port.parse().expect("a number");
    let address = machine.inner().address.to_string();
    let site = Site { host: address, port, name: "spirittours.com", path: "/health" };
    let before = pids(machine);
    let clients = Clients::start(8, &site);
    let restarted = project.deploy(&["restart", "api", host, "--json"]).ok();
    let tally = clients.stop();
    assert_eq!(restarted.json()["hosts"][0]["outcome"], "restarted");
    assert_eq!(restarted.stderr.matches("api: healthy").count(), 2, "{}", restarted.stderr);
    assert!(tally.failures.is_empty() && tally.requests > 100, "{tally:?}");
    let after = pids(machine);
    assert!(
        before.len() == 2 && after.len() == 2 && before.iter().all(|pid| !after.contains(pid)),
        "{before:?} {after:?}"
    );
    let hidden = machine.ssh("ls /run/cairn/api/current/ | grep -vc '^[0-9]*.sock$'").stdout;
    assert_eq!(hidden.trim(), "0");

    // One that runs alone, with its state.
    project.deploy(&["restart", "redis", host]).ok();
    project.deploy(&["restart", "migrate", host]).fails(1, &["nothing to restart"]);
    project.deploy(&["restart", "apii", host]).fails(1, &["did you mean `api`?"]);

    // The lock is the one that a switch takes.
    machine.ssh("systemd-run --quiet --unit=holder flock /nix/var/cairn/lock sleep 600").ok();
    eventually(Duration::from_secs(30), || machine.ssh("flock -n /nix/var/cairn/lock true").code != 0);
    project.deploy(&["restart", "api", host]).fails(5, &["locked"]);
    machine.ssh("systemctl stop holder").ok();

    // One that does not come up again: the evidence is told, and the other one goes on serving.
    let one = replicas(machine)[0].clone();
    machine.ssh(&format!("mkdir -p /run/systemd/system/{one}.d && printf '[Service]\\nEnvironment=LOG_LEVEL=loudly\\n' > /run/systemd/system/{one}.d/x.conf && systemctl daemon-reload")).ok();
    let failed = project.deploy(&["restart", "api", host]);
    failed.fails(1, &["does not", "last log lines", "LOG_LEVEL"]);
    http::eventually(&format!("{url}/health"), 200, 10);
    let entry = status(project, host, 1);
    // systemd tries again and again.
    assert_ne!(entry["health"], "healthy", "{entry}");
    machine.ssh(&format!("rm -r /run/systemd/system/{one}.d && systemctl daemon-reload")).ok();
    // The ill one comes first, so that the other may follow.
    project.deploy(&["restart", "api", host]).ok();
    status(project, host, 0);
}

fn maintenance(project: &Project, machine: &Machine<'_>, url: &str) {
    let host = machine.name;
    let page = format!("{url}/api/v1/tours");
    let head = || {
        run(std::process::Command::new("curl").args(["-sk", "-D", "-", "-o", "/dev/null", &page]))
            .ok()
            .stdout
            .to_lowercase()
    };
    project.deploy(&["maintenance", "on", host, "--service", "api"]).fails(1, &["does not say", "proxy"]);
    project.deploy(&["maintenance", "on", host, "--until", "2020-01-01T00:00Z"]).fails(1, &["ended", "clock says"]);
    project.deploy(&["maintenance", "on", host, "--until", "18:00"]).fails(2, &["2026-11-25T18:30Z"]);
    project.deploy(&["maintenance", "on", host, "--message", "a move"]).ok();
    http::eventually(&page, 503, 10);
    assert!(head().contains("retry-after: 60"), "{}", head());

    // Another instance of the proxy takes over, and a third one after a power cut. The check goes by way
    // of it and gets through, as nobody else does.
    project.edit("services/proxy.toml", "memory = \"257M\"", "memory = \"258M\"");
    told(project, host);
    assert!(head().contains(" 503"), "{}", head());
    project.deploy(&["maintenance", "on", host, "--message", "a move", "--until", "2100-01-01T00:00:00Z"]).ok();
    assert!(head().contains("retry-after: fri, 01 jan 2100 00:00:00 gmt"), "{}", head());
    machine.machines().poweroff_hard(host).expect("a machine to switch off");
    project.deploy(&["machine", "start", host]).ok();
    http::eventually(&page, 503, 60);
    let entry = status(project, host, 0);
    let told = &entry["maintenance"][0];
    assert_eq!((&told["service"], &told["reason"]), (&"proxy".into(), &"a move".into()), "{entry}");
    assert_eq!(told["until"], 4_102_444_800_i64, "{entry}");
    assert!(head().contains("retry-after: fri, 01 jan 2100"), "{}", head());

    let off = project.deploy(&["maintenance", "off", host, "--json"]).ok().json();
    assert_eq!(off["hosts"][0]["services"][0]["on"], false);
    http::eventually(&page, 200, 10);
    assert_eq!(status(project, host, 0)["maintenance"], serde_json::json!([]));

    // One that ends by itself: after a while, and also when the host was off meanwhile.
    project.deploy(&["maintenance", "on", host, "--for", "4s"]).ok();
    assert!(head().contains(" 503"), "{}", head());
    http::eventually(&page, 200, 30);
    assert_eq!(status(project, host, 0)["maintenance"], serde_json::json!([]));
    let timers = "systemctl list-timers --all --no-legend 'cairn-maintenance-*' | wc -l";
    assert_eq!(machine.ssh(timers).stdout.trim(), "1", "of 2100, made at boot");
}

/// Two switches in maintenance, the first of which fails, and who hears of them.
fn told(project: &Project, host: &str) {
    let hook = Hook::start();
    let notify = format!(
        "[[notify]]\nkind = \"webhook\"\nurl = \"{}/hook\"\nsigning_key = {{ secret = \"jwt-secret\" }}\nhosts = [\"{host}\"]\n\
         [[notify]]\nkind = \"slack\"\nurl = {{ env = \"DEPLOY_NOTIFY_SLACK_URL\" }}\non = [\"revert\", \"success\"]\n\
         [[notify]]\nkind = \"webhook\"\nurl = {{ env = \"DEPLOY_NOTIFY_GONE_URL\" }}\non = [\"success\"]\n",
        hook.base
    );
    fs::write(project.path("deploy.toml"), notify).expect("a writable project");
    let allowed = "[secrets.jwt-secret]\nnotifications = true\n";
    project.edit("secrets/secrets.toml", "[secrets.jwt-secret]\n", allowed);
    // Nothing listens on it.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port");
    let events = project.path("events.jsonl");
    let switch = |message: &str| -> Ran {
        let mut command = project.command(&["switch", host, "--yes", "--json", "--message", message, "--events"]);
        command.arg(&events);
        command
            .env("DEPLOY_NOTIFY_SLACK_URL", format!("{}/slack", hook.base))
            .env("DEPLOY_NOTIFY_GONE_URL", format!("http://{closed}/sesame"));
        run(&mut command)
    };
    let definition = format!("hosts/{host}.toml");
    project.edit(
        &definition,
        "    \"../services/proxy.toml\",\n",
        "    \"../services/proxy.toml\",\n    \"../services/smoke.toml\",\n",
    );
    project.edit("services/smoke.toml", "127.0.0.1:8443", "127.0.0.1:1");
    switch("too early").fails(3, &["smoke failed"]);
    let slack = hook.told("/slack").pop().expect("a message").json()["text"].to_string();
    for part in [host, "failed and went back", "> too early", "smoke", "refused"] {
        assert!(slack.contains(part), "{part} is not in {slack}");
    }
    let outcome = |told: &[cairn_tests::hook::Told]| -> Vec<String> {
        told.iter().map(|one| format!("{}{}", one.json()["event"], one.json()["outcome"]).replace('"', "")).collect()
    };
    assert_eq!(outcome(&hook.told("/hook")), ["startednull", "endedrevert"]);

    project.edit("services/smoke.toml", "127.0.0.1:1", "127.0.0.1:8443");
    let switched = switch("a <move>");
    assert_eq!(switched.code, 0, "{switched:?}");
    assert_eq!(switched.json()["hosts"][0]["generation"], 3);
    for part in ["proxy is in maintenance, and lets checks", "checks hold", "[[notify]] 3, webhook at", "refused"] {
        assert!(switched.stderr.contains(part), "{part} is not in {}", switched.stderr);
    }
    assert!(!switched.stderr.contains("sesame"), "{}", switched.stderr);
    let slack = hook.told("/slack").pop().expect("a message").json()["text"].to_string();
    assert!(slack.contains("succeeded") && slack.contains("> a &lt;move&gt;"), "{slack}");
    let told = hook.told("/hook");
    assert_eq!(outcome(&told), ["startednull", "endedsuccess"]);
    let key = project.deploy(&["secrets", "show", "jwt-secret", "--reveal"]).ok().stdout;
    for one in &told {
        let signature = cairn_notify::signature(key.trim().as_bytes(), &one.body);
        assert_eq!(one.header("x-cairn-signature-256"), Some(signature.as_str()));
    }

    let lines = fs::read_to_string(&events).expect("events");
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("a document a line")).collect();
    let second = lines.iter().rposition(|line| line["event"] == "started").expect("a second run");
    let (first, second) = lines.split_at(second);
    for (run, last) in [(first, "revert"), (second, "success")] {
        assert_eq!((&run[0]["event"], &run[run.len() - 1]["outcome"]), (&"started".into(), &last.into()));
        let numbers: Vec<u64> = run.iter().map(|line| line["number"].as_u64().expect("a number")).collect();
        assert!(numbers.iter().copied().eq(1..=run.len() as u64), "{numbers:?}");
    }
    let has = |event: &str| second.iter().any(|line| line["event"] == event && line["host"] == host);
    for event in
        ["connected", "copied", "activation-started", "step", "service", "note", "output", "confirmed", "host-ended"]
    {
        assert!(has(event), "{event} is missing");
    }
    assert!(first.iter().any(|line| line["event"] == "problem" && line["service"] == "smoke"), "{first:?}");

    let tried =
        project.command(&["notify", "test"]).env("DEPLOY_NOTIFY_SLACK_URL", format!("{}/slack", hook.base)).output();
    let tried = tried.expect("deploy");
    let (shown, errors) = (String::from_utf8_lossy(&tried.stdout), String::from_utf8_lossy(&tried.stderr));
    assert_eq!((tried.status.code(), shown.trim()), (Some(1), "2 of 3 have taken the message"), "{errors}");
    assert!(errors.contains("no variable DEPLOY_NOTIFY_GONE_URL"), "{errors}");
}

fn drift(project: &Project, machine: &Machine<'_>) {
    let host = machine.name;
    let unit = replicas(machine)[0].clone();
    // As `systemctl edit` does.
    machine.ssh(&format!("mkdir -p /etc/systemd/system/{unit}.d && printf '[Service]\\nNice=5\\n' > /etc/systemd/system/{unit}.d/override.conf")).ok();
    let told = |code: i32| {
        let entry = status(project, host, code);
        let drift = entry["drift"].as_array().expect("a list").clone();
        drift.iter().map(|d| format!("{} {}", d["unit"], d["problem"]).replace('"', "")).collect::<Vec<_>>().join("\n")
    };
    machine.ssh("systemctl daemon-reload").ok();
    assert!(
        told(1).contains(&format!("{unit} is overridden by /etc/systemd/system/{unit}.d/override.conf")),
        "{}",
        told(1)
    );
    machine.ssh(&format!("echo '# again' >> /etc/systemd/system/{unit}.d/override.conf")).ok();
    assert!(told(1).contains(&format!("{unit} its files have changed")), "{}", told(1));
    machine.ssh(&format!("rm -r /etc/systemd/system/{unit}.d && cp $(systemctl show -P FragmentPath {unit}) /etc/systemd/system/{unit} && systemctl daemon-reload")).ok();
    assert!(told(1).contains(&format!("{unit} is read from /etc/systemd/system/{unit}")), "{}", told(1));
    machine.ssh(&format!("rm /etc/systemd/system/{unit} && systemctl daemon-reload && systemctl stop {unit}")).ok();
    assert!(told(1).contains(&format!("{unit} should be up and is inactive")), "{}", told(1));
    machine.ssh(&format!("systemctl start {unit}")).ok();
    let stray = "cairn-gone-0123456789ab-1.service";
    machine.ssh(&format!("systemd-run --quiet --unit={stray} sleep 600")).ok();
    assert!(told(1).contains(&format!("{stray} is not of this generation")), "{}", told(1));
    let shown = project.deploy(&["status", host]).fails(1, &[]).stdout;
    assert!(shown.contains(&format!("{host}: {stray} is not of this generation")), "{shown}");
    machine.ssh(&format!("systemctl stop {stray}; touch /run/reboot-required")).ok();
    assert_eq!(status(project, host, 1)["reboot"], "asked for by /run/reboot-required");
    machine.ssh("rm /run/reboot-required").ok();
    eventually(Duration::from_secs(60), || project.deploy(&["status", host]).code == 0);
}
