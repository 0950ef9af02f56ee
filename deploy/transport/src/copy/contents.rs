//! File contents in one stream, one behind the other without anything between: the host knows
//! their order and sizes.
//!
//! The stream is compressed, and must never be slower for it. So it is a row of zstd frames of
//! [`SEGMENT`] bytes each, and each frame's level follows from the share of its time that the frame
//! before spent in waiting for the connection (`zstd --adapt` does the same). Measured with 150 MB
//! of Python and shared libraries on one busy core:
//!
//! | level | MB/s in | MB out |
//! |---|---|---|
//! | -5 | 449 | 80 |
//! | 1 | 301 | 57 |
//! | 3 | 116 | 50 |
//! | 6 | 60 | 47 |
//! | 9 | 37 | 45 |
//!
//! From 1 to 3 the bytes shrink by 11 % and the work grows by 160 %: worth it only when waiting
//! takes more than 15 times as long as compressing, which is so below 50 Mbit/s. From 1 to -5 the
//! bytes grow by 40 % and the work shrinks by a third: worth it when both take about as long, which
//! is so on a gigabit line. What is [`SMALL`] begins with level 3, which takes 10 ms more at most.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write};
use std::time::{Duration, Instant};

use super::CopyProgress;
use super::describe::{Content, Unreadable};
use crate::session::WriteFault;

/// Bytes of input to one zstd frame. Smaller frames adapt sooner and compress worse.
const SEGMENT: u64 = 8 << 20;

const LEVELS: [i32; 5] = [-5, 1, 3, 6, 9];
/// Bytes of input that are gone in no time, whatever the level.
const SMALL: u64 = 2 << 20;

/// Shares of time spent in waiting for the connection beyond which the level changes.
const WAITED_MUCH: f64 = 0.94;
const WAITED_LITTLE: f64 = 0.40;

/// Each content from the byte on that the host lacks; `total` is how many these are.
pub fn send<'a>(
    to: &mut dyn Write,
    contents: impl Iterator<Item = (&'a Content, u64)>,
    total: u64,
    progress: &dyn CopyProgress,
) -> Result<(), WriteFault> {
    let to = Some(Timed { below: to, waited: Duration::ZERO });
    let mut stream = Stream { to, segment: None, level: first_level(total) };
    let mut buffer = vec![0; 128 << 10];
    let mut sent = 0;
    for (content, from) in contents {
        let unreadable = |source| Unreadable { file: content.file.clone(), source }.into_fault();
        let mut file = File::open(&content.file).map_err(unreadable)?;
        if from > 0 {
            file.seek(SeekFrom::Start(from)).map_err(unreadable)?;
        }
        let mut left = content.size.saturating_sub(from);
        while left > 0 {
            let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let n = file.read(&mut buffer[..want]).map_err(unreadable)?;
            if n == 0 {
                let reason = format!("it ended {left} bytes before its end");
                return Err(unreadable(io::Error::new(io::ErrorKind::UnexpectedEof, reason)));
            }
            stream.write(&buffer[..n])?;
            left -= n as u64;
            sent += n as u64;
            progress.sent(sent);
        }
    }
    Ok(stream.finish()?)
}

/// Exactly one of `to` and `segment` is there.
struct Stream<W: Write> {
    to: Option<Timed<W>>,
    segment: Option<Segment<W>>,
    level: usize,
}

struct Segment<W: Write> {
    encoder: zstd::Encoder<'static, Timed<W>>,
    bytes: u64,
    began: Instant,
}

impl<W: Write> Stream<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(mut to) = self.to.take() {
            to.waited = Duration::ZERO;
            let encoder = zstd::Encoder::new(to, LEVELS[self.level])?;
            self.segment = Some(Segment { encoder, bytes: 0, began: Instant::now() });
        }
        let Some(segment) = &mut self.segment else { return Err(io::ErrorKind::NotConnected.into()) };
        segment.encoder.write_all(bytes)?;
        segment.bytes += bytes.len() as u64;
        if segment.bytes >= SEGMENT {
            self.end_segment()?;
        }
        Ok(())
    }

    fn end_segment(&mut self) -> io::Result<()> {
        if let Some(segment) = self.segment.take() {
            let to = segment.encoder.finish()?;
            let waited = to.waited.as_secs_f64() / segment.began.elapsed().as_secs_f64().max(1e-9);
            self.level = next_level(self.level, waited);
            self.to = Some(to);
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        self.end_segment()
    }
}

/// The place in [`LEVELS`] to begin with.
const fn first_level(total: u64) -> usize {
    if total <= SMALL { 2 } else { 1 }
}

fn next_level(level: usize, waited: f64) -> usize {
    if waited > WAITED_MUCH {
        (level + 1).min(LEVELS.len() - 1)
    } else if waited < WAITED_LITTLE {
        level.saturating_sub(1)
    } else {
        level
    }
}

/// Measures the time that writing takes.
struct Timed<W> {
    below: W,
    waited: Duration,
}

impl<W: Write> Write for Timed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let began = Instant::now();
        let written = self.below.write(bytes);
        self.waited += began.elapsed();
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.below.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_is_compressed_more() {
        assert_eq!([0, SMALL, SMALL + 1].map(|total| LEVELS[first_level(total)]), [3, 3, 1]);
    }

    #[test]
    fn the_level_follows_the_connection() {
        for (level, waited, expected) in [(1, 0.99, 2), (4, 0.99, 4), (2, 0.8, 2), (1, 0.2, 0), (0, 0.0, 0)] {
            assert_eq!(next_level(level, waited), expected, "{level} {waited}");
        }
    }
}
