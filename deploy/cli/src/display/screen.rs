//! A terminal while hosts are worked on: a line for each of them, and above them what stays.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

#[derive(Debug, Clone, Default)]
pub struct Screen {
    bars: MultiProgress,
    hosts: Arc<Mutex<BTreeMap<String, ProgressBar>>>,
}

impl Screen {
    /// What a host is at.
    pub fn now(&self, host: &str, text: &str) {
        let Ok(mut hosts) = self.hosts.lock() else { return };
        let bar = hosts.entry(host.to_owned()).or_insert_with(|| {
            let bar = self.bars.add(ProgressBar::no_length());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix}: {wide_msg}") {
                bar.set_style(style);
            }
            bar.set_prefix(host.to_owned());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        bar.set_message(text.to_owned());
    }

    /// A host's line goes; one that stays takes its place.
    pub fn ended(&self, host: &str, text: &str) {
        self.done(host);
        self.keep(&format!("{host}: {text}"));
    }

    /// A host's line goes.
    pub fn done(&self, host: &str) {
        if let Ok(mut hosts) = self.hosts.lock()
            && let Some(bar) = hosts.remove(host)
        {
            bar.finish_and_clear();
        }
    }

    pub fn keep(&self, text: &str) {
        self.bars.suspend(|| eprintln!("{text}"));
    }

    /// The lines of hosts are away as long as `talk` runs.
    pub fn aside<T>(&self, talk: impl FnOnce() -> T) -> T {
        self.bars.suspend(talk)
    }

    /// All lines of hosts go.
    pub fn clear(&self) {
        if let Ok(mut hosts) = self.hosts.lock() {
            std::mem::take(&mut *hosts).into_values().for_each(|bar| bar.finish_and_clear());
        }
    }
}
