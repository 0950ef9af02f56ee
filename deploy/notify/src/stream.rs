//! `--events FILE`: every document, one a line.
//!
//! Lines are appended by a thread of their own, so that a reader who has stopped reading holds up
//! nothing; one who has gone is told at the end.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Instant;

use crate::Document;

#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error(
        "--events -: standard output is for the result\n  help: name a file, a FIFO or a descriptor: `--events /dev/fd/3 3>events.jsonl`"
    )]
    StandardOutput,
    #[error("--events: cannot write {}: {source}\n  help: name a file in a folder that exists, a FIFO, or a descriptor such as /dev/fd/3", file.display())]
    Open { file: PathBuf, source: std::io::Error },
}

/// A file, a FIFO or a descriptor that takes lines.
pub struct Stream {
    file: PathBuf,
    lines: Sender<Vec<u8>>,
    /// Disconnected when all is written; else why not.
    ended: Receiver<String>,
}

impl Stream {
    /// Lines go to the end of a file that is there. A FIFO opens when somebody reads it: `waits` is
    /// called before that.
    pub fn open(file: &Path, waits: impl FnOnce()) -> Result<Self, StreamError> {
        if file == Path::new("-") {
            return Err(StreamError::StandardOutput);
        }
        if fs::metadata(file).is_ok_and(|meta| meta.file_type().is_fifo()) && !file.starts_with("/dev/fd") {
            waits();
        }
        let opened = OpenOptions::new().append(true).create(true).open(file);
        let out = opened.map_err(|source| StreamError::Open { file: file.to_owned(), source })?;
        let (lines, received) = mpsc::channel();
        let (told, ended) = mpsc::channel();
        thread::spawn(move || {
            if let Err(error) = write(out, &received) {
                // Whoever opened it has waited long enough.
                let _ = told.send(error.to_string());
            }
        });
        Ok(Self { file: file.to_owned(), lines, ended })
    }

    pub(crate) fn send(&self, document: &Document) {
        if let Ok(line) = document.json() {
            // A thread that has ended has told why.
            let _ = self.lines.send(format!("{line}\n").into_bytes());
        }
    }

    /// Waits until all is written; gives what went wrong.
    pub(crate) fn finish(self, deadline: Instant) -> Option<String> {
        drop(self.lines);
        let why = match self.ended.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => "whoever reads it has stopped reading".to_owned(),
            Ok(error) => error,
        };
        Some(format!("--events {}: not all events were written: {why}", self.file.display()))
    }
}

fn write(mut out: File, lines: &Receiver<Vec<u8>>) -> std::io::Result<()> {
    lines.iter().try_for_each(|line| out.write_all(&line))
}
