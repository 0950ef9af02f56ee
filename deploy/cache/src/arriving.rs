//! An archive on its way: counted, hashed, and cut off at its limits.

use std::io::{self, Read, Write as _};
use std::time::Instant;

use cairn_formats::{HashWriter, Sha256};

pub struct Arriving<R> {
    from: R,
    hash: HashWriter<io::Sink>,
    /// The most that may come.
    limit: u64,
    deadline: Instant,
    /// Why reading failed, if it did not fail by the bytes themselves.
    pub fault: Option<Fault>,
}

pub enum Fault {
    Network(String),
    TooLong,
    Late,
}

impl<R: Read> Arriving<R> {
    pub fn new(from: R, limit: u64, deadline: Instant) -> Self {
        Self { from, hash: HashWriter::new(io::sink()), limit, deadline, fault: None }
    }

    /// Reads what is left, for its hash; gives hash and length of the whole.
    pub fn finish(mut self) -> Result<(Sha256, u64), Fault> {
        let mut buffer = [0; 16 << 10];
        while self.fault.is_none() {
            match self.read(&mut buffer) {
                Ok(0) => break,
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let (_, hash, length) = self.hash.finish();
        Ok((hash, length))
    }

    fn fail(&mut self, fault: Fault) -> io::Error {
        self.fault = Some(fault);
        io::Error::other("the archive could not be read")
    }
}

impl<R: Read> Read for Arriving<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if Instant::now() >= self.deadline {
            return Err(self.fail(Fault::Late));
        }
        let n = match self.from.read(buffer) {
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Err(e),
            // The request has the same deadline, and may notice it first.
            Err(_) if Instant::now() >= self.deadline => return Err(self.fail(Fault::Late)),
            Err(e) => return Err(self.fail(Fault::Network(e.to_string()))),
        };
        self.hash.write_all(&buffer[..n])?;
        if self.hash.written() > self.limit {
            return Err(self.fail(Fault::TooLong));
        }
        Ok(n)
    }
}
