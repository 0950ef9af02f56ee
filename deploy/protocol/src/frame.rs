//! Frames: a big-endian `u32` length of the payload, one byte of kind, the payload.
//!
//! Control messages are JSON in one frame. Bulk data is a stream of data frames that an empty one
//! ends ([`DataWriter`], [`DataReader`]), so that a stream needs no length in advance and what
//! follows it is never read as part of it. Lengths are bounded before anything is allocated.

use std::io::{self, Read, Write};

use serde::{Serialize, de::DeserializeOwned};

/// Largest control message. A hello that names 10,000 store paths takes about 0.6 MiB.
pub const MAX_MESSAGE: usize = 4 << 20;
/// Largest data frame. Larger frames save nothing, smaller ones cost system calls.
pub const MAX_DATA: usize = 128 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Hello,
    Request,
    Event,
    Response,
    Data,
}

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Self::Hello => 1,
            Self::Request => 2,
            Self::Event => 3,
            Self::Response => 4,
            Self::Data => 5,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        [Self::Hello, Self::Request, Self::Event, Self::Response, Self::Data].into_iter().find(|k| k.code() == code)
    }

    const fn limit(self) -> usize {
        match self {
            Self::Data => MAX_DATA,
            Self::Hello | Self::Request | Self::Event | Self::Response => MAX_MESSAGE,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The other side closed the connection between two frames.
    #[error("the connection ended")]
    Ended,
    /// The connection broke, or ended within a frame.
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    #[error("a frame of unknown kind {0}: the other side does not speak this protocol")]
    UnknownKind(u8),
    #[error("a frame of {length} bytes where at most {limit} are allowed")]
    TooLong { length: usize, limit: usize },
    #[error("a {kind:?} frame that does not read: {reason}")]
    Malformed { kind: Kind, reason: String },
    #[error("a {got:?} frame where a {expected:?} frame must come")]
    Unexpected { expected: Kind, got: Kind },
}

/// Writes one frame and does not flush.
pub fn write(to: &mut impl Write, kind: Kind, payload: &[u8]) -> Result<(), FrameError> {
    let limit = kind.limit();
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    if payload.len() > limit {
        return Err(FrameError::TooLong { length: payload.len(), limit });
    }
    let mut head = [0; 5];
    head[..4].copy_from_slice(&length.to_be_bytes());
    head[4] = kind.code();
    to.write_all(&head)?;
    to.write_all(payload)?;
    Ok(())
}

/// Writes one control message and flushes, because the other side waits for it.
pub fn write_message<M: Serialize>(to: &mut impl Write, kind: Kind, message: &M) -> Result<(), FrameError> {
    let payload = serde_json::to_vec(message).map_err(|e| FrameError::Malformed { kind, reason: e.to_string() })?;
    write(to, kind, &payload)?;
    to.flush()?;
    Ok(())
}

/// Reads one frame of any kind.
pub fn read(from: &mut impl Read) -> Result<(Kind, Vec<u8>), FrameError> {
    let mut payload = Vec::new();
    let kind = read_into(from, &mut payload)?;
    Ok((kind, payload))
}

/// Reads one frame into `payload`, whose memory is used again.
pub fn read_into(from: &mut impl Read, payload: &mut Vec<u8>) -> Result<Kind, FrameError> {
    let mut head = [0; 5];
    if read_or_end(from, &mut head)? == 0 {
        return Err(FrameError::Ended);
    }
    let kind = Kind::from_code(head[4]).ok_or(FrameError::UnknownKind(head[4]))?;
    let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let limit = kind.limit();
    if length > limit {
        return Err(FrameError::TooLong { length, limit });
    }
    payload.clear();
    payload.resize(length, 0);
    from.read_exact(payload)?;
    Ok(kind)
}

/// Parses the payload of a control message.
pub fn parse<M: DeserializeOwned>(kind: Kind, payload: &[u8]) -> Result<M, FrameError> {
    serde_json::from_slice(payload).map_err(|e| FrameError::Malformed { kind, reason: e.to_string() })
}

/// Reads one control message of the given kind.
pub fn read_message<M: DeserializeOwned>(from: &mut impl Read, expected: Kind) -> Result<M, FrameError> {
    let (got, payload) = read(from)?;
    if got != expected {
        return Err(FrameError::Unexpected { expected, got });
    }
    parse(expected, &payload)
}

/// Fills `buffer`, or returns 0 if the stream ends before its first byte.
fn read_or_end(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) if filled == 0 => return Ok(0),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// A stream of bytes as data frames. [`DataWriter::finish`] must end it.
pub struct DataWriter<W: Write> {
    to: W,
    buffer: Vec<u8>,
}

impl<W: Write> DataWriter<W> {
    pub fn new(to: W) -> Self {
        Self { to, buffer: Vec::with_capacity(MAX_DATA) }
    }

    fn send(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        write(&mut self.to, Kind::Data, &self.buffer).map_err(into_io)?;
        self.buffer.clear();
        Ok(())
    }

    /// Sends what is left, ends the stream and flushes.
    pub fn finish(mut self) -> io::Result<W> {
        self.send()?;
        write(&mut self.to, Kind::Data, &[]).map_err(into_io)?;
        self.to.flush()?;
        Ok(self.to)
    }
}

impl<W: Write> Write for DataWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = MAX_DATA - self.buffer.len();
        let n = room.min(bytes.len());
        self.buffer.extend_from_slice(&bytes[..n]);
        if self.buffer.len() == MAX_DATA {
            self.send()?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()?;
        self.to.flush()
    }
}

