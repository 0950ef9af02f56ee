//! `docs/events.md` and what is sent are the same.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use cairn_fleet::Outcome;
use cairn_notify::{Document, Event, Facts, HostOutcome, Member, VERSION, Verdict};
use cairn_protocol::{ServiceState, Step};
use serde_json::Value;

const PAGE: &str = include_str!("../../../docs/events.md");

/// Event (empty for all of them) → field → type, as the page has them.
fn described() -> BTreeMap<String, BTreeMap<String, String>> {
    let mut events: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut event = None;
    for line in PAGE.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            let name = if heading == "All events" { "" } else { heading.trim_matches('`') };
            events.insert(name.to_owned(), BTreeMap::new());
            event = Some(name.to_owned());
        } else if let (Some(event), Some(row)) = (&event, line.strip_prefix("| `")) {
            let (field, rest) = row.split_once("` | ").unwrap();
            let kind = rest.split(" |").next().unwrap();
            events.get_mut(event).unwrap().insert(field.to_owned(), kind.to_owned());
        }
    }
    events
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn facts() -> Facts {
    Facts {
        command: text("switch"),
        operator: text("alice@desk"),
        message: Some(text("why")),
        revision: Some(text("0123")),
        clean: Some(true),
    }
}

fn member() -> Member {
    Member { host: text("web-1"), fleet: Some(text("web")) }
}

fn outcome() -> HostOutcome {
    HostOutcome {
        member: member(),
        outcome: Outcome::Reverted,
        generation: Some(1),
        previous: Some(2),
        changed: true,
        bytes_sent: 3,
        seconds: 4.5,
        error: Some(text("x")),
        service: Some(text("api")),
        unit: Some(text("u")),
        log: vec![text("line")],
    }
}

/// Of each event one, with a value in every field.
fn samples() -> Vec<Event> {
    let host = || text("web-1");
    let (step, some) = (Step::Start, || Some(text("x")));
    vec![
        Event::Started { facts: facts(), hosts: vec![member()] },
        Event::Machine { host: host(), text: text("x") },
        Event::Connected { host: host(), agent_sent: true },
        Event::Copied { host: host(), bytes: 1, files: 2 },
        Event::Secrets { host: host(), count: 1 },
        Event::ActivationStarted {
            host: host(),
            activation: text("a"),
            closure: text("/nix/store/x"),
            previous: Some(1),
        },
        Event::Step { host: host(), step },
        Event::Service {
            host: host(),
            service: text("api"),
            unit: some(),
            state: ServiceState::Healthy,
            detail: some(),
        },
        Event::Note { host: host(), text: text("x") },
        Event::Output { host: host(), service: text("api"), line: text("x") },
        Event::AwaitingConfirmation { host: host(), seconds: 60 },
        Event::Confirmed { host: host(), by: some() },
        Event::Problem {
            host: host(),
            step,
            message: text("x"),
            advice: some(),
            service: some(),
            unit: some(),
            health: some(),
            log: vec![text("line")],
        },
        Event::Watching { host: host(), seconds: 1.5 },
        Event::Watched { host: host() },
        Event::TakingBack { host: host(), because: text("x") },
        Event::HostEnded { of: outcome() },
        Event::Interrupted { facts: facts(), hosts: vec![member()] },
        Event::Ended { facts: facts(), outcome: Verdict::Revert, exit_code: 4, seconds: 1.5, hosts: vec![outcome()] },
        Event::Test { operator: text("alice@desk") },
    ]
}

/// Field → type of all that is in an object, with what lies in lists.
fn fields(value: &Value, prefix: &str, found: &mut BTreeMap<String, &'static str>) {
    for (key, value) in value.as_object().unwrap() {
        let name = format!("{prefix}{key}");
        let kind = match value {
            Value::String(_) => "text",
            Value::Number(_) => "number",
            Value::Bool(_) => "boolean",
            Value::Array(items) if items[0].is_string() => "list of texts",
            Value::Array(items) => {
                items.iter().for_each(|item| fields(item, &format!("{name}[]."), found));
                "list"
            }
            other => panic!("the sample has no value in `{name}`: {other}"),
        };
        found.insert(name, kind);
    }
}

