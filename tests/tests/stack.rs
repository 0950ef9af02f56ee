//! The application stack on one real host: what must hold for its data, its secrets and its tasks.

use std::fs;
use std::time::Duration;

use cairn_tests::database::sql;
use cairn_tests::project::Machine;
use cairn_tests::{Project, eventually, http, run, tool};

/// The units of a service that run, in which its instance stands.
fn units(machine: &Machine, service: &str) -> String {
    machine
        .ssh(&format!(
            "systemctl list-units --plain --no-legend --state=active 'cairn-{service}-*.service' | cut -d' ' -f1"
        ))
        .ok()
        .stdout
}

#[test]
fn the_stack_keeps_its_data_its_secrets_and_its_word() {
    let project = Project::with_shared_store();
    let machine = project.machine("e2e-stack");
    let host = machine.name;
    let definition = format!("hosts/{host}.toml");
    // More switches in a minute than the smoke test could sign up for.
    project.edit(&definition, "WEB_CONCURRENCY = 1", "WEB_CONCURRENCY = 1\nRATE_LIMIT_AUTH = \"600/minute\"");

    // The tasks run, then the services, then the checks, and their output is shown.
    let first = project.deploy(&["switch", host, "--yes"]).ok();
    for said in ["migrate | ", "smoke | ok    write and read a review", "smoke: done", "generation 1"] {
        let shown = format!("{}{}", first.stderr, first.stdout);
        assert!(shown.contains(said), "not said: {said}\n{shown}");
    }
    let url = machine.url("proxy");
    assert_eq!(http::eventually(&format!("{url}/api/v1/tours"), 200, 10).status, 200);

    no_secret_is_anywhere_else(&project, &machine, &first.stderr);
    every_service_is_as_closed_as_the_build_says(&project, &machine);

    // A setting that PostgreSQL can read again is read again: nobody is interrupted.
    sql(&machine, "create table witness (n int); insert into witness select generate_series(1, 1000)");
    let (api, redis, postgres) = (units(&machine, "api"), units(&machine, "redis"), units(&machine, "postgres"));
    let started = "systemctl show --property=ExecMainStartTimestampMonotonic 'cairn-postgres-*.service'";
    let since = machine.ssh(started).ok().stdout;
    let memory = "[services.postgres.settings.memory]\nwork_mem = \"9MB\"\n\n[services.postgres.limits]";
    project.edit("services/postgres.toml", "[services.postgres.limits]", memory);
    let switched = project.deploy(&["switch", host, "--yes"]).ok();
    assert!(switched.stderr.contains("postgres: reloaded"), "{}", switched.stderr);
    eventually(Duration::from_secs(5), || sql(&machine, "show work_mem") == "9MB");
    assert_eq!((units(&machine, "postgres"), machine.ssh(started).ok().stdout), (postgres, since), "it was restarted");
    project.deploy(&["rollback", host, "--yes"]).ok();
    eventually(Duration::from_secs(5), || sql(&machine, "show work_mem") == "8MB");

    // Another one restarts it alone; its data is what it was.
    project.edit("services/postgres.toml", "work_mem = \"9MB\"", "shared_buffers = \"192MB\"");
    let switched = project.deploy(&["switch", host, "--yes"]).ok();
    assert!(switched.stderr.contains("postgres: restarted"), "{}", switched.stderr);
    assert_eq!((units(&machine, "api"), units(&machine, "redis")), (api.clone(), redis));
    assert_eq!(sql(&machine, "show shared_buffers"), "192MB");
    assert_eq!(sql(&machine, "select count(*) from witness"), "1000");
    http::eventually(&format!("{url}/ready"), 200, 30);
    let back = project.deploy(&["rollback", host, "--to", "1", "--yes"]).ok();
    assert_eq!(sql(&machine, "show shared_buffers"), "256MB");
    assert_eq!(sql(&machine, "select count(*) from witness"), "1000");
    assert!(!back.stderr.contains("migrate: running"), "a task ran on the way back");
    project.deploy(&["rollback", host, "--to", "3", "--yes"]).ok();

    // A migration that fails half way stops the switch before any traffic has moved, and nothing of
    // it is in the database.
    let revision = project.path("images/api/app/spirit/migrations/versions/0003_half.py");
    fs::write(&revision, HALF_WAY).expect("a writable project");
    project.deploy(&["switch", host, "--yes"]).fails(3, &["migrate failed", "no_such_column", "back on generation 3"]);
    fs::remove_file(&revision).expect("the revision just written");
    assert_eq!(sql(&machine, "select version_num, to_regclass('half') is null from alembic_version"), "0002|t");
    assert_eq!(units(&machine, "api"), api, "the API was touched");

    let files = [definition.as_str(), "services/smoke.toml", "services/redis.toml", "secrets/secrets.toml"];
    let good = files.map(|file| fs::read_to_string(project.path(file)).expect("a definition"));
    let restore = || {
        for (file, text) in files.iter().zip(&good) {
            fs::write(project.path(file), text).expect("a writable project");
        }
    };

    // A secret that is declared and has no value: nothing is sent.
    project.edit("services/redis.toml", "credentials = {", "credentials = { smtp-password = \"smtp-password\",");
    let index = format!("{}\n[secrets.smtp-password]\nhosts = [\"{host}\"]\n", good[3]);
    fs::write(project.path("secrets/secrets.toml"), index).expect("a writable project");
    let said = ["secret `smtp-password` has no value", "deploy secrets set smtp-password"];
    project.deploy(&["switch", host, "--yes"]).fails(1, &said);
    restore();

    // A check that fails stops the switch when traffic has moved already.
    project.edit(
        "services/smoke.toml",
        "\"-m\", \"smoke\", \"--url\"",
        "\"-c\", \"raise SystemExit('smoke, no fire')\", \"--url\"",
    );
    project.edit(&definition, "WEB_CONCURRENCY = 1", "WEB_CONCURRENCY = 2");
    project.deploy(&["switch", host, "--yes"]).fails(3, &["smoke failed", "smoke, no fire", "back on generation 3"]);
    assert_eq!(units(&machine, "api"), api, "the API is not the one of before");
    http::eventually(&format!("{url}/ready"), 200, 10);
    restore();

    // Another value of a secret changes those who use it and nobody else.
    let postgres = units(&machine, "postgres");
    fs::remove_file(project.path(".cairn/secrets/redis-password.age")).expect("a value that was made here");
    project.deploy(&["switch", host, "--yes"]).ok();
    assert_eq!(units(&machine, "postgres"), postgres);
    assert_ne!(units(&machine, "api"), api);
    assert_eq!(machine.ssh("ls /run/cairn/secrets | grep -c '^redis-password'").ok().stdout.trim(), "1");

    // Of two secrets the host keeps what it cannot open: one file is cut off, the other is sealed to
    // a key that the host had before. Nothing earlier can be gone back to, and what runs goes on.
    let foreign = sealed_to_somebody_else();
    let damage = format!(
        "cd /nix/var/cairn/secrets && for f in redis-password.v*; do truncate -s 100 $f; done && \
         for f in jwt-secret.v*; do cat > $f <<'END'\n{foreign}END\ndone"
    );
    machine.ssh(&damage).ok();
    let said =
        ["the host cannot open the secret `jwt-secret`", "SSH key was replaced", "`deploy switch` sends it again"];
    project.deploy(&["rollback", host, "--yes"]).fails(1, &said);
    http::eventually(&format!("{url}/ready"), 200, 10);

    // After a power cut all else comes up, and the journal says what to do; that does it.
    machine.machines().poweroff_hard(host).expect("a machine to switch off");
    project.deploy(&["machine", "start", host]).ok();
    eventually(Duration::from_secs(60), || machine.ssh("systemctl is-active cairn-postgres-*.service").code == 0);
    let boot = machine.ssh("journalctl --no-pager -b -u cairn-boot.service").ok().stdout;
    assert!(boot.contains("cannot open the secret `jwt-secret`") && boot.contains("deploy switch"), "{boot}");
    assert_eq!(machine.ssh("ls /run/cairn/secrets").ok().stdout.lines().count(), 3);
    let healed = project.deploy(&["switch", host, "--yes"]).ok();
    let told = format!("{}{}", healed.stderr, healed.stdout);
    assert!(told.contains("2 secrets sent") && told.contains("unchanged"), "{told}");
    http::eventually(&format!("{}/ready", machine.url("proxy")), 200, 90);
    assert_eq!(sql(&machine, "select count(*) from witness"), "1000");
}

