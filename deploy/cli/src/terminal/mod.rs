//! The one way to standard output and standard error.
//!
//! Most of what this command shows was written elsewhere: by hosts and their services, mirrors, build
//! steps, definitions. Whatever passes here is made printable ([`cairn_formats::printable`]) first, all
//! of it, so that no command needs to know which of its texts are foreign. Styling is the only thing
//! that a terminal obeys, and it comes from [`Style`] alone.
//!
//! Three texts are handed over as they are, on purpose: what [`verbatim`] prints, and what `deploy ssh`
//! and `deploy exec` do, which give the terminal away to `ssh`.
//!
//! Nothing else in this crate writes: Clippy refuses `println!` and its kin, and the tests at the end of
//! this module look for other ways.

mod bars;
#[cfg(test)]
pub mod capture;
mod text;

use std::io::{self, IsTerminal as _, Write as _};

use cairn_formats::printable;

pub use bars::{Bar, Bars};
pub use text::{Style, Text, hanging};

/// Clears a terminal, and goes to its upper left corner (ECMA-48 ED and CUP).
const CLEAR: &str = "\x1b[2J\x1b[H";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Out,
    Err,
}

impl Stream {
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Out => io::stdout().is_terminal(),
            Self::Err => io::stderr().is_terminal(),
        }
    }

    fn write(self, bytes: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        if capture::took(self, bytes) {
            return Ok(());
        }
        match self {
            Self::Out => {
                let mut out = io::stdout().lock();
                out.write_all(bytes).and_then(|()| out.flush())
            }
            Self::Err => io::stderr().lock().write_all(bytes),
        }
    }
}

/// A result, on standard output. False if its reader has gone: it has seen enough.
pub fn result(text: impl Into<Text>) -> io::Result<bool> {
    read_on(Stream::Out.write(&text.into().into_line()))
}

/// A result as one line of JSON.
pub fn json(value: &impl serde::Serialize) -> anyhow::Result<bool> {
    let document = serde_json::to_string(value)?;
    Ok(read_on(Stream::Out.write(format!("{}\n", printable::json(&document)).as_bytes()))?)
}

fn read_on(written: io::Result<()>) -> io::Result<bool> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        other => other.map(|()| true),
    }
}

/// A line on standard error. Where nothing can be said, that cannot be said either.
pub fn say(text: impl Into<Text>) {
    let _ = Stream::Err.write(&text.into().into_line());
}

/// Asks on standard error: the answer follows on the same line.
pub fn prompt(text: impl Into<Text>) {
    let _ = Stream::Err.write(text.into().as_str().as_bytes());
}

/// Bytes that must arrive as they are: a secret that is revealed, and pages that other programs read
/// (completions, manual pages, templates of files). What is put on a terminal so has no foreign text.
pub fn verbatim(bytes: &[u8]) -> io::Result<()> {
    Stream::Out.write(bytes)
}

/// Clears the terminal that standard output is.
pub fn clear() -> io::Result<()> {
    Stream::Out.write(CLEAR.as_bytes())
}

/// What clap has to say instead of running a command: help in its own styling, or what is wrong with
/// the arguments, which may be names of files that somebody else has chosen.
pub fn usage<A: clap::CommandFactory>(error: &clap::Error) -> io::Result<()> {
    if !error.use_stderr() {
        let page = error.render();
        let page = if Stream::Out.is_terminal() { page.ansi().to_string() } else { page.to_string() };
        return verbatim(page.as_bytes());
    }
    // Styling and arguments cannot be told apart in the text, so there is none.
    let plain = A::command().styles(clap::builder::Styles::plain());
    prompt(match plain.try_get_matches() {
        Err(again) => again.render().ansi().to_string(),
        Ok(_) => error.render().to_string(),
    });
    Ok(())
}

/// For the log that `DEPLOY_LOG` asks for: on standard error, an event a line.
#[derive(Debug, Clone, Copy)]
pub struct Log;

impl io::Write for Log {
    /// The log's formatter hands over whole events.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        Stream::Err.write(printable::bytes(event).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
