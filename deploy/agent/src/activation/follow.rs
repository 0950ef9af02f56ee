//! Follows the event file of an activation while it is written.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::thread;
use std::time::{Duration, Instant};

use cairn_protocol::{ActivationEvent, ActivationId, Stamped};

use super::record::Record;
use crate::error::{AgentError, Fault, Result, file};
use crate::paths::Paths;
use crate::systemd;

const PAUSE: Duration = Duration::from_millis(10);
/// How long nothing may come before we look whether anybody still writes.
const SILENCE: Duration = Duration::from_secs(3);

/// The events of one activation, from the first.
pub struct Follower {
    id: ActivationId,
    reader: BufReader<File>,
    path: std::path::PathBuf,
    partial: String,
    ended: bool,
}

impl Follower {
    pub fn open(paths: &Paths, id: &ActivationId) -> Result<Self> {
        let path = paths.activation(id).join("events.jsonl");
        let opened = match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(AgentError::NoSuchActivation(id.clone()));
            }
            other => other.map_err(file("cannot read", &path))?,
        };
        Ok(Self { id: id.clone(), reader: BufReader::new(opened), path, partial: String::new(), ended: false })
    }

    /// `None` after the last.
    fn next_event(&mut self) -> Result<Option<Stamped>> {
        let mut since = Instant::now();
        while !self.ended {
            if let Some(stamped) = self.poll()? {
                return Ok(Some(stamped));
            }
            if since.elapsed() >= SILENCE {
                self.expect_a_writer()?;
                since = Instant::now();
            }
            thread::sleep(PAUSE);
        }
        Ok(None)
    }

    /// The next event, if it is there.
    fn poll(&mut self) -> Result<Option<Stamped>> {
        self.reader.read_line(&mut self.partial).map_err(file("cannot read", &self.path))?;
        if !self.partial.ends_with('\n') {
            return Ok(None);
        }
        let stamped: Stamped = serde_json::from_str(&self.partial)
            .map_err(|e| AgentError::Content { path: self.path.clone(), reason: e.to_string() })?;
        self.partial.clear();
        self.ended = matches!(stamped.event, ActivationEvent::Ended { .. });
        Ok(Some(stamped))
    }

    /// Silence is fine as long as the activation's unit lives; one whose revert was killed as
    /// well would keep us waiting for ever.
    fn expect_a_writer(&mut self) -> Result<()> {
        let unit = Record::unit(&self.id);
        if systemd::is_live(&unit)? {
            return Ok(());
        }
        Err(Fault {
            message: format!("activation {} was killed and so was its revert", self.id),
            advice: Some("switch again: that settles it first".to_owned()),
            log: systemd::last_lines(&unit, 20),
            unit: Some(unit),
            ..Fault::default()
        }
        .into())
    }
}

/// Waits for each event. After an error there is none.
impl Iterator for Follower {
    type Item = Result<Stamped>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_event().transpose();
        self.ended |= matches!(next, Some(Err(_)));
        next
    }
}
