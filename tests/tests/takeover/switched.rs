//! `deploy` of now goes on where `deploy` of then stopped.

use std::time::Duration;

use cairn_tests::earlier::Earlier;
use cairn_tests::eventually;
use serde_json::{Value, json};

use super::{Bed, VERSION};

const SWITCHED: &str = "e2e-takeover";

const FAILS: &str = "[services.task]\nimage = \"answer\"\nkind = \"task\"\n\
                     command = [\"/usr/bin/busybox\", \"false\"]\n";

#[test]
fn a_host_that_fbaba72_switched_is_taken_over() {
    let earlier = Earlier::unpack(VERSION);
    let project = earlier.project();
    let bed = Bed { earlier: &earlier, project: &project, machine: project.member(SWITCHED) };
    let plan = project.path("kept.plan").display().to_string();

    switched_then(&bed, &plan);
    found_as_it_was_left(&bed);
    goes_on(&bed, &plan);
    goes_back_across_the_boundary(&bed);
    comes_up_again(&bed);
    bed.give_back("hello\n");
}

/// Two generations, one of them pinned, an attempt that went back, an adopted file, a plan.
fn switched_then(bed: &Bed, plan: &str) {
    bed.define("one", "");
    bed.then(&["machine", "start", SWITCHED]);
    bed.machine.ssh("printf 'hello\\n' > /etc/motd && chmod 640 /etc/motd").ok();
    bed.then(&["adopt", SWITCHED, "/etc/motd"]);
    bed.then(&["switch", SWITCHED, "--yes", "--message", "first"]);
    bed.define("two", "");
    bed.then(&["switch", SWITCHED, "--yes"]);
    bed.then(&["pin", SWITCHED, "1"]);
    bed.define("bad", FAILS);
    bed.earlier.deploy(bed.project, &["switch", SWITCHED, "--yes", "--message", "bad"]).fails(3, &["generation 2"]);
    bed.define("three", "");
    bed.then(&["plan", SWITCHED, "--out", plan]);
}

fn found_as_it_was_left(bed: &Bed) {
    bed.runs(2, "two");
    assert_eq!(bed.generations(), [(1, true), (2, false)]);
    let told =
        |attempt: &Value| Value::from(["what", "to", "outcome", "message"].map(|key| attempt[key].clone()).to_vec());
    let expected = json!([
        ["switch", null, "reverted", "bad"],
        ["switch", 2, "committed", null],
        ["switch", 1, "committed", "first"],
    ]);
    assert_eq!(Value::from(bed.attempts().iter().map(told).collect::<Vec<_>>()), expected);
    assert_eq!(bed.wrong(), [""; 0]);
    let listed = bed.now(&["adopt", SWITCHED, "--list"]);
    assert_eq!(listed["files"][0]["path"], "/etc/motd", "{listed}");
    let free = bed.project.deploy(&["unlock", SWITCHED]).ok().stdout;
    assert!(free.contains("free"), "{free}");
}

/// The plan that was kept is what is applied, and then a closure of this version.
fn goes_on(bed: &Bed, plan: &str) {
    bed.project.deploy(&["switch", "--plan", plan, "--yes"]).ok();
    bed.runs(3, "three");
    bed.define("four", "");
    let report = bed.now(&["switch", SWITCHED, "--yes", "--message", "of now"]);
    assert_eq!(report["hosts"][0]["outcome"], "switched", "{report:#}");
    assert_eq!((&report["hosts"][0]["generation"], &report["hosts"][0]["previous"]), (&json!(4), &json!(3)));
    bed.runs(4, "four");
    // Else nothing below would cross a boundary.
    let agents =
        bed.machine.ssh("cd /nix/var/nix/profiles && readlink -f cairn-3-link/agent cairn-4-link/agent").ok().stdout;
    let agents: Vec<&str> = agents.lines().collect();
    assert!(agents.len() == 2 && agents[0] != agents[1], "{agents:?}");
    // The value is the one that was made then, so the secret has not changed.
    assert_eq!(bed.machine.ssh("ls /nix/var/cairn/secrets").ok().stdout.lines().count(), 1);
}

/// A rollback is carried out by the agent of the generation that it goes to.
fn goes_back_across_the_boundary(bed: &Bed) {
    let back = bed.now(&["rollback", SWITCHED, "--yes", "--message", "back"]);
    assert_eq!((&back["hosts"][0]["outcome"], &back["hosts"][0]["generation"]), (&json!("rolled-back"), &json!(3)));
    bed.runs(3, "three");
    bed.now(&["rollback", SWITCHED, "--to", "4", "--yes"]);
    bed.runs(4, "four");
    bed.now(&["rollback", SWITCHED, "--to", "1", "--yes"]);
    bed.runs(1, "one");
    bed.now(&["rollback", SWITCHED, "--to", "4", "--yes"]);
    bed.runs(4, "four");
    let outcomes: Vec<Value> = bed.attempts().iter().map(|attempt| attempt["outcome"].clone()).collect();
    assert_eq!(outcomes.len(), 9, "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == "committed").count(), 8, "{outcomes:?}");

    bed.now(&["unpin", SWITCHED, "1"]);
    let collected = bed.now(&["gc", SWITCHED]);
    assert_eq!(collected["hosts"][0]["generations"], json!([1]), "{collected}");
    assert_eq!(bed.generations(), [(3, false), (4, false)]);
}

/// Also the machine is one that the programs of then have made.
fn comes_up_again(bed: &Bed) {
    bed.machine.machines().poweroff_hard(SWITCHED).expect("a machine to switch off");
    bed.project.deploy(&["machine", "start", SWITCHED]).ok();
    eventually(Duration::from_secs(60), || bed.project.deploy(&["status", SWITCHED]).code == 0);
    bed.runs(4, "four");
    assert_eq!(bed.wrong(), [""; 0]);
    let words: Vec<String> = bed.machine.started();
    let words: Vec<&str> = words.iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(words.first(), Some(&"one"), "state that was there then is there still: {words:?}");
}
