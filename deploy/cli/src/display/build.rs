//! A build as it goes: what is fetched, which step runs.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use cairn_realise::Event;

use crate::terminal::{self, Bar};

/// Shows the events of one build.
pub struct BuildProgress {
    what: String,
    quiet: bool,
    bar: Option<Bar>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    steps: usize,
    done: usize,
    fetch_bytes: u64,
    fetched: u64,
    running: BTreeMap<String, ()>,
}

impl BuildProgress {
    pub fn new(what: &str, quiet: bool, terminal: bool) -> Self {
        let bar = (terminal && !quiet).then(Bar::alone);
        Self { what: what.to_owned(), quiet, bar, state: Mutex::default() }
    }

    pub fn on(&self, event: &Event) {
        let Ok(mut state) = self.state.lock() else { return };
        match event {
            Event::Planned { fetches, fetch_bytes, steps } => {
                state.steps = *steps;
                state.fetch_bytes = *fetch_bytes;
                let fetch = match fetches {
                    0 => String::new(),
                    n => format!(", {n} to fetch ({})", size(*fetch_bytes)),
                };
                self.line(&format!("{}: {steps} steps to run{fetch}", self.what));
                if let Some(bar) = &self.bar {
                    bar.start();
                }
            }
            // Also in a quiet run: what is built is less trustworthy.
            Event::WeakSandbox { reason } => self.warn(&format!(
                "steps run in a weak sandbox, without a user namespace: the system makes none ({reason})"
            )),
            Event::FetchAdvanced { bytes, .. } => state.fetched += bytes,
            Event::FetchFinished { file } => self.detail(&format!("fetched {file}")),
            Event::StepStarted { name } => {
                state.running.insert((*name).to_owned(), ());
            }
            Event::StepFinished { name, took, .. } => {
                state.running.remove(*name);
                state.done += 1;
                if *took > Duration::from_secs(1) {
                    self.detail(&format!("{name} took {:.1} s", took.as_secs_f64()));
                }
            }
            Event::FetchStarted { .. } => {}
        }
        if let Some(bar) = &self.bar {
            let mut parts = vec![format!("{} {}/{} steps", self.what, state.done, state.steps)];
            if state.fetch_bytes > 0 && state.fetched < state.fetch_bytes {
                parts.push(format!("{} of {}", size(state.fetched), size(state.fetch_bytes)));
            }
            let running: Vec<&str> = state.running.keys().map(String::as_str).take(3).collect();
            parts.push(running.join(", "));
            bar.set(&parts.join("  "));
        }
    }

    fn line(&self, text: &str) {
        match (&self.bar, self.quiet) {
            (_, true) => {}
            (Some(bar), _) => bar.keep(text),
            (None, _) => terminal::say(text),
        }
    }

    fn warn(&self, text: &str) {
        let line = format!("warning: {text}");
        match &self.bar {
            Some(bar) => bar.keep(line),
            None => terminal::say(line),
        }
    }

    /// Only where lines are kept: in a pipe or a log.
    fn detail(&self, text: &str) {
        if self.bar.is_none() && !self.quiet {
            terminal::say(format!("  {text}"));
        }
    }
}

impl Drop for BuildProgress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish();
        }
    }
}

/// Bytes for people, in powers of 1024.
pub fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", units[unit]) }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_read_well() {
        for (bytes, wanted) in
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (65 << 20, "65.0 MiB"), (3 << 29, "1.5 GiB")]
        {
            assert_eq!(size(bytes), wanted);
        }
    }
}
