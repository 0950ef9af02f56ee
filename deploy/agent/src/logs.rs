//! The journal of a service's units, by `journalctl`, as it is or as it comes.
//!
//! An instance's name is part of its units' names, so a service that is replaced goes on under
//! others. `journalctl --unit=PATTERN` looks for the names once, when it starts; whoever follows
//! would miss those that come later. So what was written before is read by pattern, and what comes
//! is read unfiltered and picked here.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::fd::AsFd as _;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use cairn_closure::{ServiceName, UnitName};
use cairn_protocol::{LogLine, LogRequest};
use serde_json::{Map, Value};

use crate::error::{AgentError, Result};
use crate::paths::Paths;
use crate::process::run;
use crate::{manifests, systemd};

const FIELDS: &str = "--output-fields=MESSAGE,PRIORITY,_PID,_SYSTEMD_UNIT,UNIT";

/// The lines that a request asks for, each as soon as it is there.
pub struct Lines {
    service: ServiceName,
    /// What `journalctl` is called with, one after the other.
    calls: Vec<Vec<String>>,
    running: Option<Running>,
    watched: bool,
    /// `journalctl` gives the last of the lines that match a pattern in the wrong order.
    sorts: bool,
    sorted: VecDeque<LogLine>,
}

struct Running {
    command: String,
    child: Arc<Mutex<Child>>,
    from: BufReader<ChildStdout>,
}

/// Finds the service, which the live generation must have.
pub fn lines(paths: &Paths, request: &LogRequest) -> Result<Lines> {
    let (_, service) = manifests::live_service(paths, &request.service)?;
    // The journal takes in lines a little later than they are written.
    run("journalctl", &["--sync"])?;
    let mut calls = calls(&service, request, &systemd::now());
    calls.reverse();
    let sorts = request.lines.is_some() && request.grep.is_some();
    Ok(Lines { service, calls, running: None, watched: request.follow, sorts, sorted: VecDeque::new() })
}

fn calls(service: &ServiceName, request: &LogRequest, now: &str) -> Vec<Vec<String>> {
    let fixed = ["--quiet", "--no-pager", "--all", "--output=json", FIELDS].map(str::to_owned);
    let grep = request.grep.iter().map(|pattern| format!("--grep={pattern}"));
    let mut before: Vec<String> = fixed.iter().cloned().chain(grep.clone()).collect();
    before.push(format!("--unit=cairn-{service}-{}-*", "[0-9a-f]".repeat(12)));
    before.extend(request.lines.map(|lines| format!("--lines={lines}")));
    before.extend(request.since.iter().map(|since| format!("--since={since}")));
    if !request.follow {
        return vec![before];
    }
    before.push(format!("--until={now}"));
    let mut coming: Vec<String> = fixed.into_iter().chain(grep).collect();
    coming.extend(["--follow".to_owned(), "--no-tail".to_owned(), format!("--since={now}")]);
    vec![before, coming]
}

impl Lines {
    fn next_line(&mut self) -> Result<Option<LogLine>> {
        if std::mem::take(&mut self.sorts) {
            let last = self.calls.len().saturating_sub(1);
            while let Some(line) = self.read_line(last)? {
                self.sorted.push_back(line);
            }
            if self.sorted.front().map(|line| line.at) > self.sorted.back().map(|line| line.at) {
                self.sorted.make_contiguous().reverse();
            }
        }
        match self.sorted.pop_front() {
            Some(line) => Ok(Some(line)),
            None => self.read_line(0),
        }
    }

    /// The next line, if one comes before no more than `left` calls are left.
    fn read_line(&mut self, left: usize) -> Result<Option<LogLine>> {
        loop {
            let Some(running) = &mut self.running else {
                if self.calls.len() <= left {
                    return Ok(None);
                }
                let Some(arguments) = self.calls.pop() else { return Ok(None) };
                self.running = Some(start(&arguments, self.watched && self.calls.is_empty())?);
                continue;
            };
            let mut line = String::new();
            let read = running.from.read_line(&mut line);
            if read.map_err(|source| AgentError::Spawn { command: running.command.clone(), source })? == 0 {
                let running = self.running.take();
                running.map_or(Ok(()), |mut running| running.end(self.watched && self.calls.is_empty()))?;
                continue;
            }
            let wanted = |found: &LogLine| {
                UnitName::parse(&found.unit).ok().and_then(|unit| unit.service()).as_ref() == Some(&self.service)
            };
            // Most of what others write is not even parsed.
            if line.contains("\"cairn-")
                && let Some(found) = parse(&line).filter(wanted)
            {
                return Ok(Some(found));
            }
        }
    }
}

/// After an error there is none.
impl Iterator for Lines {
    type Item = Result<LogLine>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_line().transpose();
        if matches!(next, Some(Err(_))) {
            self.calls.clear();
            self.running = None;
        }
        next
    }
}