/// Makes a table, fills it, and cannot go on.
const HALF_WAY: &str = r#"
import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table("half", sa.Column("n", sa.Integer))
    op.execute("INSERT INTO half VALUES (1)")
    op.execute("SELECT no_such_column FROM half")
"#;

fn sealed_to_somebody_else() -> String {
    let dir = tempfile::tempdir().expect("a folder");
    let (key, value) = (dir.path().join("key"), dir.path().join("value"));
    let key = key.to_str().expect("a plain path");
    tool("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", key]);
    fs::write(&value, "somebody else's").expect("a file");
    let public = format!("{key}.pub");
    tool("age", ["-a", "-R", &public, value.to_str().expect("a plain path")])
}

/// Looks for every value in all the places where none may be.
fn no_secret_is_anywhere_else(project: &Project, machine: &Machine, shown: &str) {
    let values = machine.ssh("for f in /run/cairn/secrets/*; do cat \"$f\"; echo; done").ok().stdout;
    let values: Vec<&str> = values.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(values.len(), 5, "secrets on the host");
    assert!(values.iter().all(|value| value.len() >= 32));
    // The patterns are made over there: on a command line they would be found themselves.
    let looked = machine.ssh(
        "for f in /run/cairn/secrets/*; do cat \"$f\"; echo; done > /run/patterns; \
         grep -rlFf /run/patterns /nix /etc /var/log /run/systemd /run/log 2>/dev/null; \
         journalctl --no-pager | grep -Ff /run/patterns; \
         systemctl show '*' | grep -Ff /run/patterns; \
         for p in /proc/[0-9]*; do tr '\\0' '\\n' <$p/cmdline; tr '\\0' '\\n' <$p/environ; done 2>/dev/null | grep -Ff /run/patterns; \
         grep -cFf /run/patterns /run/patterns; rm /run/patterns",
    );
    assert_eq!(looked.stdout.trim(), "5", "a value was found, or the search finds nothing: {}", looked.stdout);
    for value in &values {
        assert!(!shown.contains(value), "the switch showed a value");
        let here = run(std::process::Command::new("grep").args(["-rlF", "--", value]).arg(project.path("")));
        assert_eq!(here.stdout, "", "a value lies in the project in clear");
    }
}

