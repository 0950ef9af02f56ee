//! Rollouts over hosts that only say how they end.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Mutex;

use cairn_recipe::host::HostDefinition;
use cairn_recipe::sources::Sources;

use super::*;
use crate::{Event, HostReport, Outcome, exit_code, waves};

const TASK: &str = "services.migrate = { image = \"api\", kind = \"task\" }";

/// `fleet/name` or `name`.
fn host(name: &str, text: &str) -> Host {
    let (fleet, name) = name.split_once('/').map_or((None, name), |(fleet, name)| (Some(fleet.to_owned()), name));
    let sources = Sources::of(Path::new("hosts/x.toml"), &format!("{text}\n[machine]\n"));
    let definition = HostDefinition::of(&sources).unwrap();
    Host { name: name.to_owned(), file: "hosts/x.toml".into(), fleet, sources, definition }
}

/// The fleet `web` of so many hosts.
fn fleet(size: usize, rollout: &str) -> Vec<Host> {
    let text = format!("rollout = {{ parallel = 1, {rollout} }}");
    (1..=size).map(|n| host(&format!("web/web-{n}"), &text)).collect()
}

#[derive(Default)]
struct Model<'a> {
    hosts: &'a [Host],
    fail: &'a [&'a str],
    unreachable: &'a [&'a str],
    ill: &'a [&'a str],
    /// Going back fails.
    stuck: &'a [&'a str],
    /// After this one has begun, the operator has had enough.
    interrupted_at: Option<&'a str>,
    did: Mutex<Vec<String>>,
}

fn switched(name: &str, from: u64, to: u64) -> HostReport {
    let mut report = HostReport::interrupted(name);
    (report.outcome, report.previous, report.generation, report.changed) =
        (Outcome::Switched, Some(from), Some(to), true);
    (report.failure, report.error) = (None, None);
    report
}

impl Model<'_> {
    fn run(&self, run: &Run) -> Vec<HostReport> {
        run.carry_out(self)
    }

    fn did(&self, what: &str, host: usize) -> &str {
        let name = self.hosts[host].name.as_str();
        self.did.lock().unwrap().push(format!("{what}{name}"));
        name
    }
}

impl Actions for Model<'_> {
    fn begin(&self, host: usize) -> HostReport {
        let name = self.did("", host);
        let error = |message: &str| FleetError::Secrets { host: name.to_owned(), message: message.to_owned() };
        match name {
            name if self.fail.contains(&name) => HostReport::failed(name, error("broken")),
            name if self.unreachable.contains(&name) => {
                HostReport::failed(name, FleetError::NotRunning { host: name.to_owned() })
            }
            name => switched(name, 1, 2),
        }
    }

    fn take_back(&self, host: usize, to: u64, _: &str) -> HostReport {
        let name = self.did("-", host);
        match self.stuck.contains(&name) {
            true => HostReport::failed(name, FleetError::NotRunning { host: name.to_owned() }),
            false => switched(name, 2, to),
        }
    }

    fn health(&self, host: usize) -> Result<(), String> {
        let name = self.did("?", host);
        if self.ill.contains(&name) { Err("proxy (404)".to_owned()) } else { Ok(()) }
    }

    fn interrupted(&self) -> bool {
        self.interrupted_at.is_some_and(|at| self.did.lock().unwrap().iter().any(|did| did == at))
    }

    fn tell(&self, _: Event) {}
}

fn said(text: &str) -> RolloutEntry {
    let definition = host("x", &format!("rollout = {{ {text} }}")).definition;
    definition.rollout.unwrap()
}

/// What became of each, as `--json` spells it, with the generation.
fn outcomes(reports: &[HostReport]) -> String {
    let outcome = |report: &HostReport| {
        let word = serde_json::to_value(report.outcome).unwrap().as_str().unwrap().to_owned();
        report.generation.map_or(word.clone(), |generation| format!("{word} {generation}"))
    };
    reports.iter().map(outcome).collect::<Vec<_>>().join(", ")
}

