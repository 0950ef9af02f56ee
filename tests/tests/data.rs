//! What can happen to a host's data and its services' places: whatever was acknowledged is there
//! afterwards, and an error says what to do.

use std::collections::BTreeSet;
use std::time::Duration;

use cairn_tests::database::{CLIENTS, psql, redis, sql};
use cairn_tests::project::Machine;
use cairn_tests::{Project, eventually, http};
use serde_json::{Value, json};

const PASSWORD: &str = "correct horse battery staple";

#[test]
fn what_was_acknowledged_outlives_a_kill_a_full_disk_and_a_failed_start() {
    let project = Project::with_shared_store();
    let machine = project.machine("e2e-data");
    let host = machine.name;
    let limit = "WEB_CONCURRENCY = 1\nRATE_LIMIT_AUTH = \"600/minute\"";
    let definition = format!("hosts/{host}.toml");
    project.edit(&definition, "WEB_CONCURRENCY = 1", limit);
    // Asked more quickly than the proxy lets one address.
    let exempt = "[services.proxy.settings.limits]\nexempt = [\"10.0.0.0/8\"]\n\n[services.proxy.settings.tls]";
    project.edit(&definition, "[services.proxy.settings.tls]", exempt);
    project.deploy(&["machine", "start", host]).ok();
    places_that_somebody_else_has(&project, &machine);

    // All state is on a small disk of its own.
    machine.ssh("mount -t tmpfs -o size=256m,mode=0755 tmpfs /var/lib/cairn/state").ok();
    project.deploy(&["switch", host, "--yes"]).ok();
    let url = machine.url("proxy");
    http::eventually(&format!("{url}/ready"), 200, 30);

    killed_under_load(&machine, &url);
    a_full_disk(&machine, &url);
    memory_that_is_not_there(&project, &machine, &url);
}

/// A port, a user id and a folder that belong to others on the host.
fn places_that_somebody_else_has(project: &Project, machine: &Machine) {
    let switch = || project.deploy(&["switch", machine.name, "--yes"]);
    machine.ssh("systemd-run --quiet --unit=squatter systemd-socket-activate --listen=8080 /bin/cat").ok();
    eventually(Duration::from_secs(10), || machine.ssh("ss -ltn | grep -q ':8080 '").code == 0);
    switch().fails(1, &["service proxy cannot have 0.0.0.0:8080", "in use", "ss -ltnp"]);
    machine.ssh("systemctl stop squatter && useradd --uid 10003 alice").ok();
    switch().fails(1, &["the user id 10003 belongs to \"alice\"", "give the image's user another user id"]);
    machine.ssh("userdel alice && cd /var/lib && mkdir -p cairn/state/redis/redis && cd cairn/state/redis").ok();
    machine.ssh("cd /var/lib/cairn/state/redis && touch redis/data && chown -R 12345:12345 redis").ok();
    switch()
        .fails(3, &["belongs to user 12345, and the service runs as user 10004", "chown -R", "back on no generation"]);
    assert_eq!(machine.ssh("stat -c %u /var/lib/cairn/state/redis/redis/data").ok().stdout.trim(), "12345");
}

/// Clients write as fast as they can, and note what was acknowledged.
const LOAD: &str = r#"
for n in 1 2 3 4; do
    seq -f 'insert into acknowledged values (%.0f) returning n;' ${n}000000 ${n}999999 | psql > /run/acked.$n 2>/dev/null &
    writers="$writers $!"
done
seq -f 'eval "redis.call([[set]], KEYS[1], 1) return KEYS[1]" 1 load:%.0f' 1 9999999 | redis > /run/acked.redis 2>/dev/null &
redis=$!
wait $writers
# Its client would connect again and go on for ever.
kill $redis
"#;

fn killed_under_load(machine: &Machine, url: &str) {
    sql(machine, "create table acknowledged (n int)");
    machine.ssh(&format!("cat > /run/load <<'END'\n{CLIENTS}{LOAD}END")).ok();
    std::thread::scope(|scope| {
        let load = scope.spawn(|| machine.ssh("timeout 60 sh /run/load"));
        let busy = "test $(cat /run/acked.[1-4] | wc -l) -gt 500 && test $(wc -l < /run/acked.redis) -gt 500";
        eventually(Duration::from_secs(30), || machine.ssh(busy).code == 0);
        let kill = "systemctl kill --kill-whom=all --signal=KILL 'cairn-postgres-*.service' 'cairn-redis-*.service'";
        machine.ssh(kill).ok();
        load.join().expect("no panic").ok();
    });
    http::eventually(&format!("{url}/ready"), 200, 60);

    let lines = |text: String| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let acknowledged = lines(machine.ssh("cat /run/acked.[1-4]").ok().stdout);
    let stored = lines(sql(machine, "select n from acknowledged"));
    assert!(acknowledged.len() > 500, "{}", acknowledged.len());
    assert_eq!(acknowledged.difference(&stored).count(), 0, "PostgreSQL lost rows");
    let acknowledged = lines(machine.ssh("grep ^load: /run/acked.redis").ok().stdout);
    let stored = lines(redis(machine, "--scan --pattern 'load:*'"));
    assert!(acknowledged.len() > 500, "{}", acknowledged.len());
    assert_eq!(acknowledged.difference(&stored).count(), 0, "Redis lost keys");
}