fn start(arguments: &[String], watched: bool) -> Result<Running> {
    let command = format!("journalctl {}", arguments.join(" "));
    let spawn = |source| AgentError::Spawn { command: command.clone(), source };
    let mut child = Command::new("journalctl")
        .args(arguments)
        .env("LC_ALL", "C")
        .env("SYSTEMD_COLORS", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(spawn)?;
    let from = child.stdout.take().ok_or_else(|| spawn(std::io::ErrorKind::BrokenPipe.into()))?;
    let child = Arc::new(Mutex::new(child));
    if watched {
        end_with_the_client(Arc::clone(&child)).map_err(spawn)?;
    }
    Ok(Running { command, child, from: BufReader::new(from) })
}

/// Nobody writes while nothing is logged, and so nobody would see that the client is gone. It says
/// nothing while it follows; what comes from it is the end.
fn end_with_the_client(child: Arc<Mutex<Child>>) -> std::io::Result<()> {
    // A handle of its own, since the conversation holds the lock of the other one.
    let mut input = File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    thread::spawn(move || {
        let _ = input.read(&mut [0]);
        let _ = child.lock().unwrap_or_else(PoisonError::into_inner).kill();
    });
    Ok(())
}

impl Running {
    /// Waits for the process that has closed its output. One that was `watched` ends by our hand.
    fn end(&mut self, watched: bool) -> Result<()> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stderr = String::new();
        if let Some(mut from) = child.stderr.take() {
            let _ = from.read_to_string(&mut stderr);
        }
        let spawn = |source| AgentError::Spawn { command: self.command.clone(), source };
        let status = child.wait().map_err(spawn)?;
        // It ends with 1 if no line was found, and then says nothing.
        if status.success() || watched || stderr.trim().is_empty() {
            return Ok(());
        }
        let stderr = stderr.trim().to_owned();
        Err(AgentError::Command { command: self.command.clone(), status: status.to_string(), stderr })
    }
}

/// Nothing of it stays on the host, whatever ends the conversation.
impl Drop for Running {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// An entry as `--output=json` writes it: every value is text, unless it is not UTF-8, when it is a
/// list of bytes, or is there several times, when it is a list of these.
pub(crate) fn parse(line: &str) -> Option<LogLine> {
    let entry: Map<String, Value> = serde_json::from_str(line).ok()?;
    let field = |name: &str| text(entry.get(name)?);
    // What systemd says of a unit names it in a field of its own.
    let unit = if field("_PID").as_deref() == Some("1") { field("UNIT") } else { None };
    Some(LogLine {
        at: field("__REALTIME_TIMESTAMP")?.parse().ok()?,
        unit: unit.or_else(|| field("_SYSTEMD_UNIT"))?,
        priority: field("PRIORITY").and_then(|priority| priority.parse().ok()),
        message: field("MESSAGE").unwrap_or_default(),
    })
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(values) => {
            let byte = |value: &Value| value.as_u64().and_then(|byte| u8::try_from(byte).ok());
            match values.iter().map(byte).collect::<Option<Vec<u8>>>() {
                Some(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
                None => text(values.first()?),
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn entries_of_the_journal_are_read() {
        let unit = "cairn-api-0123456789ab-1.service";
        for (entry, at, owner, message) in [
            (
                format!(r#"{{"__REALTIME_TIMESTAMP":"17","MESSAGE":"hi","_SYSTEMD_UNIT":"{unit}","PRIORITY":"6"}}"#),
                17,
                unit,
                "hi",
            ),
            (
                format!(
                    r#"{{"__REALTIME_TIMESTAMP":"18","MESSAGE":[104,255],"_PID":"1","UNIT":"{unit}","_SYSTEMD_UNIT":"init.scope"}}"#
                ),
                18,
                unit,
                "h\u{fffd}",
            ),
            (format!(r#"{{"__REALTIME_TIMESTAMP":"19","MESSAGE":["a","b"],"_SYSTEMD_UNIT":"{unit}"}}"#), 19, unit, "a"),
            // Only systemd is believed when it speaks of another unit.
            (
                format!(
                    r#"{{"__REALTIME_TIMESTAMP":"20","MESSAGE":null,"UNIT":"{unit}","_SYSTEMD_UNIT":"x.service","_PID":"7"}}"#
                ),
                20,
                "x.service",
                "",
            ),
        ] {
            let line = parse(&entry).unwrap();
            assert_eq!((line.at, line.unit.as_str(), line.message.as_str()), (at, owner, message));
        }
        assert_eq!(parse("{}"), None);
        assert_eq!(parse("-- No entries --"), None);
    }

    #[test]
    fn what_comes_is_read_from_where_what_was_there_ends() {
        let api = ServiceName::parse("api").unwrap();
        let request =
            LogRequest { lines: Some(5), follow: true, grep: Some("-x y".to_owned()), ..LogRequest::default() };
        let calls = calls(&api, &request, "@1.5");
        let [before, coming] = &calls[..] else { panic!("{calls:?}") };
        assert!(before.contains(&"--lines=5".to_owned()) && before.contains(&"--until=@1.5".to_owned()));
        assert!(coming.contains(&"--since=@1.5".to_owned()) && coming.contains(&"--follow".to_owned()));
        for call in &calls {
            assert!(call.contains(&"--grep=-x y".to_owned()), "one word, whatever it holds");
        }
        let all = super::calls(&api, &LogRequest::default(), "@1.5");
        assert_eq!(all.len(), 1);
        assert!(!all[0].iter().any(|word| word.starts_with("--lines") || word.starts_with("--until")));
    }
}
