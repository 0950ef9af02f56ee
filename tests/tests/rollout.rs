//! Three small hosts of one fleet, switched in portions.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;
use std::time::Duration;

use cairn_tests::project::Machine;
use cairn_tests::{Project, eventually};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;

const NAMES: [&str; 3] = ["rollout-1", "rollout-2", "rollout-3"];

/// A web server that tells its version, and is well as long as it can.
const SERVICE: &str = r#"
platform = "linux/amd64"
tags = ["small"]

[rollout]
batch = 1
on_failure = "revert"

[services.web]
image = "redis"
command = [
    "/usr/bin/busybox", "sh", "-c",
    "echo $VERSION > /var/lib/redis/ready && exec /usr/bin/busybox httpd -f -p 127.0.0.1:8080 -h /var/lib/redis",
]
environment = { VERSION = "1" }
network = ["localhost"]
listen = { own = ["127.0.0.1:8080"] }
health = { path = "/ready", timeout = "30s" }
"#;

const FLEET: &str = "hosts/rollout/fleet.toml";
/// The page on a host.
const PAGE: &str = "/var/lib/cairn/state/web/redis/ready";

fn project() -> Project {
    let project = Project::with_shared_store();
    let write = |file: &str, text: &str| fs::write(project.path(file), text).expect("a writable project");
    fs::create_dir_all(project.path("hosts/rollout")).expect("a folder");
    write(FLEET, SERVICE);
    write("hosts/rollout/1.toml", "tags = [\"small\", \"odd\"]\n[machine]\n");
    write("hosts/rollout/2.toml", "[machine]\n");
    write("hosts/rollout/3.toml", "tags = [\"small\", \"odd\"]\n[machine]\n");
    project
}

/// What a report says of its hosts, in their order.
fn said(report: &Value, key: &str) -> Vec<String> {
    let hosts = report["hosts"].as_array().expect("hosts");
    hosts.iter().map(|host| host[key].to_string().trim_matches('"').to_owned()).collect()
}

fn generations(project: &Project) -> Vec<String> {
    said(&project.deploy(&["status", "rollout", "--json"]).json(), "generation")
}

fn version(machine: &Machine) -> String {
    machine.ssh(&format!("cat {PAGE}")).ok().stdout.trim().to_owned()
}

fn release(project: &Project, from: u32, to: u32) {
    project.edit(FLEET, &format!("VERSION = \"{from}\""), &format!("VERSION = \"{to}\""));
}

#[test]
fn a_fleet_is_switched_in_portions_and_goes_back_as_one() {
    let project = project();
    let machines = NAMES.map(|name| project.member(name));

    let first = project.deploy(&["switch", "rollout", "--yes", "--json", "--strategy", "all"]).ok().json();
    assert_eq!(said(&first, "generation"), ["1", "1", "1"], "{first}");

    hosts_are_selected(&project);
    the_third_fails_and_all_go_back(&project, &machines);
    an_ill_canary_goes_back_and_the_rest_is_left(&project, &machines);
    a_canary_that_stays_well_lets_the_rest_follow(&project, &machines);
    a_host_out_of_reach_is_left_out(&project);
    after_an_interruption_no_host_is_begun(&project, &machines);
}

fn hosts_are_selected(project: &Project) {
    let names = |selection: &[&str]| {
        let arguments = [&["copy", "--json"], selection].concat();
        said(&project.deploy(&arguments).ok().json(), "name")
    };
    assert_eq!(names(&["@odd"]), ["rollout-1", "rollout-3"]);
    assert_eq!(names(&["rollout-[2-3]", "@small"]), ["rollout-2", "rollout-3", "rollout-1"]);
    let status = project.deploy(&["status", "rollout-?", "--json"]).ok().json();
    assert_eq!(said(&status, "name"), NAMES);
    project.deploy(&["status", "@ood"]).fails(1, &["no host with the tag `@ood`", "did you mean `@odd`?"]);
    project.deploy(&["rollback", "rolout-*", "--yes"]).fails(1, &["rolout-*", "the nearest name is `rollout-1`"]);
}

fn the_third_fails_and_all_go_back(project: &Project, machines: &[Machine; 3]) {
    release(project, 1, 2);
    let third = "hosts/rollout/3.toml";
    let ill = "[services.web.health]\npath = \"/nowhere\"\ntimeout = \"3s\"\n";
    project.edit(third, "[machine]\n", &format!("[machine]\n{ill}"));
    let failed = project.deploy(&["switch", "rollout", "--yes", "--json"]);
    let failed = failed.fails(4, &["404", "taken back to generation 1, because rollout-3 failed"]).json();
    assert_eq!(said(&failed, "outcome"), ["rolled-back", "rolled-back", "reverted"], "{failed}");
    assert_eq!(said(&failed, "generation"), ["1", "1", "1"], "{failed}");
    assert_eq!(said(&failed, "previous"), ["1", "1", "1"], "{failed}");
    assert_eq!(said(&failed, "changed"), ["false", "false", "false"], "{failed}");
    assert_eq!(generations(project), ["1", "1", "1"]);
    assert!(machines.iter().all(|machine| version(machine) == "1"));
    // The host's own records say why.
    let listed = project.deploy(&["generations", "rollout-1", "--json"]).ok().json();
    assert_eq!(listed["generations"].as_array().map(Vec::len), Some(2), "{listed}");
    project.edit(third, ill, "");
}

