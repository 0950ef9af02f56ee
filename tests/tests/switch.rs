//! The main job on a real systemd host over real SSH: switch, change, switch, roll back.

use cairn_tests::{Project, http};

const VERSION_FILE: &str = "images/api/app/spirit/version.py";

/// The version that the application tells of itself, through nginx.
#[track_caller]
fn version(url: &str) -> String {
    let answer = http::eventually(&format!("{url}/health"), 200, 60);
    answer.json()["version"].as_str().expect("a version").to_owned()
}

#[test]
fn a_change_goes_live_and_back_again_and_only_what_changed_travels() {
    let project = Project::with_shared_store();
    let machine = project.machine("e2e-switch");
    let host = machine.name;

    // Nothing is switched by a plan, nor without an answer.
    project.deploy(&["switch", host, "--dry-run"]).ok();
    let asked = project.deploy(&["switch", host]);
    asked.fails(1, &["there is no terminal to ask on", "--yes"]);
    assert_eq!(project.deploy(&["generations", host, "--json"]).ok().json()["generations"], serde_json::json!([]));
    project.deploy(&["rollback", host, "--yes"]).fails(1, &["no"]);

    let first = project.deploy(&["switch", host, "--yes", "--json", "--message", "first"]).ok().json();
    let first = &first["hosts"][0];
    assert_eq!(first["outcome"], "switched", "{first}");
    assert_eq!(first["generation"], 1);
    assert_eq!(first["previous"], serde_json::Value::Null);
    let url = machine.url("proxy");
    let before = version(&url);
    assert_eq!(http::eventually(&format!("{url}/api/v1/tours"), 200, 10).status, 200);

    // The same again changes nothing and makes no generation.
    let again = project.deploy(&["switch", host, "--yes", "--json"]).ok().json();
    assert_eq!(again["hosts"][0]["outcome"], "unchanged");
    assert_eq!(again["hosts"][0]["changed"], false);
    assert_eq!(again["hosts"][0]["bytes_sent"], 0);

    project.edit(VERSION_FILE, &format!("\"{before}\""), "\"99.0.0\"");
    let second = project.deploy(&["switch", host, "--yes", "--json"]).ok().json();
    let second = &second["hosts"][0];
    assert_eq!((&second["generation"], &second["previous"]), (&2.into(), &1.into()), "{second}");
    let sent = second["bytes_sent"].as_u64().expect("a number");
    assert!((1..256 << 10).contains(&sent), "{sent} bytes sent for one changed line");
    assert_eq!(version(&url), "99.0.0");

    let back = project.deploy(&["rollback", host, "--yes", "--json"]).ok().json();
    let back = &back["hosts"][0];
    assert_eq!((&back["outcome"], &back["generation"]), (&"rolled-back".into(), &1.into()), "{back}");
    assert_eq!(version(&url), before);

    let forth = project.deploy(&["rollback", host, "--to", "2", "--yes", "--json"]).ok().json();
    assert_eq!(forth["hosts"][0]["generation"], 2);
    assert_eq!(version(&url), "99.0.0");
    project.deploy(&["rollback", host, "--to", "77", "--yes"]).fails(1, &["77"]);

    let listed = project.deploy(&["generations", host, "--json"]).ok().json();
    let numbers: Vec<_> = listed["generations"].as_array().expect("a list").iter().map(|g| &g["generation"]).collect();
    assert_eq!(numbers, [1, 2]);
    let status = project.deploy(&["status", host, "--json"]).ok().json();
    assert_eq!(status["hosts"][0]["generation"], 2);
    assert_eq!(status["hosts"][0]["health"], "healthy");

    // The host's store is a real one, and services are as closed as they claim to be.
    let verified = machine.ssh("systemctl list-units --plain --no-legend 'cairn-*' --state=failed");
    assert_eq!(verified.ok().stdout.trim(), "");

    // A restart of the machine, as after a power cut: the committed generation comes up.
    machine.machines().poweroff_hard(host).expect("a machine to switch off");
    project.deploy(&["machine", "start", host]).ok();
    assert_eq!(version(&machine.url("proxy")), "99.0.0");
}
