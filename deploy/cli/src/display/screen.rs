//! A terminal while hosts are worked on: a line for each of them, and above them what stays.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::terminal::{self, Bar, Bars};

#[derive(Debug, Clone, Default)]
pub struct Screen {
    bars: Bars,
    hosts: Arc<Mutex<BTreeMap<String, Bar>>>,
}

impl Screen {
    /// What a host is at.
    pub fn now(&self, host: &str, text: &str) {
        let Ok(mut hosts) = self.hosts.lock() else { return };
        hosts.entry(host.to_owned()).or_insert_with(|| self.bars.add(host)).set(text);
    }

    /// A host's line goes; one that stays takes its place.
    pub fn ended(&self, host: &str, text: &str) {
        self.done(host);
        self.keep(&by_host(host, text));
    }

    /// A host's line goes.
    pub fn done(&self, host: &str) {
        if let Ok(mut hosts) = self.hosts.lock()
            && let Some(bar) = hosts.remove(host)
        {
            bar.finish();
        }
    }

    pub fn keep(&self, text: &str) {
        self.bars.aside(|| terminal::say(text));
    }

    /// The lines of hosts are away as long as `talk` runs.
    pub fn aside<T>(&self, talk: impl FnOnce() -> T) -> T {
        self.bars.aside(talk)
    }

    /// What is drawn for hosts now.
    #[cfg(test)]
    pub fn drawn(&self) -> String {
        self.hosts.lock().map(|hosts| hosts.values().map(Bar::drawn).collect()).unwrap_or_default()
    }

    /// All lines of hosts go.
    pub fn clear(&self) {
        if let Ok(mut hosts) = self.hosts.lock() {
            std::mem::take(&mut *hosts).into_values().for_each(|bar| bar.finish());
        }
    }
}

/// Each line with the host's name in front, so that no host speaks for another one.
pub fn by_host(host: &str, text: &str) -> String {
    text.split('\n').map(|line| format!("{host}: {line}")).collect::<Vec<_>>().join("\n")
}