/// The host's own systemd gives the units that run the scores that the build's report has.
fn every_service_is_as_closed_as_the_build_says(project: &Project, machine: &Machine) {
    let built = project.deploy(&["build", &format!("hosts.{}", machine.name), "--json"]).ok().json();
    let services = built["targets"][0]["services"].as_array().cloned().unwrap_or_default();
    let listed = machine.ssh(
        "for u in $(systemctl list-units --plain --no-legend 'cairn-*-1.service' | cut -d' ' -f1); do \
         echo \"$u $(systemd-analyze security --no-pager \"$u\" | sed -n 's/.*Overall exposure level for .*: \\([0-9.]*\\) .*/\\1/p')\"; done",
    );
    let listed = listed.ok().stdout;
    let mut seen = 0;
    for line in listed.lines() {
        let (unit, live) = line.split_once(' ').expect("a unit and its score");
        let live: f64 = live.parse().unwrap_or_else(|_| panic!("no score of {unit}: {listed}"));
        let name = unit.strip_prefix("cairn-").and_then(|rest| rest.rsplitn(3, '-').nth(2)).expect("a service's unit");
        let service = services.iter().find(|service| service["name"] == name).expect("the service");
        assert_eq!(service["exposure"].as_f64(), Some(live), "{unit}: {service}");
        let most = if ["api", "redis"].contains(&name) { 1.5 } else { 2.0 };
        assert!(live <= most && service["limit"] == most, "{unit} scores {live}");
        seen += 1;
    }
    assert!(seen >= 4, "{listed}");
}

#[test]
fn mistakes_in_the_configuration_are_all_told_at_once() {
    let project = Project::with_shared_store();
    project.edit("hosts/local.toml", "DATABASE_POOL_SIZE = 5", "DATABASE_POOL_SIZE = \"many\"\nDATABASE_POOL_SISE = 5");
    project.edit("services/api.toml", "JWT_SECRET = { secret = \"jwt-secret\" }", "");
    project
        .deploy(&["build", "hosts.local"])
        .fails(1, &["DATABASE_POOL_SIZE", "DATABASE_POOL_SISE", "local.toml:", "JWT_SECRET", "did you mean"]);
    project.edit(
        "hosts/local.toml",
        "DATABASE_POOL_SIZE = \"many\"\nDATABASE_POOL_SISE = 5",
        "JWT_SECRET = { secret = \"jwt-sekret\" }",
    );
    project.deploy(&["build", "hosts.local"]).fails(1, &["no secret `jwt-sekret`", "did you mean `jwt-secret`?"]);
    project.edit("hosts/local.toml", "jwt-sekret", "jwt-secret");
    project.edit("hosts/local.toml", "public_port = 8443", "public_prot = 8443");
    project.deploy(&["build", "hosts.local"]).fails(1, &["settings.tls.public_prot", "did you mean `public_port`?"]);
}

