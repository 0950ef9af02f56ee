//! What people see. Results on standard output; progress, plans and errors on standard error.
//! On a terminal progress is drawn in place; in a pipe it is plain lines.

mod build;
mod difference;
mod findings;
mod hosts;
mod screen;
mod summary;
mod table;

use std::io::IsTerminal as _;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::interrupt;
use crate::terminal::{self, Stream, hanging};

pub use build::{BuildProgress, size};
pub use difference::{contents, needs, services};
pub use findings::{count, findings};
pub use hosts::{HostProgress, plan, problem};
pub use summary::{outcome, summary};
pub use table::table;

/// How this run talks.
#[derive(Debug, Clone, Copy)]
pub struct Display {
    pub json: bool,
    quiet: bool,
    terminal: bool,
}

impl Display {
    pub fn new(json: bool, quiet: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
        Self { json, quiet, terminal: Stream::Err.is_terminal() && !dumb }
    }

    /// Progress of one target's build.
    pub fn build(&self, what: &str) -> BuildProgress {
        BuildProgress::new(what, self.quiet, self.terminal)
    }

    /// Progress of hosts, all at once.
    pub fn hosts(&self) -> HostProgress {
        HostProgress::new(self.quiet, self.terminal)
    }

    /// Prints a result: `value` with `--json`, else `text`.
    pub fn result(&self, value: &impl serde::Serialize, text: impl FnOnce() -> String) -> anyhow::Result<()> {
        if self.json {
            terminal::json(value)?;
            return Ok(());
        }
        let text = text();
        if !text.is_empty() {
            terminal::result(text.trim_end())?;
        }
        Ok(())
    }

    /// A line about what is going on.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            terminal::say(text);
        }
    }

    /// Something that went wrong and changes nothing: said also when there is no progress.
    pub fn warn(&self, text: &str) {
        terminal::say(format!("warning: {}", hanging(text)));
    }

    /// Asks on the terminal. Without one nobody can answer: `None`.
    pub fn ask(&self, question: &str) -> Option<bool> {
        if !std::io::stdin().is_terminal() || !self.terminal {
            return None;
        }
        terminal::prompt(format!("{question} [y/N] "));
        // In a thread, so that Ctrl-C is an answer as well.
        let (sender, answers) = mpsc::channel();
        thread::spawn(move || {
            let mut answer = String::new();
            let read = std::io::stdin().read_line(&mut answer);
            sender.send(read.map(|_| answer))
        });
        loop {
            match answers.recv_timeout(Duration::from_millis(100)) {
                Ok(answer) => return Some(matches!(answer.ok()?.trim().to_lowercase().as_str(), "y" | "yes")),
                Err(RecvTimeoutError::Timeout) if !interrupt::came() => {}
                Err(_) => return Some(false),
            }
        }
    }
}

/// An error with its causes, the way all of them are shown.
pub fn error(error: &anyhow::Error) {
    failure(error);
    let mut last = error.to_string();
    for cause in error.chain().skip(1) {
        let text = cause.to_string();
        // Some errors repeat their cause in their own text.
        if !last.contains(&text) {
            terminal::say(format!("  because: {}", hanging(&text)));
        }
        last = text;
    }
}

/// An error without its causes, or one of several.
pub fn failure(error: &impl std::fmt::Display) {
    terminal::say(format!("error: {}", hanging(&error.to_string())));
}

#[cfg(test)]
mod tests;