#[test]
fn every_event_and_field_is_described_and_no_other_is() {
    let described = described();
    let common = &described[""];
    let samples = samples();
    for event in &samples {
        let document = Document { version: VERSION, run: text("r"), number: 1, time: text("t"), event: event.clone() };
        let document = serde_json::to_value(&document).unwrap();
        assert_eq!(document["event"], event.name());
        let page = described.get(event.name());
        let page = page.unwrap_or_else(|| panic!("docs/events.md does not describe the event `{}`", event.name()));
        let mut found = BTreeMap::new();
        fields(&document, "", &mut found);
        for (field, kind) in &found {
            let said = common.get(field).or_else(|| page.get(field));
            let said =
                said.unwrap_or_else(|| panic!("docs/events.md does not describe `{field}` of `{}`", event.name()));
            assert_eq!(said.trim_end_matches(", null"), *kind, "`{field}` of `{}`", event.name());
        }
        let gone: Vec<&String> = common.keys().chain(page.keys()).filter(|field| !found.contains_key(*field)).collect();
        assert!(gone.is_empty(), "docs/events.md describes {gone:?} of `{}`, which is not sent", event.name());
    }
    let names = include_str!("../src/document.rs").matches("{ .. } => \"").count();
    assert_eq!(samples.len(), names, "an event has no sample");
    let sent: BTreeSet<&str> = samples.iter().map(Event::name).chain([""]).collect();
    let on_page: BTreeSet<&str> = described.keys().map(String::as_str).collect();
    assert_eq!(sent, on_page);
    assert!(PAGE.contains(&format!("`version` is {VERSION}.")));
}

fn fixture(version: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(version).join("events.jsonl")
}

/// The samples as lines of `--events FILE`.
fn sent() -> Vec<Value> {
    let document = |event| Document { version: VERSION, run: text("r"), number: 1, time: text("t"), event };
    samples().into_iter().map(|event| serde_json::to_value(document(event)).unwrap()).collect()
}

/// Programs that were written against version fbaba72 find what they look for: the same events, with
/// the same fields and values. New fields may come.
#[test]
fn events_are_sent_as_fbaba72_sent_them() {
    let before = std::fs::read_to_string(fixture("fbaba72")).unwrap();
    let before: Vec<Value> = before.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let sent = sent();
    assert_eq!(before.len(), 20);
    for line in before {
        let now = sent.iter().find(|now| now["event"] == line["event"]);
        let now = now.unwrap_or_else(|| panic!("the event {} is no longer sent", line["event"]));
        assert_contains(now, &line, &line["event"].to_string());
    }
}

fn assert_contains(now: &Value, before: &Value, at: &str) {
    match (now, before) {
        (Value::Object(now), Value::Object(before)) => {
            for (key, value) in before {
                let found = now.get(key).unwrap_or_else(|| panic!("{at}.{key} is no longer sent"));
                assert_contains(found, value, &format!("{at}.{key}"));
            }
        }
        (Value::Array(now), Value::Array(before)) => {
            assert_eq!(now.len(), before.len(), "{at}");
            now.iter().zip(before).for_each(|(now, before)| assert_contains(now, before, at));
        }
        _ => assert_eq!(now, before, "{at}"),
    }
}

#[test]
#[ignore = "writes fixtures: see tests/fixtures/README.md"]
fn write_fixtures() {
    let version = std::env::var("CAIRN_FIXTURES").expect("CAIRN_FIXTURES: the version to write fixtures of");
    std::fs::create_dir_all(fixture(&version).parent().unwrap()).unwrap();
    let document = |event| Document { version: VERSION, run: text("r"), number: 1, time: text("t"), event };
    let line = |event| serde_json::to_string(&document(event)).unwrap() + "\n";
    std::fs::write(fixture(&version), samples().into_iter().map(line).collect::<String>()).unwrap();
}

#[test]
fn every_outcome_of_a_host_is_described() {
    use Outcome::{Broken, Failed, Locked, Reverted, RolledBack, Skipped, Switched, Unchanged, Unhealthy, Unreachable};
    for outcome in [Switched, RolledBack, Unchanged, Failed, Unreachable, Skipped, Unhealthy, Reverted, Broken, Locked]
    {
        let word = serde_json::to_value(outcome).unwrap();
        assert!(PAGE.contains(&format!("`{}`", word.as_str().unwrap())), "{word}");
    }
}