#[test]
fn what_one_service_has_no_other_can_have() {
    let project = Project::with_shared_store();
    project.edit("hosts/local.toml", "tls = [\"0.0.0.0:8443\"]", "tls = [\"0.0.0.0:8080\"]");
    project.deploy(&["build", "hosts.local"]).fails(1, &["0.0.0.0:8080"]);
    project.edit("hosts/local.toml", "tls = [\"0.0.0.0:8080\"]", "tls = [\"127.0.0.1:8080\"]");
    project.deploy(&["build", "hosts.local"]).fails(
        1,
        &["services.proxy.listen.tls", "127.0.0.1:8080 is taken by service `proxy`, which listens on 0.0.0.0"],
    );
    project.edit("hosts/local.toml", "tls = [\"127.0.0.1:8080\"]", "tls = [\"0.0.0.0:8443\"]");
    let folders = "state = { one = \"/var/lib/redis\", two = \"/var/lib/redis\" }";
    project.edit("services/redis.toml", "drain =", &format!("{folders}\ndrain ="));
    project.deploy(&["build", "hosts.local"]).fails(1, &["`/var/lib/redis` would be both `one` and `two`"]);
    project.edit("services/redis.toml", &format!("{folders}\n"), "");
    project.edit("images/redis/image.toml", "uid = 10004", "uid = 10003");
    project.deploy(&["build", "hosts.local"]).fails(1, &["postgres", "redis", "10003"]);
}

/// Without a host to reach: three web hosts over shared definitions, and what is set there.
#[test]
fn production_builds_from_what_all_fleets_share() {
    let project = Project::with_shared_store();
    let built = project.deploy(&["build", "hosts.production", "--json"]).ok().json();
    let names: Vec<_> = built["targets"].as_array().expect("a list").iter().map(|t| t["name"].clone()).collect();
    assert_eq!(names, ["hosts.production-web-1", "hosts.production-web-2", "hosts.production-web-3"]);

    let solo = project.deploy(&["build", "hosts.solo", "--json"]).ok().json();
    let closure = solo["targets"][0]["store_path"].as_str().expect("a path").trim_start_matches('/');
    let timers = tool(
        "sh",
        ["-c", &format!("cat {}/units/cairn-certificates-*.timer", project.store().join(closure).display())],
    );
    assert!(timers.contains("OnCalendar=02:00"), "{timers}");

    let shown = project.deploy(&["config", "show", "production-web-2", "--json"]).ok().json();
    let variables = shown["services"][0]["variables"].as_array().expect("variables").clone();
    let variable = |name: &str| variables.iter().find(|v| v["name"] == name).expect("the variable").clone();
    assert_eq!(variable("DATABASE_POOL_SIZE")["value"], "20");
    assert!(variable("DATABASE_HOST")["origin"].as_str().is_some_and(|o| o.contains("production/fleet.toml:")));
    assert_eq!(variable("JWT_SECRET")["value"], "secret:jwt-secret");
    assert_eq!(variable("JWT_SECRET")["secret"], true);
    assert_eq!(variable("ACCESS_TOKEN_TTL")["origin"], "default");
    assert!(variables.len() >= 50);

    // Nobody has begun with its secrets: that is said, and is no fault.
    let checked = project.deploy(&["secrets", "check"]).ok().stdout;
    assert!(checked.contains("no faults\nnote: there are no operators"), "{checked}");
    assert!(checked.contains("production-web-2 needs jwt-secret, postgres-password, redis-password"), "{checked}");

    let template = project.deploy(&["config", "template", "api"]).ok().stdout;
    assert!(template.contains("# DATABASE_POOL_SIZE") || template.contains("#DATABASE_POOL_SIZE"), "{template}");
    assert!(template.contains("JWT_SECRET"));

    // One variable changes the environment, not the image.
    let image = |project: &Project| {
        project.deploy(&["build", "images.api", "--json"]).ok().json()["targets"][0]["digest"].clone()
    };
    let before = image(&project);
    project.edit("hosts/production/fleet.toml", "WEB_CONCURRENCY = 4", "WEB_CONCURRENCY = 4\nFEATURE_BOOKING = true");
    let again = project.deploy(&["build", "hosts.production-web-1", "--json"]).ok().json();
    assert_ne!(again["targets"][0]["store_path"], built["targets"][0]["store_path"]);
    assert_eq!(image(&project), before);
}
