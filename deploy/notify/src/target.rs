//! Somebody who is told, and how each document reaches them.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Instant;

use cairn_recipe::notify::{NotifyKind, Occasion};
use ureq::Agent;

use crate::document::{Document, Event, Verdict};
use crate::{PATIENCE, post, signature, slack};

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(String);

impl Hidden {
    pub const fn new(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden")
    }
}

/// Where documents go.
#[derive(Debug, Clone)]
pub struct Target {
    /// For messages, without anything secret.
    pub label: String,
    pub kind: NotifyKind,
    /// Else why the address, or the key, is not known.
    pub address: Result<Hidden, String>,
    pub signing_key: Option<Hidden>,
    pub on: Vec<Occasion>,
}

impl Target {
    /// `number` is that of the entry in `deploy.toml`, from 1.
    pub fn label(number: usize, kind: NotifyKind, url: Option<&Hidden>) -> String {
        let at = url.and_then(|url| origin(&url.0)).map(|origin| format!(" at {origin}")).unwrap_or_default();
        format!("[[notify]] {number}, {}{at}", kind.word())
    }

    fn wants(&self, event: &Event) -> bool {
        let occasion = match event {
            Event::Started { .. } => Occasion::Start,
            Event::Interrupted { .. } => Occasion::Interrupted,
            Event::Ended { outcome: Verdict::Success, .. } => Occasion::Success,
            Event::Ended { outcome: Verdict::Revert, .. } => Occasion::Revert,
            Event::Ended { outcome: Verdict::Failure, .. } => Occasion::Failure,
            Event::Test { .. } => return true,
            _ => return false,
        };
        self.on.contains(&occasion)
    }

    fn deliver(&self, agent: &Agent, document: &Document) -> Result<(), String> {
        let url = self.address.as_ref().map_err(Clone::clone)?;
        let failed = |error: serde_json::Error| error.to_string();
        let mut headers = vec![("content-type", "application/json".to_owned())];
        let body = match self.kind {
            NotifyKind::Slack => serde_json::to_vec(&slack::message(document)).map_err(failed)?,
            NotifyKind::Webhook => {
                let body = document.json().map_err(failed)?.into_bytes();
                headers.push(("x-cairn-event", document.event.name().to_owned()));
                headers.push(("x-cairn-delivery", format!("{}-{}", document.run, document.number)));
                if let Some(key) = &self.signing_key {
                    headers.push(("x-cairn-signature-256", signature(key.0.as_bytes(), &body)));
                }
                body
            }
        };
        post::deliver(agent, &url.0, &headers, &body, Instant::now() + PATIENCE)
    }
}

/// `https://host:port` of a URL; what follows, and what comes before an `@`, may be secret.
fn origin(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    let host = authority.rsplit('@').next().filter(|host| !host.is_empty())?;
    Some(format!("{scheme}://{host}"))
}

/// A target with the thread that sends to it.
pub(crate) struct Worker {
    target: Arc<Target>,
    documents: Sender<Arc<Document>>,
    /// Documents whose result is to come.
    sent: usize,
    results: Receiver<(&'static str, Result<(), String>)>,
}

impl Worker {
    pub fn start(target: Target) -> Self {
        let target = Arc::new(target);
        let (documents, received) = mpsc::channel::<Arc<Document>>();
        let (told, results) = mpsc::channel();
        let own = target.clone();
        thread::spawn(move || {
            let agent = post::agent();
            for document in received {
                // Nobody waits for it any more when this fails.
                let _ = told.send((document.event.name(), own.deliver(&agent, &document)));
            }
        });
        Self { target, documents, sent: 0, results }
    }

    pub fn send(&mut self, document: &Arc<Document>) {
        if self.target.wants(&document.event) {
            // The thread lives as long as this.
            let _ = self.documents.send(document.clone());
            self.sent += 1;
        }
    }

    /// Waits until all is sent; tells what was not, and why.
    pub fn finish(self, deadline: Instant) -> Vec<String> {
        drop(self.documents);
        let label = &self.target.label;
        let mut failures: Vec<String> = Vec::new();
        for _ in 0..self.sent {
            match self.results.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok((_, Ok(()))) => {}
                Ok((event, Err(why))) => failures.push(format!("{label}: `{event}` was not delivered: {why}")),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    failures.push(format!("{label}: not everything was delivered within {} s", PATIENCE.as_secs()));
                    break;
                }
            }
        }
        failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_names_the_server_and_nothing_secret() {
        for (url, wanted) in [
            ("https://hooks.slack.com/services/T0/B0/sesame", "https://hooks.slack.com"),
            ("http://user:sesame@ci.example:8080?sesame", "http://ci.example:8080"),
            ("https://ci.example#sesame", "https://ci.example"),
        ] {
            let url = Hidden::new(url.to_owned());
            let label = Target::label(2, NotifyKind::Webhook, Some(&url));
            assert_eq!(label, format!("[[notify]] 2, webhook at {wanted}"));
            assert!(!format!("{url:?}").contains("sesame"));
        }
        assert_eq!(Target::label(1, NotifyKind::Slack, None), "[[notify]] 1, slack");
    }
}
