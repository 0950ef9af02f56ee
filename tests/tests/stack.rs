//! The application stack on one real host: what must hold for its data, its secrets and its tasks.

use std::fs;
use std::time::{Duration, Instant};

use cairn_tests::project::Machine;
use cairn_tests::{Project, http};

/// PostgreSQL, as its own user on the host, by a shell within the service's mounts.
fn sql(machine: &Machine, statement: &str) -> String {
    let line = format!(
        "pid=$(systemctl show --property=MainPID --value 'cairn-postgres-*.service' | grep -v '^0$' | head -n 1); \
         nsenter -t \"$pid\" -m -S 10003 -G 10003 /usr/lib/postgresql/15/bin/psql -h /run/cairn/self -U postgres \
         -d spirit -Atc \"{statement}\""
    );
    machine.ssh(&line).ok().stdout.trim().to_owned()
}

/// The units of a service that run, in which its instance stands.
fn units(machine: &Machine, service: &str) -> String {
    machine
        .ssh(&format!(
            "systemctl list-units --plain --no-legend --state=active 'cairn-{service}-*.service' | cut -d' ' -f1"
        ))
        .ok()
        .stdout
}

#[track_caller]
fn eventually(limit: Duration, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < end, "not within {limit:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
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

    // Killed in the middle of writing: what was acknowledged is there.
    sql(&machine, "create table acknowledged (n int)");
    for n in 1..=20 {
        sql(&machine, &format!("insert into acknowledged values ({n})"));
    }
    machine.ssh("systemctl kill --kill-whom=all --signal=KILL 'cairn-postgres-*.service' 'cairn-redis-*.service'").ok();
    eventually(Duration::from_secs(60), || http::get(&format!("{url}/ready")).is_some_and(|a| a.status == 200));
    assert_eq!(sql(&machine, "select count(*) from acknowledged"), "20");

    // A task that fails stops the switch before any traffic has moved.
    let files = [definition.as_str(), "services/migrate.toml", "services/smoke.toml"];
    let good = files.map(|file| fs::read_to_string(project.path(file)).expect("a definition"));
    let restore = || {
        for (file, text) in files.iter().zip(&good) {
            fs::write(project.path(file), text).expect("a writable project");
        }
    };
    let migrate = "\"-m\", \"alembic\", \"-c\", \"/app/alembic.ini\", \"upgrade\", \"head\"";
    project.edit("services/migrate.toml", migrate, "\"-c\", \"print('half way', flush=True); raise SystemExit(3)\"");
    project.edit(&definition, "WEB_CONCURRENCY = 1", "WEB_CONCURRENCY = 2");
    project.deploy(&["switch", host, "--yes"]).fails(3, &["migrate failed", "half way", "back on generation 3"]);
    assert_eq!(units(&machine, "api"), api, "the API was touched");
    restore();

    // So does a check, when traffic has moved already.
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

    // After a power cut all of it comes up, secrets too.
    machine.machines().poweroff_hard(host).expect("a machine to switch off");
    project.deploy(&["machine", "start", host]).ok();
    http::eventually(&format!("{}/ready", machine.url("proxy")), 200, 90);
    assert_eq!(sql(&machine, "select count(*) from witness"), "1000");
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
        let here =
            cairn_tests::run(std::process::Command::new("grep").args(["-rlF", "--", value]).arg(project.path("")));
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
fn two_services_cannot_have_one_address_or_one_user() {
    let project = Project::with_shared_store();
    project.edit("hosts/local.toml", "tls = [\"0.0.0.0:8443\"]", "tls = [\"0.0.0.0:8080\"]");
    project.deploy(&["build", "hosts.local"]).fails(1, &["0.0.0.0:8080"]);
    project.edit("hosts/local.toml", "tls = [\"0.0.0.0:8080\"]", "tls = [\"0.0.0.0:8443\"]");
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

    let shown = project.deploy(&["config", "show", "production-web-2", "--json"]).ok().json();
    let variables = shown["services"][0]["variables"].as_array().expect("variables").clone();
    let variable = |name: &str| variables.iter().find(|v| v["name"] == name).expect("the variable").clone();
    assert_eq!(variable("DATABASE_POOL_SIZE")["value"], "20");
    assert!(variable("DATABASE_HOST")["origin"].as_str().is_some_and(|o| o.contains("production/fleet.toml:")));
    assert_eq!(variable("JWT_SECRET")["value"], "secret:jwt-secret");
    assert_eq!(variable("JWT_SECRET")["secret"], true);
    assert_eq!(variable("ACCESS_TOKEN_TTL")["origin"], "default");
    assert!(variables.len() >= 50);

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
