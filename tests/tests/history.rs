//! What a host ran, runs and would run: records, comparisons, plans that are kept, what stays and
//! what goes, and a lock whose holder is ended.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use cairn_tests::{Machine, Project, eventually, tool};
use serde_json::{Value, json};

const HOST: &str = "e2e-history";

/// One service alone, with as much memory as it is given, and whatever else comes.
fn define(project: &Project, megabytes: u32, more: &str) {
    let text = format!(
        "platform = \"linux/amd64\"\ninclude = [\"../services/redis.toml\"]\n[machine]\n\
         [generations]\nkeep = 2\n[services.redis.settings.memory]\nlimit = \"{megabytes}mb\"\n{more}"
    );
    fs::write(project.path(&format!("hosts/{HOST}.toml")), text).expect("a writable project");
}

/// It never runs; its image has Python packages.
const TIMER: &str = "[services.idle]\nimage = \"smoke\"\nkind = \"timer\"\nschedule = \"2099-01-01\"\n";

fn task(script: &str) -> String {
    format!(
        "[services.task]\nimage = \"redis\"\nkind = \"task\"\ntimeout = \"5m\"\n\
         command = [\"/usr/bin/busybox\", \"sh\", \"-c\", \"{script}\"]\n"
    )
}

fn commit(project: &Project) -> String {
    let dir = project.path("").display().to_string();
    let git = |arguments: &[&str]| tool("git", [&["-C", &dir], arguments].concat());
    git(&["init", "--quiet"]);
    git(&["add", "--all"]);
    git(&["-c", "user.name=t", "-c", "user.email=t@example", "commit", "--quiet", "--message", "all"]);
    git(&["rev-parse", "HEAD"]).trim().to_owned()
}

fn list<'a>(report: &'a Value, key: &str) -> &'a Vec<Value> {
    report[key].as_array().unwrap_or_else(|| panic!("no {key}: {report}"))
}

fn numbers(project: &Project) -> Vec<u64> {
    let report = project.deploy(&["generations", HOST, "--json"]).ok().json();
    list(&report, "generations").iter().map(|generation| generation["generation"].as_u64().expect("a number")).collect()
}

#[test]
fn a_host_tells_what_it_ran_runs_and_would_run() {
    let project = Project::with_shared_store();
    let machine = project.machine(HOST);
    define(&project, 64, "");
    let revision = commit(&project);

    let nothing = project.deploy(&["history", HOST]);
    nothing.fails(1, &["is not running"]);
    project.deploy(&["switch", HOST, "--yes", "--message", "first"]).ok();
    a_plan_is_kept_and_applied_once(&project);
    project.deploy(&["rollback", HOST, "--yes", "--message", "back again"]).ok();
    define(&project, 66, &task("exit 1"));
    project.deploy(&["switch", HOST, "--yes", "--message", "bad"]).fails(3, &["back on generation 1"]);

    told(&project, &revision);
    compared(&project);
    kept_and_collected(&project, &machine);
    locked(&project);
}

