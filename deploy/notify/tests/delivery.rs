//! What arrives at real listeners: at an HTTP server, in a file, at the end of a FIFO.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use cairn_fleet::{FleetError, HostReport, Outcome};
use cairn_notify::{Announcer, Facts, Hidden, Member, PATIENCE, Stream, StreamError, Target, signature};
use cairn_recipe::notify::{NotifyKind, Occasion};
use serde_json::Value;

struct Request {
    head: String,
    body: Vec<u8>,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        let name = format!("{name}: ");
        self.head.lines().find_map(|line| line.strip_prefix(&name))
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// Answers with these, the last one again and again; an empty answer is none at all. Ends with the test.
fn server(answers: &[&'static str]) -> (String, Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/services/T0/sesame", listener.local_addr().unwrap());
    let (sender, requests) = mpsc::channel();
    let mut answers: Vec<&str> = answers.iter().rev().copied().collect();
    thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming().flatten() {
            let answer = if answers.len() > 1 { answers.pop() } else { answers.last().copied() };
            held.extend(serve(stream, answer.unwrap(), &sender));
        }
    });
    (url, requests)
}

fn serve(stream: TcpStream, answer: &str, requests: &Sender<Request>) -> Option<TcpStream> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        reader.read_line(&mut head).ok().filter(|read| *read > 0)?;
    }
    let head = head.to_lowercase().replace('\r', "");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let _ = requests.send(Request { head, body });
    let mut stream = reader.into_inner();
    if !answer.is_empty() {
        let (status, text) = answer.split_once(' ').unwrap_or((answer, ""));
        let length = text.len();
        write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}").ok()?;
    }
    Some(stream)
}

fn target(kind: NotifyKind, url: &str, on: &[Occasion]) -> Target {
    let url = Hidden::new(url.to_owned());
    let label = Target::label(1, kind, Some(&url));
    Target { label, kind, address: Ok(url), signing_key: None, on: on.to_vec() }
}

fn announcer(targets: Vec<Target>, stream: Option<Stream>) -> Announcer {
    let facts = Facts { command: "switch".into(), operator: "alice@desk".into(), ..Facts::default() };
    let hosts = vec![Member { host: "web-1".into(), fleet: Some("web".into()) }];
    Announcer::new(facts, hosts, stream, targets)
}

fn report(outcome: Outcome) -> HostReport {
    let mut report = HostReport::interrupted("web-1");
    if outcome == Outcome::Switched {
        (report.failure, report.error) = (None, None);
    }
    report.outcome = outcome;
    report
}

#[test]
fn a_webhook_gets_what_it_asked_for_and_can_tell_that_it_is_ours() {
    let (url, requests) = server(&["200"]);
    let mut own = target(NotifyKind::Webhook, &url, &[Occasion::Start, Occasion::Failure]);
    own.signing_key = Some(Hidden::new("key".into()));
    let announcer = announcer(vec![own], None);
    announcer.started();
    announcer.agreed();
    announcer.agreed();
    announcer.on(&cairn_fleet::Event::Watched { host: "web-1" });
    announcer.interrupted();
    announcer.ended(&[report(Outcome::Failed)], 1);
    assert_eq!(announcer.finish(), [""; 0]);
    let all: Vec<Request> = requests.try_iter().collect();
    let events: Vec<Value> = all.iter().map(|request| request.json()["event"].clone()).collect();
    assert_eq!(events, ["started", "ended"]);
    for request in &all {
        let document = request.json();
        assert_eq!(request.header("x-cairn-event"), document["event"].as_str());
        let delivery = format!("{}-{}", document["run"].as_str().unwrap(), document["number"]);
        assert_eq!(request.header("x-cairn-delivery"), Some(delivery.as_str()));
        assert_eq!(request.header("x-cairn-signature-256"), Some(signature(b"key", &request.body).as_str()));
        assert_eq!(request.header("content-type"), Some("application/json"));
    }
    assert_eq!(all[1].json()["hosts"][0]["outcome"], "failed");
}

#[test]
fn how_a_run_ended_is_one_word() {
    let back = |name: &str| {
        let mut report = report(Outcome::Switched);
        let back = FleetError::TakenBack { host: name.into(), generation: 1, why: "web-2 failed".into() };
        (report.outcome, report.failure) = (Outcome::RolledBack, Some(back));
        report
    };
    let rolled_back = || HostReport { outcome: Outcome::RolledBack, ..report(Outcome::Switched) };
    let all = [Occasion::Success, Occasion::Revert, Occasion::Failure];
    for (reports, code, wanted) in [
        (vec![report(Outcome::Switched)], 0, "success"),
        (vec![rolled_back()], 0, "success"),
        (vec![report(Outcome::Reverted)], 3, "revert"),
        (vec![back("web-1"), report(Outcome::Failed), report(Outcome::Skipped)], 4, "revert"),
        (vec![rolled_back(), report(Outcome::Failed)], 4, "failure"),
        (vec![report(Outcome::Reverted), report(Outcome::Broken)], 4, "failure"),
        (vec![report(Outcome::Locked)], 5, "failure"),
    ] {
        let (url, requests) = server(&["200"]);
        let announcer = announcer(vec![target(NotifyKind::Webhook, &url, &all)], None);
        announcer.agreed();
        announcer.ended(&reports, code);
        assert_eq!(announcer.finish(), [""; 0]);
        let document = requests.try_recv().unwrap().json();
        assert_eq!((&document["outcome"], &document["exit_code"]), (&wanted.into(), &code.into()));
    }
}

