//! One run, told to everybody who listens.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use cairn_fleet::HostReport;

use crate::PATIENCE;
use crate::document::{Document, Event, Facts, HostOutcome, Member, VERSION, Verdict, new_run, now};
use crate::stream::Stream;
use crate::target::{Target, Worker};

/// Hands on what happens in a run.
pub struct Announcer {
    run: String,
    facts: Facts,
    hosts: Vec<Member>,
    start: Instant,
    /// Somebody has agreed to the run, so that people are told of it.
    public: AtomicBool,
    /// Under one lock, so that numbers come in their order.
    listeners: Mutex<Listeners>,
}

struct Listeners {
    number: u64,
    stream: Option<Stream>,
    workers: Vec<Worker>,
}

impl Announcer {
    pub fn new(facts: Facts, hosts: Vec<Member>, stream: Option<Stream>, targets: Vec<Target>) -> Self {
        let workers = targets.into_iter().map(Worker::start).collect();
        Self {
            run: new_run(),
            facts,
            hosts,
            start: Instant::now(),
            public: AtomicBool::new(false),
            listeners: Mutex::new(Listeners { number: 0, stream, workers }),
        }
    }

    /// The first event of the stream.
    pub fn started(&self) {
        self.listeners().stream(self, &self.begin());
    }

    /// From now on it is for people, too: they are told that it has started. Once is enough.
    pub fn agreed(&self) {
        if !self.public.swap(true, Ordering::SeqCst) {
            let event = self.begin();
            self.listeners().people(self, event);
        }
    }

    /// Something happened on a host.
    pub fn on(&self, event: &cairn_fleet::Event) {
        if let Some(event) = Event::of(event, |host| self.member(host)) {
            self.listeners().stream(self, &event);
        }
    }

    /// The operator has had enough.
    pub fn interrupted(&self) {
        self.everybody(Event::Interrupted { facts: self.facts.clone(), hosts: self.hosts.clone() });
    }

    /// The last event.
    pub fn ended(&self, reports: &[HostReport], exit_code: u8) {
        let hosts = reports.iter().map(|report| HostOutcome::of(report, self.member(&report.name))).collect();
        self.everybody(Event::Ended {
            facts: self.facts.clone(),
            outcome: Verdict::of(reports, exit_code),
            exit_code,
            seconds: self.start.elapsed().as_secs_f64(),
            hosts,
        });
    }

    /// To try whether everybody can be reached.
    pub fn test(&self) {
        self.public.store(true, Ordering::SeqCst);
        self.everybody(Event::Test { operator: self.facts.operator.clone() });
    }

    /// Waits for listeners, all together no longer than [`PATIENCE`]; gives what went wrong.
    pub fn finish(&self) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        let (stream, workers) = {
            let mut listeners = self.listeners();
            (listeners.stream.take(), std::mem::take(&mut listeners.workers))
        };
        let of_stream = stream.and_then(|stream| stream.finish(deadline));
        let mut all: Vec<String> = workers.into_iter().flat_map(|worker| worker.finish(deadline)).collect();
        all.extend(of_stream);
        all
    }

    fn begin(&self) -> Event {
        Event::Started { facts: self.facts.clone(), hosts: self.hosts.clone() }
    }

    fn everybody(&self, event: Event) {
        let mut listeners = self.listeners();
        listeners.stream(self, &event);
        if self.public.load(Ordering::SeqCst) {
            listeners.people(self, event);
        }
    }

    fn member(&self, host: &str) -> Member {
        let fleet = self.hosts.iter().find(|member| member.host == host).and_then(|member| member.fleet.clone());
        Member { host: host.to_owned(), fleet }
    }

    fn listeners(&self) -> MutexGuard<'_, Listeners> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listeners {
    fn stream(&mut self, of: &Announcer, event: &Event) {
        self.number += 1;
        if let Some(stream) = &self.stream {
            stream.send(&self.document(of, event.clone()));
        }
    }

    /// With the number of the event that the stream has told last.
    fn people(&mut self, of: &Announcer, event: Event) {
        let document = Arc::new(self.document(of, event));
        self.workers.iter_mut().for_each(|worker| worker.send(&document));
    }

    fn document(&self, of: &Announcer, event: Event) -> Document {
        Document { version: VERSION, run: of.run.clone(), number: self.number, time: now(), event }
    }
}
