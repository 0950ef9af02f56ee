//! What hosts, services and build steps say, on its way to a terminal.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use cairn_fleet::{Change, Difference, Event, FleetError, HostReport, Outcome};
use cairn_formats::printable;
use cairn_protocol::{ActivationEvent, Finding, Problem, ServiceState, Stamped, Step};
use cairn_transport::{SshFault, TransportError};

use super::*;
use crate::terminal::capture;

/// Clears the screen, sets title and clipboard, reorders text, and hides; and begins a line of its own.
const HOSTILE: &str =
    "x\x1b[2J\x1b]0;owned\x07\x1b]52;c;aGk=\x1b\\\u{9b}31m\u{202e}\u{2069}\u{200d}\x7f\r\nweb-2: switched";

fn hostile() -> String {
    HOSTILE.to_owned()
}

/// Nothing that a terminal obeys, and what it would have obeyed can be seen.
#[track_caller]
fn is_harmless(shown: &str) {
    let harmful: Vec<char> = shown.chars().filter(|c| *c != '\n' && printable::is_harmful(*c)).collect();
    assert!(harmful.is_empty(), "{harmful:?} in {shown:?}");
    assert!(shown.contains("\\u{1b}[2J") && shown.contains("\\u{9b}31m"), "it is not shown: {shown:?}");
}

/// As [`is_harmless`], and no line begins as if another host spoke.
#[track_caller]
fn is_contained(shown: &str) {
    is_harmless(shown);
    assert!(!shown.lines().any(|line| line.starts_with("web-2: ")), "{shown}");
}

fn problem_of_a_host() -> Problem {
    Problem {
        step: Step::Health,
        message: hostile(),
        advice: Some(hostile()),
        service: Some(hostile()),
        unit: Some(hostile()),
        log: vec![hostile()],
        health: Some(hostile()),
    }
}

fn events() -> Vec<ActivationEvent> {
    vec![
        ActivationEvent::Service {
            service: hostile(),
            unit: None,
            state: ServiceState::Unhealthy,
            detail: Some(hostile()),
        },
        ActivationEvent::Note { text: hostile() },
        ActivationEvent::Output { service: "api".to_owned(), line: hostile() },
        ActivationEvent::Problem { problem: problem_of_a_host() },
    ]
}

#[test]
fn events_of_hosts_are_harmless_as_lines_and_on_a_screen() {
    for terminal in [false, true] {
        for event in events() {
            let progress = HostProgress::new(false, terminal);
            let line = Stamped { at: 0, event };
            let shown = capture::of(|| progress.on(&Event::Activation { host: "web-1", line: &line }));
            is_contained(&format!("{shown}{}", progress.drawn()));
        }
        let progress = HostProgress::new(false, terminal);
        let shown = capture::of(|| {
            progress.on(&Event::Machine { host: "web-1", text: hostile() });
            progress.on(&Event::TakingBack { host: "web-1", because: HOSTILE });
        });
        is_contained(&format!("{shown}{}", progress.drawn()));
        let shown = capture::of(|| progress.speaker()(HOSTILE));
        is_harmless(&shown);
    }
}

#[test]
fn progress_of_builds_is_harmless() {
    let shown = capture::of(|| {
        let progress = BuildProgress::new(HOSTILE, false, false);
        progress.on(&cairn_realise::Event::Planned { fetches: 1, fetch_bytes: 1, steps: 1 });
        progress.on(&cairn_realise::Event::FetchFinished { file: HOSTILE });
    });
    is_harmless(&shown);
}

#[test]
fn errors_are_harmless_with_their_causes_and_evidence() {
    let refused = FleetError::Refused { host: "web-1".to_owned(), problem: Box::new(problem_of_a_host()) };
    let fault = SshFault::AuthRefused { detail: hostile() };
    let ssh = TransportError::Ssh { host: "web-1".to_owned(), address: "192.0.2.1".to_owned(), fault };
    let died = cairn_machine::MachineError::Died { name: "local".to_owned(), console: hostile() };
    let step = cairn_realise::RealiseError::Step { task: "building x".to_owned(), message: hostile() };
    let chain = anyhow::anyhow!("{HOSTILE}").context("above").context(HOSTILE);
    for shown in [
        capture::of(|| failure(&refused)),
        capture::of(|| terminal::say(problem(refused.problem().unwrap()))),
        capture::of(|| error(&ssh.into())),
        capture::of(|| error(&died.into())),
        capture::of(|| error(&step.into())),
        capture::of(|| error(&chain)),
        capture::of(|| Display::new(false, false).warn(HOSTILE)),
    ] {
        is_contained(&shown);
    }
}

#[test]
fn results_are_harmless_as_text_and_as_json() {
    let mut report = HostReport::interrupted("web-1");
    (report.outcome, report.error, report.log) = (Outcome::Failed, Some(hostile()), vec![hostile()]);
    let found = [Finding::wrong(hostile(), hostile(), hostile(), hostile()), Finding::good(hostile(), "x")];
    let difference = Difference {
        services: vec![cairn_fleet::Service { service: hostile(), change: Change::New, replicas: [0, 1] }],
        system: vec![(hostile(), Change::Replaced)],
        packages: vec![cairn_fleet::Package {
            image: hostile(),
            origin: cairn_fleet::Origin::Debian,
            package: hostile(),
            from: None,
            to: Some(hostile()),
        }],
        secrets: Vec::new(),
        files: vec![cairn_fleet::File { file: "x".to_owned(), diff: format!("+{HOSTILE}\n") }],
    };
    let rows = [vec![hostile(), "x".to_owned()]];
    let text = Display::new(false, false);
    let print = |shown: String| capture::of(|| text.result(&(), || shown).unwrap());
    is_contained(&print(findings(&found, true)));
    is_contained(&print(table(&rows)));
    is_contained(&print(services(&difference)));
    // A difference has the lines of files, each with its sign.
    is_harmless(&print(contents(&difference)));

    let json = Display::new(true, false);
    let shown = capture::of(|| json.result(&(&report, &found, &difference), String::new).unwrap());
    assert!(shown.trim_end().chars().all(|c| !printable::is_harmful(c)), "{shown:?}");
    let value: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&value[0]["error"], &value[1][0]["what"]), (&HOSTILE.into(), &HOSTILE.into()));
}

#[test]
fn notes_and_questions_are_harmless() {
    let display = Display::new(false, false);
    is_harmless(&capture::of(|| display.note(HOSTILE)));
    is_harmless(&capture::of(|| terminal::prompt(format!("Switch {HOSTILE}? [y/N] "))));
    let progress = display.hosts();
    let watched = capture::of(|| progress.on(&Event::Watching { host: HOSTILE, wait: Duration::ZERO }));
    is_harmless(&watched);
}