fn an_ill_canary_goes_back_and_the_rest_is_left(project: &Project, machines: &[Machine; 3]) {
    release(project, 2, 3);
    // Long enough that only the health of the first host ends it.
    let switch = ["switch", "rollout", "--yes", "--json", "--canary", "1", "--wait", "10m"];
    let child = project.command(&switch).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("deploy");
    eventually(Duration::from_secs(120), || version(&machines[0]) == "3" && generations(project)[0] == "3");
    machines[0].ssh(&format!("rm {PAGE}")).ok();
    let output = child.wait_with_output().expect("deploy");
    let errors = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!(output.status.code(), Some(4), "{errors}");
    assert_eq!(said(&report, "outcome"), ["rolled-back", "skipped", "skipped"], "{report}");
    assert!(errors.contains("taken back to generation 1, because it was not healthy: web (HTTP 404"), "{errors}");
    assert!(errors.contains("rollout-2: left as it is, because of rollout-1"), "{errors}");
    assert_eq!(generations(project), ["1", "1", "1"]);
    assert_eq!(version(&machines[0]), "1");
}

fn a_canary_that_stays_well_lets_the_rest_follow(project: &Project, machines: &[Machine; 3]) {
    let switched = project.deploy(&["switch", "@small", "--yes", "--json", "--canary", "1", "--wait", "3s"]).ok();
    assert_eq!(said(&switched.json(), "outcome"), ["switched", "switched", "switched"]);
    let at = |text: &str| switched.stderr.find(text).unwrap_or_else(|| panic!("not said: {text}\n{}", switched.stderr));
    assert!(at("rollout-1: committing") < at("rollout-1: watched for 3 s"), "{}", switched.stderr);
    assert!(at("rollout-1: watched for 3 s") < at("rollout-2: checking"), "{}", switched.stderr);
    assert!(machines.iter().all(|machine| version(machine) == "3"));
}

fn a_host_out_of_reach_is_left_out(project: &Project) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let gone = project.path("hosts/rollout/gone.toml");
    fs::write(&gone, format!("[ssh]\naddress = \"127.0.0.1\"\nport = {port}\n")).expect("a writable project");
    release(project, 3, 4);
    let hosts = ["rollout-gone", "rollout-1"];
    let switch = |more: &[&str]| project.deploy(&[&["switch", "--yes", "--json"], &hosts[..], more].concat());
    let stopped = switch(&[]).fails(4, &["rollout-gone", "cannot be reached"]).json();
    assert_eq!(said(&stopped, "outcome"), ["unreachable", "skipped"], "{stopped}");
    let left_out = switch(&["--skip-unreachable"]);
    assert_eq!(left_out.code, 0, "{left_out:?}");
    assert!(left_out.stderr.contains("cannot be reached"), "{}", left_out.stderr);
    assert_eq!(said(&left_out.json(), "outcome"), ["unreachable", "switched"]);
    // Alone it is what it is.
    project.deploy(&["switch", "rollout-gone", "--yes", "--skip-unreachable"]).fails(1, &["cannot be reached"]);
    fs::remove_file(gone).expect("a file to remove");
}

fn after_an_interruption_no_host_is_begun(project: &Project, machines: &[Machine; 3]) {
    release(project, 4, 5);
    let events = project.path("events.jsonl");
    let mut command = project.command(&["switch", "rollout", "--yes", "--json", "--events"]);
    command.arg(&events);
    // As a shell does for what it runs, so that the signal is for all of it.
    command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("deploy");
    let group = Pid::from_raw(child.id().try_into().expect("a pid"));
    let mut errors = String::new();
    for line in BufReader::new(child.stderr.take().expect("a pipe")).lines() {
        let line = line.expect("text");
        if line.starts_with("rollout-1: staging") {
            killpg(group, Signal::SIGINT).expect("a process to interrupt");
        }
        errors += &format!("{line}\n");
    }
    let mut report = String::new();
    child.stdout.take().expect("a pipe").read_to_string(&mut report).expect("text");
    assert_eq!(child.wait().expect("deploy").code(), Some(4), "{errors}");
    let report: Value = serde_json::from_str(&report).expect("a report");
    assert_eq!(said(&report, "outcome"), ["switched", "skipped", "skipped"], "{report}\n{errors}");
    assert!(errors.contains("rollout-2: left as it is, because of the interruption"), "{errors}");
    assert_eq!(machines.each_ref().map(version), ["5", "3", "3"]);
    // It is told when it comes, and the host that is under way goes on after it.
    let told = fs::read_to_string(events).expect("events");
    let told: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).expect("a document a line")).collect();
    let at = |event: &str| told.iter().position(|document| document["event"] == event).expect(event);
    assert!(0 < at("interrupted") && at("interrupted") < at("host-ended"), "{told:?}");
    let last = told.last().expect("an end");
    assert_eq!((&last["event"], &last["outcome"], &last["exit_code"]), (&"ended".into(), &"failure".into(), &4.into()));
    assert_eq!(last["hosts"][1]["outcome"], "skipped");
}