fn a_plan_is_kept_and_applied_once(project: &Project) {
    define(project, 65, TIMER);
    let file = project.path("local.plan").display().to_string();
    let plan = project.deploy(&["plan", HOST, "--out", &file, "--json"]).ok().json();
    let plan = &plan["hosts"][0];
    assert_eq!((&plan["current"], &plan["services"]), (&json!(1), &json!([["idle", "new"], ["redis", "restart"]])));
    let number = |key: &str| plan[key].as_u64().unwrap_or_else(|| panic!("no {key}: {plan}"));
    assert!((1..=number("missing_bytes")).contains(&number("send_bytes")), "{plan}");
    assert!((number("send_bytes")..number("free_bytes")).contains(&number("disk_bytes")), "{plan}");
    let packages = list(&plan["difference"], "packages");
    let httpx = packages.iter().find(|package| package["package"] == "httpx").expect("the image's requirement");
    assert_eq!((&httpx["from"], &httpx["to"]), (&Value::Null, &json!("0.27.2")));
    assert!(packages.iter().any(|package| package["package"] == "python3.11-minimal"), "{plan}");

    // The project moves on; the plan is what it was.
    define(project, 99, "");
    project.deploy(&["switch", "--plan", &file, "--yes"]).ok();
    assert_eq!(numbers(project), [1, 2]);
    define(project, 65, TIMER);
    let next = project.deploy(&["switch", HOST, "--yes", "--json"]).ok().json();
    assert_eq!(next["hosts"][0]["outcome"], "unchanged", "the plan's closure is live: {next}");

    let moved_on = ["the plan was made against generation 1", "generation 2 is live", "nothing was changed"];
    project.deploy(&["switch", "--plan", &file, "--yes"]).fails(1, &moved_on);
    let text = fs::read_to_string(&file).expect("the plan");
    let at = text.find("\"closure\": \"").expect("a closure") + 12;
    let gone = format!("{}{}{}", &text[..at], "0".repeat(32), &text[at + 32..]);
    fs::write(&file, gone).expect("a writable plan");
    project.deploy(&["switch", "--plan", &file, "--yes"]).fails(1, &["is gone from the store", "deploy plan"]);
    fs::remove_file(&file).expect("the plan");
}

/// By `history` and `generations`.
fn told(project: &Project, revision: &str) {
    let history = project.deploy(&["history", HOST, "--json"]).ok().json();
    let key = |attempt: &Value| {
        let keys = ["what", "from", "to", "outcome", "message"];
        Value::from(keys.map(|key| attempt[key].clone()).to_vec())
    };
    let attempts: Vec<Value> = list(&history, "attempts").iter().map(key).collect();
    let expected = json!([
        ["switch", 1, null, "reverted", "bad"],
        ["rollback", 2, 1, "committed", "back again"],
        ["switch", 1, 2, "committed", null],
        ["switch", null, 1, "committed", "first"],
    ]);
    assert_eq!(Value::from(attempts), expected);
    let attempt = |at: usize| &list(&history, "attempts")[at];
    assert!(attempt(0)["problem"].as_str().is_some_and(|problem| problem.contains("task failed")), "{history}");
    assert_eq!(attempt(0)["source"], json!({ "revision": revision, "clean": false }));
    assert_eq!(attempt(0)["changes"], json!({ "new": ["task"], "replaced": ["redis"] }));
    assert_eq!(attempt(1)["source"], attempt(3)["source"]);
    assert_eq!(attempt(3)["source"], json!({ "revision": revision, "clean": true }));
    let two = project.deploy(&["history", HOST, "--limit", "2"]).ok().stdout;
    assert_eq!(two.lines().count(), 3, "{two}");
    assert!(two.contains(&format!("{}+", &revision[..10])) && two.contains("2 → 1"), "{two}");

    let generations = project.deploy(&["generations", HOST, "--json"]).ok().json();
    let second = &list(&generations, "generations")[1];
    assert_eq!((&second["outcome"], &second["pinned"]), (&json!("committed"), &json!(false)), "{second}");
    assert_eq!(second["changes"], json!({ "new": ["idle"], "replaced": ["redis"] }));
    assert_eq!(second["source"]["clean"], false);
}

fn compared(project: &Project) {
    let diff = project.deploy(&["diff", HOST, "1", "2", "--json"]).ok().json();
    let files = list(&diff, "files");
    let named = |name: &str| files.iter().find(|file| file["file"] == name).unwrap_or_else(|| panic!("{diff}"));
    let config = named("redis/redis.conf")["diff"].as_str().expect("a text");
    assert!(config.contains("\n-maxmemory 64mb\n+maxmemory 65mb\n"), "{config}");
    assert!(named("cairn-idle-1.timer")["diff"].as_str().is_some_and(|text| text.contains("+OnCalendar=2099-01-01")));
    // Without a second number: the live one, which is 1. The other way round, to the eye.
    let back = project.deploy(&["diff", HOST, "2"]).ok().stdout;
    for said in ["generation 2 → generation 1", "- idle: removed", "~ redis: restarted", "httpx", "+maxmemory 64mb"] {
        assert!(back.contains(said), "not said: {said}\n{back}");
    }
    define(project, 64, "");
    let same = project.deploy(&["diff", HOST, "1", "next"]).ok().stdout;
    assert!(same.contains("generation 1 → next") && same.contains("no difference"), "{same}");
    project.deploy(&["diff", HOST, "7"]).fails(1, &["has no generation 7"]);
}