#[test]
fn nobody_is_told_of_what_nobody_agreed_to() {
    let (url, requests) = server(&["200"]);
    let announcer = announcer(vec![target(NotifyKind::Slack, &url, &[Occasion::Failure])], None);
    announcer.started();
    announcer.ended(&[report(Outcome::Failed)], 1);
    assert_eq!(announcer.finish(), [""; 0]);
    assert!(requests.try_recv().is_err());
}

#[test]
fn what_fails_for_a_while_is_tried_again_and_what_fails_for_good_is_not() {
    let (url, requests) = server(&["503", "429", "200 ok"]);
    let announcer_one = announcer(vec![target(NotifyKind::Slack, &url, &[])], None);
    announcer_one.test();
    assert_eq!(announcer_one.finish(), [""; 0]);
    let texts: Vec<Value> = requests.try_iter().map(|request| request.json()["text"].clone()).collect();
    assert_eq!(texts.len(), 3);
    assert!(texts.iter().all(|text| text.as_str().unwrap().contains("alice@desk")), "{texts:?}");

    for (answer, said) in [
        ("404 no_service", "it answered 404 (no_service)"),
        // An answer that repeats the address is not shown, and one that leads elsewhere is not followed.
        ("404 /services/T0/sesame", "it answered 404"),
        ("302", "it answered 302"),
    ] {
        let (url, requests) = server(&[answer]);
        let announcer = announcer(vec![target(NotifyKind::Slack, &url, &[])], None);
        announcer.test();
        let warnings = announcer.finish();
        let origin = url.split("/services").next().unwrap();
        assert_eq!(warnings, [format!("[[notify]] 1, slack at {origin}: `test` was not delivered: {said}")]);
        assert_eq!(requests.try_iter().count(), 1, "{answer}");
    }
}

#[test]
fn what_cannot_be_reached_is_told_without_the_secret_and_the_others_are_reached() {
    // A port that was free a moment ago.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = target(NotifyKind::Slack, &format!("http://{closed}/sesame"), &[]);
    let garbage = target(NotifyKind::Webhook, "http://exa mple/sesame", &[]);
    let mut unknown = target(NotifyKind::Webhook, &format!("http://{closed}/sesame"), &[]);
    unknown.address = Err("there is no secret `hook`".into());
    let (silent_url, silent_requests) = server(&[""]);
    let silent = target(NotifyKind::Webhook, &silent_url, &[]);
    let (url, requests) = server(&["204"]);
    let announcer = announcer(vec![refused, garbage, unknown, silent, target(NotifyKind::Slack, &url, &[])], None);
    announcer.test();
    let warnings = announcer.finish().join("\n");
    for said in ["refused", "no good URL", "there is no secret `hook`"] {
        assert!(warnings.contains(said), "{said} is not in\n{warnings}");
    }
    assert!(warnings.contains("no answer within") || warnings.contains("not everything was delivered"), "{warnings}");
    assert_eq!(warnings.lines().count(), 4, "{warnings}");
    assert!(!warnings.contains("sesame"), "{warnings}");
    assert!(silent_requests.try_iter().count() >= 1);
    assert_eq!(requests.try_iter().count(), 1);
    assert_eq!(PATIENCE.as_secs(), 10);
}

#[test]
fn a_file_has_every_event_in_its_order_behind_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("events.jsonl");
    for run in 1..=2 {
        let announcer = announcer(Vec::new(), Some(Stream::open(&file, || ()).unwrap()));
        announcer.started();
        announcer.agreed();
        announcer.on(&cairn_fleet::Event::Copying { host: "web-1", bytes: 1 });
        announcer.on(&cairn_fleet::Event::Ended { host: "web-1", report: &report(Outcome::Switched) });
        announcer.ended(&[report(Outcome::Switched)], 0);
        assert_eq!(announcer.finish(), [""; 0]);
        let text = fs::read_to_string(&file).unwrap();
        let documents: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let own = &documents[3 * (run - 1)..];
        let told: Vec<_> = own.iter().map(|d| (d["number"].as_u64().unwrap(), d["event"].as_str().unwrap())).collect();
        assert_eq!(told, [(1, "started"), (2, "host-ended"), (3, "ended")]);
        assert_eq!(own[1]["fleet"], "web");
    }
}

#[test]
fn a_fifo_and_a_descriptor_do_and_standard_output_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let reader = thread::spawn({
        let fifo = fifo.clone();
        move || fs::read_to_string(fifo).unwrap()
    });
    let mut waited = false;
    let one = announcer(Vec::new(), Some(Stream::open(&fifo, || waited = true).unwrap()));
    one.started();
    one.ended(&[], 0);
    assert_eq!(one.finish(), [""; 0]);
    assert!(waited);
    assert_eq!(reader.join().unwrap().lines().count(), 2);

    let (mut from, to) = std::io::pipe().unwrap();
    let name = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&to));
    let one = announcer(Vec::new(), Some(Stream::open(name.as_ref(), || ()).unwrap()));
    drop(to);
    one.started();
    assert_eq!(one.finish(), [""; 0]);
    let mut text = String::new();
    drop(one);
    from.read_to_string(&mut text).unwrap();
    assert_eq!(text.lines().count(), 1);

    // A reader that has gone is told of, and nothing more.
    let (from, to) = std::io::pipe().unwrap();
    let name = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&to));
    let one = announcer(Vec::new(), Some(Stream::open(name.as_ref(), || ()).unwrap()));
    drop(from);
    one.started();
    let warnings = one.finish();
    assert!(matches!(&warnings[..], [one] if one.contains("not all events were written")), "{warnings:?}");

    assert!(matches!(Stream::open("-".as_ref(), || ()), Err(StreamError::StandardOutput)));
    let missing = Stream::open(&dir.path().join("no/file"), || ()).err().unwrap().to_string();
    assert!(missing.contains("no/file") && missing.contains("help:"), "{missing}");
}
