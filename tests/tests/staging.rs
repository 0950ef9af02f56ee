//! Three hosts of one fleet, and what only shows when a network lies between them.

use std::process::Command;
use std::time::Duration;

use cairn_tests::project::Machine;
use cairn_tests::{Project, http, run};

const NAMES: [&str; 3] = ["staging-data", "staging-web", "staging-edge"];

/// Host → what a switch or a rollback says of it under `key`.
fn outcomes(report: &serde_json::Value, key: &str) -> Vec<String> {
    let hosts = report["hosts"].as_array().expect("hosts");
    let of = |name: &&str| hosts.iter().find(|host| host["name"] == **name).expect("a host of the fleet").clone();
    NAMES.iter().map(|name| of(name)[key].to_string().trim_matches('"').to_owned()).collect()
}

/// A stranger's attempt, from this computer.
fn psql(address: &str) -> String {
    let url = format!("host={address} dbname=spirit user=spirit password=guess connect_timeout=5");
    run(Command::new("/usr/lib/postgresql/15/bin/psql").args([&url, "-c", "select 1"])).stderr
}

/// Who is told what by Redis without the password.
fn redis(address: &str) -> String {
    run(Command::new("redis-cli").args(["-h", address, "ping"])).stdout
}

#[test]
fn three_hosts_work_as_one_and_are_switched_as_one() {
    let project = Project::with_shared_store();
    let machines = NAMES.map(|name| project.member(name));
    let [data, web, edge]: &[Machine; 3] = &machines;

    // The database before those who ask it, they before the way to them.
    let first = project.deploy(&["switch", "staging", "--yes", "--json"]).ok();
    assert_eq!(outcomes(&first.json(), "generation"), ["1", "1", "1"]);
    let at = |text: &str| first.stderr.find(text).unwrap_or_else(|| panic!("not said: {text}\n{}", first.stderr));
    assert!(at("staging-data: committing") < at("migrate | "), "{}", first.stderr);
    assert!(at("staging-web: committing") < at("smoke | "), "{}", first.stderr);

    let url = edge.url("proxy");
    assert!(url.starts_with("https://"), "{url}");
    assert_eq!(http::eventually(&format!("{url}/api/v1/tours"), 200, 10).status, 200);

    // The database is for the web host alone, by its name; the cache for those who know the password.
    let database = data.inner().address.to_string();
    let refused = psql(&database);
    assert!(refused.contains("no pg_hba.conf entry for host"), "{refused}");
    assert!(redis(&database).contains("NOAUTH"), "{}", redis(&database));
    // The client's own address comes through both proxies.
    let journal = web.ssh("journalctl --no-pager -o cat -t proxy -n 200").ok().stdout;
    let client = http_client_address(edge);
    assert!(journal.contains(&client), "{client} is not in\n{journal}");

    // A change of the application leaves data and edge as they are.
    project.edit("images/api/app/spirit/version.py", "\"1.", "\"2.");
    let changed = project.deploy(&["switch", "staging", "--yes", "--json"]).ok().json();
    assert_eq!(outcomes(&changed, "outcome"), ["unchanged", "switched", "unchanged"]);
    let version = http::eventually(&format!("{url}/health"), 200, 10).json()["version"].to_string();
    assert!(version.starts_with("\"2."), "{version}");

    // While one works on the fleet, nobody else does.
    let quick = "\"-m\", \"alembic\", \"-c\", \"/app/alembic.ini\", \"upgrade\", \"head\"";
    project.edit("services/migrate.toml", quick, "\"-c\", \"import time; print('slow', flush=True); time.sleep(12)\"");
    let mut slow = project.command(&["switch", "staging", "--yes"]).spawn().expect("deploy");
    cairn_tests::eventually(Duration::from_secs(60), || {
        web.ssh("systemctl list-units --plain --no-legend 'cairn-migrate-*'").stdout.contains("activating")
    });
    let second =
        project.deploy(&["rollback", "staging", "--yes", "--json"]).fails(5, &["a switch of the fleet `staging`"]);
    assert_eq!(outcomes(&second.json(), "outcome"), ["locked", "locked", "locked"]);
    assert!(slow.wait().expect("deploy").success());

    // What fails on the way stops those that come after it.
    project.edit("services/migrate.toml", "print('slow', flush=True); time.sleep(12)", "raise SystemExit('no table')");
    project.edit("services/proxy.toml", "cpu = \"100%\"", "cpu = \"90%\"");
    let failed = project
        .deploy(&["switch", "staging", "--yes", "--json"])
        .fails(4, &["no table", "staging-edge: left as it is"]);
    assert_eq!(outcomes(&failed.json(), "outcome"), ["unchanged", "reverted", "skipped"]);
    assert_eq!(http::eventually(&format!("{url}/ready"), 200, 30).status, 200);

    // Back to the first: the fleet is what it was.
    let back = project.deploy(&["rollback", "staging-web", "--to", "1", "--yes"]).ok();
    assert!(back.stdout.contains("generation 1"), "{}", back.stdout);
    let version = http::eventually(&format!("{url}/health"), 200, 10).json()["version"].to_string();
    assert!(version.starts_with("\"1."), "{version}");

    // A web host that goes down is an answer with a code, and comes back by itself.
    web.machines().poweroff_hard(web.name).expect("a machine to switch off");
    assert!(http::get(&format!("{url}/health")).is_some_and(|answer| matches!(answer.status, 502..=504)));
    project.deploy(&["machine", "start", web.name]).ok();
    assert_eq!(http::eventually(&format!("{url}/ready"), 200, 90).status, 200);
}

/// The address that this computer has in the machines' network.
fn http_client_address(machine: &Machine) -> String {
    let octets = machine.inner().address.octets();
    format!("{}.{}.{}.1", octets[0], octets[1], octets[2])
}