/// By number and pin; a collection on request takes the rest.
fn kept_and_collected(project: &Project, machine: &Machine) {
    let pinned = project.deploy(&["pin", HOST, "1"]).ok().stdout;
    assert!(pinned.contains("pinned"), "{pinned}");
    project.deploy(&["pin", HOST, "9"]).fails(1, &["no generation 9"]);
    for megabytes in [67, 68] {
        define(project, megabytes, "");
        project.deploy(&["switch", HOST, "--yes"]).ok();
    }
    eventually(Duration::from_secs(30), || numbers(project) == [1, 3, 4]);

    let collect = |options: &[&str]| {
        let report = project.deploy(&[&["gc", HOST, "--json"], options].concat()).ok().json();
        report["hosts"][0].clone()
    };
    assert_eq!(collect(&[])["generations"], json!([]));
    project.deploy(&["unpin", HOST, "1"]).ok();
    let would = collect(&["--dry-run"]);
    assert_eq!(would["generations"], json!([1]));
    assert!(would["paths"].as_u64() > Some(0), "{would}");
    assert_eq!(numbers(project), [1, 3, 4]);
    let went = collect(&[]);
    assert_eq!((&went["generations"], &went["paths"]), (&json!([1]), &would["paths"]));
    assert!(went["bytes"].as_u64() > Some(0), "{went}");
    assert_eq!(numbers(project), [3, 4]);
    // What went lives on in the history.
    let history = project.deploy(&["history", HOST, "--json"]).ok().json();
    assert_eq!(list(&history, "attempts").len(), 6);
    // What is left is whole, as Nix sees it.
    let root = machine.inner().identity.with_file_name("root");
    tool("nix-store", ["--store", &root.to_string_lossy(), "--verify", "--check-contents"]);
}

fn locked(project: &Project) {
    let free = project.deploy(&["unlock", HOST]).ok().stdout;
    assert!(free.contains("free; held last by") && free.contains("a collection"), "{free}");

    define(project, 69, &task("sleep 200"));
    let mut slow = project.command(&["switch", HOST, "--yes", "--message", "slow"]);
    let mut slow = slow.stderr(Stdio::null()).spawn().expect("deploy");
    let waiting = || {
        let asked = project.deploy(&["unlock", HOST]);
        asked.code == 5 && asked.stdout.contains("starting services")
    };
    eventually(Duration::from_secs(90), waiting);
    let held = project.deploy(&["unlock", HOST]).fails(5, &[]).stdout;
    assert!(["locked by", "a switch (slow)", "which lives"].iter().all(|said| held.contains(said)), "{held}");
    project.deploy(&["gc", HOST]).fails(5, &["locked by"]);

    let ended = project.deploy(&["unlock", HOST, "--yes"]).ok().stdout;
    assert!(ended.contains("went back: generation 4 is live"), "{ended}");
    assert_eq!(slow.wait().expect("an end").code(), Some(3));
    assert!(project.deploy(&["unlock", HOST]).ok().stdout.contains("free"));
    let history = project.deploy(&["history", HOST, "--limit", "1", "--json"]).ok().json();
    assert_eq!(history["attempts"][0]["outcome"], "reverted");
    let status = project.deploy(&["status", HOST, "--json"]).ok().json();
    assert_eq!((&status["hosts"][0]["generation"], &status["hosts"][0]["health"]), (&json!(4), &json!("healthy")));
}