fn a_full_disk(machine: &Machine, url: &str) {
    let register = |name: &str| {
        let email = format!("{name}@example.com");
        let document = json!({"email": email, "name": name, "password": PASSWORD});
        http::post(&format!("{url}/api/v1/auth/register"), &document).expect("an answer")
    };
    assert_eq!(register("before").status, 201);
    sql(machine, "truncate acknowledged; insert into acknowledged values (0)");
    machine
        .ssh("dd if=/dev/zero of=/var/lib/cairn/state/fill bs=64k 2>/dev/null; test -s /var/lib/cairn/state/fill")
        .ok();

    // Rows that need room are refused. One that needs none lies in a file of the log that is yet to
    // be made, and without a log PostgreSQL is down.
    let many = psql(machine, "insert into acknowledged select generate_series(1000, 99999)");
    assert!(many.code != 0 && many.stderr.contains("No space left on device"), "{many:?}");
    let insert = |n: &usize| psql(machine, &format!("insert into acknowledged values ({n}); select pg_switch_wal()"));
    let written = (1..50).take_while(|n| insert(n).code == 0).count();
    assert!(written < 49, "the disk did not fill up");
    redis(machine, "eval \"return redis.call('set', KEYS[1], string.rep('x', 1000000))\" 1 large");
    let refused = redis(machine, "set small 1");
    assert!(refused.contains("No space left on device"), "{refused}");

    // PostgreSQL comes up now and then and is down again at the next write. What it does take is
    // there afterwards, and every other answer says that it is away.
    let mut taken = vec!["before".to_owned()];
    let mut tried = 0;
    eventually(Duration::from_secs(60), || {
        tried += 1;
        let name = format!("full-{tried}");
        let answer = register(&name);
        match answer.status {
            201 => taken.push(name),
            status => assert_eq!(status, 503, "{answer:?}"),
        }
        answer.status == 503
    });
    eventually(Duration::from_secs(60), || {
        let ready = http::get(&format!("{url}/ready")).map_or(Value::Null, |answer| answer.json());
        ready["checks"]["redis"]["ok"] == false
    });
    http::eventually(&format!("{url}/health"), 200, 10);

    // With space it goes on by itself.
    machine.ssh("rm /var/lib/cairn/state/fill").ok();
    http::eventually(&format!("{url}/ready"), 200, 60);
    let rows: usize = sql(machine, "select count(*) from acknowledged").parse().expect("a number");
    assert!((written + 1..1000).contains(&rows), "{rows} rows of {written} acknowledged ones");
    assert_eq!(redis(machine, "strlen large"), "1000000");
    for name in taken {
        let login = json!({"email": format!("{name}@example.com"), "password": PASSWORD});
        let answer = http::post(&format!("{url}/api/v1/auth/login"), &login).expect("an answer");
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
    }
    assert_eq!(register("after").status, 201);
}

/// More memory than the host has, which no build can know. The old version had to stop for the new
/// one, which does not come up: it is started again.
fn memory_that_is_not_there(project: &Project, machine: &Machine, url: &str) {
    let rows = sql(machine, "select count(*) from acknowledged");
    project.edit(
        "services/postgres.toml",
        "[services.postgres.limits]",
        "[services.postgres.settings.memory]\nshared_buffers = \"600GB\"\n\n[services.postgres.limits]",
    );
    let said = ["cairn-postgres-", "does not start", "could not map anonymous shared memory", "back on generation 1"];
    let failed = project.deploy(&["switch", machine.name, "--yes", "--json"]).fails(3, &said).json();
    let log = failed["hosts"][0]["log"].to_string();
    assert!(log.contains("could not map anonymous shared memory"), "{log}");
    http::eventually(&format!("{url}/ready"), 200, 30);
    assert_eq!(sql(machine, "select count(*) from acknowledged"), rows);
}