#[test]
fn hosts_go_in_the_portions_that_their_fleet_says() {
    for (rollout, size, wanted) in [
        ("", 5, "5"),
        ("strategy = \"rolling\"", 3, "1 1 1"),
        ("batch = 2", 5, "2 2 1"),
        ("batch = \"40%\"", 5, "2 2 1"),
        ("batch = \"1%\"", 3, "1 1 1"),
        ("strategy = \"canary\"", 4, "1 3"),
        ("canary = 2", 5, "2 3"),
        ("canary = 9", 2, "2"),
        ("canary = 1, batch = 2", 6, "1 2 2 1"),
    ] {
        let hosts = fleet(size, rollout);
        let run = Run::new(&hosts, &RolloutEntry::default(), false).unwrap();
        let sizes: Vec<String> = run.outline().iter().map(|(names, _)| names.len().to_string()).collect();
        assert_eq!(sizes.join(" "), wanted, "{rollout} of {size}");
    }
    // The command line lies over it.
    let hosts = fleet(4, "canary = 1");
    let run = Run::new(&hosts, &said("strategy = \"all\""), false).unwrap();
    assert_eq!(run.outline(), [(vec!["web-1", "web-2", "web-3", "web-4"], Duration::ZERO)]);
    let odd = RolloutEntry { strategy: Some(Strategy::Rolling), ..said("canary = 1") };
    let error = Run::new(&hosts, &odd, false).unwrap_err().to_string();
    assert!(error.starts_with("--canary: "), "{error}");
}

#[test]
fn a_failure_stops_lets_on_or_takes_back() {
    for (rollout, did, wanted) in [
        ("batch = 1", "web-1 web-2", "switched 2, failed, skipped, skipped"),
        // Those of a batch that have not begun yet are held up as well.
        ("strategy = \"all\"", "web-1 web-2", "switched 2, failed, skipped, skipped"),
        (
            "batch = 1, on_failure = \"continue\"",
            "web-1 web-2 web-3 web-4",
            "switched 2, failed, switched 2, switched 2",
        ),
        ("batch = 1, on_failure = \"revert\"", "web-1 web-2 -web-1", "rolled-back 1, failed, skipped, skipped"),
    ] {
        let hosts = fleet(4, rollout);
        let model = Model { hosts: &hosts, fail: &["web-2"], ..Model::default() };
        let reports = model.run(&Run::new(&hosts, &RolloutEntry::default(), false).unwrap());
        assert_eq!(model.did.lock().unwrap().join(" "), did, "{rollout}");
        assert_eq!(outcomes(&reports), wanted, "{rollout}");
        assert_eq!(exit_code(&reports, false), 4, "{rollout}");
    }
}

#[test]
fn hosts_go_back_in_the_opposite_order_and_say_why() {
    let hosts = fleet(4, "batch = 1, on_failure = \"revert\"");
    let model = Model { hosts: &hosts, fail: &["web-4"], stuck: &["web-2"], ..Model::default() };
    let reports = model.run(&Run::new(&hosts, &RolloutEntry::default(), false).unwrap());
    assert_eq!(model.did.lock().unwrap().join(" "), "web-1 web-2 web-3 web-4 -web-3 -web-2 -web-1");
    // The one that does not go back runs what it was switched to.
    assert_eq!(outcomes(&reports), "rolled-back 1, switched 2, rolled-back 1, failed");
    let error = |at: usize| reports[at].error.clone().unwrap();
    assert_eq!(error(0), "web-1: taken back to generation 1, because web-4 failed");
    assert!(
        error(1).starts_with("web-2: it should be taken back, because web-4 failed, and was not: "),
        "{}",
        error(1)
    );
    assert!(!reports[0].changed && reports[1].changed);
}

#[test]
fn canaries_that_are_not_well_hold_up_the_rest() {
    for (rollout, did, wanted) in [
        ("canary = 2", "web-1 web-2 ?web-1 ?web-2", "switched 2, unhealthy 2, skipped, skipped"),
        (
            "canary = 2, on_failure = \"revert\"",
            "web-1 web-2 ?web-1 ?web-2 -web-1 -web-2",
            "rolled-back 1, rolled-back 1, skipped, skipped",
        ),
        // Nothing comes after the last one, so nobody waits for it.
        (
            "batch = 3, on_failure = \"continue\"",
            "web-1 web-2 web-3 ?web-1 ?web-2 ?web-3 web-4",
            "switched 2, unhealthy 2, switched 2, switched 2",
        ),
    ] {
        let hosts = fleet(4, &format!("wait = \"1ms\", {rollout}"));
        let model = Model { hosts: &hosts, ill: &["web-2", "web-4"], ..Model::default() };
        let reports = model.run(&Run::new(&hosts, &RolloutEntry::default(), false).unwrap());
        assert_eq!(model.did.lock().unwrap().join(" "), did, "{rollout}");
        assert_eq!(outcomes(&reports), wanted, "{rollout}");
        let error = reports[1].error.clone().unwrap();
        assert!(error.contains("not healthy") && error.contains("proxy (404)"), "{error}");
    }
}