/// Reads a stream of data frames up to its end; what follows the end stays in `from`.
pub struct DataReader<R: Read> {
    from: R,
    buffer: Vec<u8>,
    used: usize,
    ended: bool,
}

impl<R: Read> DataReader<R> {
    pub fn new(from: R) -> Self {
        Self { from, buffer: Vec::new(), used: 0, ended: false }
    }

    /// A stream whose first frame was read already.
    pub const fn resume(from: R, first: Vec<u8>) -> Self {
        let ended = first.is_empty();
        Self { from, buffer: first, used: 0, ended }
    }

    /// Reads up to the stream's end, so that the next frame is the next message.
    pub fn finish(mut self) -> io::Result<R> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(self.from)
    }
}

impl<R: Read> Read for DataReader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.used == self.buffer.len() && !self.ended {
            match read_into(&mut self.from, &mut self.buffer).map_err(into_io)? {
                Kind::Data => {}
                got => return Err(into_io(FrameError::Unexpected { expected: Kind::Data, got })),
            }
            self.used = 0;
            self.ended = self.buffer.is_empty();
        }
        let n = into.len().min(self.buffer.len() - self.used);
        into[..n].copy_from_slice(&self.buffer[self.used..self.used + n]);
        self.used += n;
        Ok(n)
    }
}

/// For `Read` and `Write`, whose errors can only be `io::Error`.
fn into_io(error: FrameError) -> io::Error {
    match error {
        FrameError::Broken(e) => e,
        FrameError::Ended => io::Error::new(io::ErrorKind::UnexpectedEof, error),
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Request;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_data_stream_reads_back_and_leaves_what_follows(
            bytes in proptest::collection::vec(any::<u8>(), 0..3 * MAX_DATA),
            pieces in 1..50_000usize,
        ) {
            let mut wire = Vec::new();
            let mut writer = DataWriter::new(&mut wire);
            for piece in bytes.chunks(pieces) {
                writer.write_all(piece).unwrap();
            }
            writer.finish().unwrap();
            write_message(&mut wire, Kind::Request, &Request::Status).unwrap();

            let mut reader = DataReader::new(&wire[..]);
            let mut read = Vec::new();
            reader.read_to_end(&mut read).unwrap();
            prop_assert_eq!(read, bytes);
            let mut rest = reader.finish().unwrap();
            prop_assert_eq!(read_message::<Request>(&mut rest, Kind::Request).unwrap(), Request::Status);
            prop_assert!(matches!(super::read(&mut rest), Err(FrameError::Ended)));
        }

        #[test]
        fn arbitrary_bytes_never_take_more_memory_than_a_frame(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut payload = Vec::new();
            let _ = read_into(&mut &bytes[..], &mut payload);
            prop_assert!(payload.capacity() <= MAX_MESSAGE);
        }
    }

    #[test]
    fn a_stream_may_be_left_in_the_middle() {
        let mut wire = Vec::new();
        let mut writer = DataWriter::new(&mut wire);
        writer.write_all(&vec![7; MAX_DATA + 1]).unwrap();
        writer.finish().unwrap();
        let mut first = Vec::new();
        let mut from = &wire[..];
        assert_eq!(read_into(&mut from, &mut first).unwrap(), Kind::Data);
        let mut reader = DataReader::resume(from, first);
        reader.read_exact(&mut [0; 10]).unwrap();
        assert_eq!(reader.finish().unwrap(), b"");
    }

    #[test]
    fn frames_that_break_the_rules_are_refused() {
        let long = u32::try_from(MAX_MESSAGE + 1).unwrap().to_be_bytes();
        let data = u32::try_from(MAX_DATA + 1).unwrap().to_be_bytes();
        type Row<'a> = (&'a [u8], fn(&FrameError) -> bool);
        let table: [Row<'_>; 7] = [
            (b"", |e| matches!(e, FrameError::Ended)),
            (b"\0\0", |e| matches!(e, FrameError::Broken(_))),
            (b"\0\0\0\x02\x02{", |e| matches!(e, FrameError::Broken(_))),
            (b"\0\0\0\0\0", |e| matches!(e, FrameError::UnknownKind(0))),
            (&[&long[..], &[2]].concat(), |e| matches!(e, FrameError::TooLong { .. })),
            (&[&data[..], &[5]].concat(), |e| matches!(e, FrameError::TooLong { limit: MAX_DATA, .. })),
            (b"\xff\xff\xff\xff\x04", |e| matches!(e, FrameError::TooLong { limit: MAX_MESSAGE, .. })),
        ];
        for (wire, expected) in table {
            let error = read(&mut &wire[..]).unwrap_err();
            assert!(expected(&error), "{wire:?}: {error}");
        }
        assert!(matches!(write(&mut Vec::new(), Kind::Data, &vec![0; MAX_DATA + 1]), Err(FrameError::TooLong { .. })));
        let mut wire = Vec::new();
        write(&mut wire, Kind::Event, b"{}").unwrap();
        let error = read_message::<Request>(&mut &wire[..], Kind::Request).unwrap_err();
        assert!(matches!(error, FrameError::Unexpected { expected: Kind::Request, got: Kind::Event }));
    }

    #[test]
    fn a_data_stream_that_something_interrupts_is_an_error() {
        let mut wire = Vec::new();
        write(&mut wire, Kind::Data, b"some").unwrap();
        write(&mut wire, Kind::Event, b"{}").unwrap();
        let error = DataReader::new(&wire[..]).read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let error = DataReader::new(&wire[..5 + 4]).read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
