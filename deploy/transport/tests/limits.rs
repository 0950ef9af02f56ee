//! Hosts that never end, never answer, or answer too much: the client ends, in bounded time and memory.
//!
//! The host is a shell that writes what an agent would, from files: the protocol needs no more.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use cairn_formats::Platform;
use cairn_protocol::frame::{self, Kind};
use cairn_protocol::{
    ActivationEvent, Event, Hello, HostSummary, LogLine, LogRequest, PREAMBLE, Request, Response, RestartRequest,
    Stamped, VERSION,
};
use cairn_store::Store;
use cairn_transport::{Limits, Session, TransportError, copy_closure};
use tempfile::TempDir;

/// Time that any of these tests may take: the smallest limit is 300 ms, and ending a child takes 2 s.
const SOON: Duration = Duration::from_secs(20);

fn limits() -> Limits {
    let short = Duration::from_millis(300);
    Limits { question: short, work: short, activation: short, copy: short, ..Limits::default() }
}

/// A host that says hello and then what its script does, where `$event`, `$answer` and `$data` are files.
struct Host {
    dir: TempDir,
    script: &'static str,
}

impl Host {
    fn new(script: &'static str) -> Self {
        let host = Self { dir: tempfile::tempdir().unwrap(), script };
        let mut hello = PREAMBLE.as_bytes().to_vec();
        frame::write_message(
            &mut hello,
            Kind::Hello,
            &Hello {
                version: VERSION,
                agent: "test".to_owned(),
                platform: Platform::native(),
                free_bytes: 1 << 40,
                current: None,
                valid: Vec::new(),
                all_valid: true,
                secrets: Vec::new(),
                host_key: None,
                host: HostSummary::default(),
            },
        )
        .unwrap();
        fs::write(host.file("hello"), hello).unwrap();
        host
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The file `event`: so many frames of this one.
    fn event(&self, event: &Event, times: usize) {
        let mut frames = Vec::new();
        for _ in 0..times {
            frame::write_message(&mut frames, Kind::Event, event).unwrap();
        }
        fs::write(self.file("event"), frames).unwrap();
    }

    /// The file `answer`.
    fn answer(&self, response: &Response) {
        let mut frames = Vec::new();
        frame::write_message(&mut frames, Kind::Response, response).unwrap();
        fs::write(self.file("answer"), frames).unwrap();
    }

    fn session(&self, limits: &Limits) -> Session {
        let mut command = Command::new("sh");
        command.current_dir(self.dir.path()).args(["-c", &format!("cat hello; {}", self.script)]);
        Session::spawn_within(command, "web-1", limits).unwrap()
    }
}

fn progress(text: &str) -> Event {
    Event::Progress { line: Stamped { at: 0, event: ActivationEvent::Note { text: text.to_owned() } } }
}

fn restart() -> Request {
    Request::Restart(RestartRequest { service: "api".to_owned(), operator: "x".to_owned(), reason: None })
}

/// The error that a request ends with, and how many events came before it.
fn refused(host: &Host, limits: &Limits, request: &Request) -> (TransportError, u64) {
    let (start, mut events) = (Instant::now(), 0);
    let error = host.session(limits).request(request, &mut |_| events += 1).unwrap_err();
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    (error, events)
}

#[test]
fn endless_events_end() {
    let host = Host::new("while cat event; do :; done");
    host.event(&progress("x"), 100);
    let limits = Limits { events: 1000, activation: SOON, ..limits() };
    let (error, events) = refused(&host, &limits, &restart());
    assert!(matches!(error, TransportError::TooMuch { request: "restart", .. }), "{error}");
    assert_eq!(events, 1000);
    let said = error.to_string();
    for part in ["web-1", "`restart`", "more than 1000 events", "compromised"] {
        assert!(said.contains(part), "{part} is not in: {said}");
    }
}

#[test]
fn few_but_long_events_end_as_well() {
    let host = Host::new("while cat event; do :; done");
    host.event(&progress(&"x".repeat(1 << 20)), 1);
    let limits = Limits { bytes: 8 << 20, activation: SOON, ..limits() };
    let (error, events) = refused(&host, &limits, &restart());
    assert!(error.to_string().contains("more than 8388608 bytes"), "{error}");
    assert!(events < 8, "{events}");
}

#[test]
fn a_host_that_does_not_answer_is_given_up() {
    let host = Host::new("exec sleep 600");
    for (request, name) in [(Request::Generations, "generations"), (restart(), "restart")] {
        let (error, _) = refused(&host, &limits(), &request);
        assert!(matches!(&error, TransportError::Silent { host, .. } if host == "web-1"), "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn a_host_that_trickles_is_given_up() {
    // There is never silence: five limits of 300 ms are the whole.
    let host = Host::new("while cat event; do sleep 0.05; done");
    host.event(&progress("x"), 1);
    let (error, _) = refused(&host, &limits(), &Request::Status);
    assert!(matches!(&error, TransportError::TooLong { .. }), "{error}");
    assert!(error.to_string().contains("`status`"), "{error}");
}

#[test]
fn an_answer_that_is_too_large_is_not_read() {
    // It claims 4 GiB, of which nothing is allocated.
    let host = Host::new("printf '\\377\\377\\377\\377\\004'; exec sleep 600");
    let (error, _) = refused(&host, &limits(), &Request::Status);
    assert!(matches!(&error, TransportError::Protocol { .. }), "{error}");
    assert!(error.to_string().contains("4294967295 bytes"), "{error}");
}

#[test]
fn more_lines_than_were_asked_for_are_refused() {
    let host = Host::new("while cat event; do :; done");
    let line = LogLine { at: 0, unit: "cairn-api-0123456789ab-1.service".into(), priority: None, message: "x".into() };
    host.event(&Event::Log(line), 100);
    let logs = |lines| Request::Logs(LogRequest { service: "api".into(), lines, ..LogRequest::default() });
    let limits = Limits { log_lines: 500, work: SOON, ..limits() };
    let (error, lines) = refused(&host, &limits, &logs(Some(150)));
    assert_eq!(lines, 150);
    assert!(error.to_string().contains("more than 150 lines"), "{error}");
    // Without a number the message says how to narrow it.
    let (error, lines) = refused(&host, &limits, &logs(None));
    assert_eq!(lines, 500);
    assert!(error.to_string().contains("`-n 1000`") && error.to_string().contains("--since"), "{error}");
}

#[test]
fn the_clients_own_time_does_not_count() {
    let host = Host::new("cat event answer; exec sleep 600");
    host.event(&progress("x"), 2);
    let report = cairn_protocol::RestartReport { restarted: Vec::new(), problem: None };
    host.answer(&Response::Restarted(report));
    let answer = host.session(&Limits { activation: Duration::from_millis(500), ..limits() }).request(
        &restart(),
        // A reader that is slower than the host's limit of silence; both take less than the whole.
        &mut |_| std::thread::sleep(Duration::from_millis(700)),
    );
    assert!(matches!(answer, Ok(Response::Restarted(_))), "{answer:?}");
}

#[test]
fn a_slow_host_that_keeps_within_its_limits_is_waited_for() {
    let host = Host::new("sleep 0.5; cat event; sleep 0.5; cat answer; exec sleep 600");
    host.event(&progress("x"), 1);
    let report = cairn_protocol::RestartReport { restarted: Vec::new(), problem: None };
    host.answer(&Response::Restarted(report));
    // A question would be over; an activation may take its time.
    let limits = Limits { activation: SOON, ..limits() };
    assert!(host.session(&limits).request(&restart(), &mut |_| ()).is_ok());
}

#[test]
fn an_endless_list_of_what_is_lacking_ends_the_copy() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("root")).unwrap();
    let build = store.build_dir().unwrap();
    let tree = build.path().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("file"), "content").unwrap();
    let name = cairn_formats::StoreName::parse("thing").unwrap();
    let info = store.add_output(&tree, &name, &std::collections::BTreeSet::new()).unwrap();

    let host = Host::new("while cat data; do :; done");
    let mut data = Vec::new();
    frame::write(&mut data, Kind::Data, &[0; 1000]).unwrap();
    fs::write(host.file("data"), data).unwrap();
    let start = Instant::now();
    let mut session = host.session(&Limits { copy: SOON, ..Limits::default() });
    let error = copy_closure(&mut session, &store, &[info.path], &()).unwrap_err();
    assert!(matches!(&error, TransportError::Protocol { .. }), "{error}");
    drop(session);
    assert!(start.elapsed() < SOON);
}