#[test]
fn unreachable_hosts_can_be_left_out_and_are_no_canaries() {
    let hosts = fleet(4, "canary = 1, wait = \"1ms\"");
    let model = || Model { hosts: &hosts, unreachable: &["web-1", "web-4"], ..Model::default() };
    let skipping = model();
    let reports = skipping.run(&Run::new(&hosts, &RolloutEntry::default(), true).unwrap());
    assert_eq!(skipping.did.lock().unwrap().join(" "), "web-1 web-2 ?web-2 web-3 web-4");
    assert_eq!(outcomes(&reports), "unreachable, switched 2, switched 2, unreachable");
    assert_eq!((exit_code(&reports, true), exit_code(&reports, false)), (0, 4));
    let reports = model().run(&Run::new(&hosts, &RolloutEntry::default(), false).unwrap());
    assert_eq!(outcomes(&reports), "unreachable, skipped, skipped, skipped");
    // Of none that could be reached nobody can say that all is well.
    let gone: Vec<HostReport> = reports.into_iter().filter(|r| r.outcome == Outcome::Unreachable).collect();
    assert_eq!(exit_code(&gone, true), 1);
}

#[test]
fn a_failure_holds_up_its_own_fleet_and_those_that_come_after_it() {
    let hosts = [
        host("a/a-1", TASK),
        host("a/a-2", ""),
        host("b/b-1", TASK),
        host("b/b-2", ""),
        host("b/b-3", "after = [\"a-2\"]"),
        host("alone", "after = [\"b-3\"]"),
    ];
    for (fail, unreachable, wanted) in [
        (&[][..], &[][..], "switched 2, switched 2, switched 2, switched 2, switched 2, switched 2"),
        (&["a-1"], &[], "failed, skipped, switched 2, switched 2, skipped, skipped"),
        (&["b-2"], &[], "switched 2, switched 2, switched 2, failed, skipped, skipped"),
        // One that was left out holds up those that need it.
        (&[], &["a-1"], "unreachable, skipped, switched 2, switched 2, skipped, skipped"),
        (&[], &["b-2"], "switched 2, switched 2, switched 2, unreachable, switched 2, switched 2"),
        (&[], &["a-2"], "switched 2, unreachable, switched 2, switched 2, skipped, skipped"),
    ] {
        let model = Model { hosts: &hosts, fail, unreachable, ..Model::default() };
        let reports = model.run(&Run::new(&hosts, &RolloutEntry::default(), true).unwrap());
        assert_eq!(outcomes(&reports), wanted, "{fail:?} {unreachable:?}");
    }
    // Going back stops at nothing.
    let model = Model { hosts: &hosts, fail: &["a-1"], ..Model::default() };
    let reports = model.run(&Run::of_all(&hosts, waves(&hosts).unwrap(), Some(2)));
    assert_eq!(outcomes(&reports), "failed, switched 2, switched 2, switched 2, switched 2, switched 2");
}

#[test]
fn each_fleet_goes_its_own_way() {
    let mut hosts = fleet(3, "batch = 1, on_failure = \"revert\"");
    hosts.extend((1..=2).map(|n| host(&format!("db/db-{n}"), "rollout = { on_failure = \"continue\" }")));
    let model = Model { hosts: &hosts, fail: &["web-2", "db-1"], ..Model::default() };
    let reports = model.run(&Run::new(&hosts, &RolloutEntry::default(), false).unwrap());
    assert_eq!(outcomes(&reports), "rolled-back 1, failed, skipped, failed, switched 2");

    hosts.push(host("db/db-3", "rollout = { on_failure = \"stop\" }"));
    let error = Run::new(&hosts, &RolloutEntry::default(), false).unwrap_err().to_string();
    assert!(error.contains("db-1 and db-3") && error.contains("hosts/db/fleet.toml"), "{error}");
}

#[test]
fn after_an_interruption_no_host_is_begun() {
    for (at, did, wanted) in [
        ("web-1", "web-1", "switched 2, skipped, skipped"),
        // While canaries are watched.
        ("?web-1", "web-1 ?web-1", "switched 2, skipped, skipped"),
        ("web-3", "web-1 ?web-1 web-2 web-3", "switched 2, switched 2, switched 2"),
    ] {
        let hosts = fleet(3, "canary = 1, wait = \"1ms\", on_failure = \"revert\"");
        let model = Model { hosts: &hosts, interrupted_at: Some(at), ..Model::default() };
        let reports = model.run(&Run::new(&hosts, &RolloutEntry::default(), false).unwrap());
        assert_eq!(model.did.lock().unwrap().join(" "), did, "{at}");
        assert_eq!(outcomes(&reports), wanted, "{at}");
    }
}
