//! gzip in members of 1 MiB, compressed side by side.
//!
//! RFC 1952, section 2.2: a gzip file is a series of members, and its content is theirs, one after
//! the other. Readers of images (Go's `compress/gzip`, pgzip, zlib with `gzread`) follow that. Each
//! member holds 1 MiB of input, the last one less, and is compressed without knowledge of the
//! others, so it does not matter which thread does it. Larger members would save little: those of
//! 4 MiB are 0.1 % smaller.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::mem;
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use libdeflater::{CompressionLvl, Compressor};

/// Bytes of input in a member.
const MEMBER: usize = 1 << 20;

/// libdeflate's level; see the table in the parent module.
const LEVEL: i32 = 1;

pub struct GzipWriter<W: Write> {
    out: W,
    block: Vec<u8>,
    /// Members under way, oldest first.
    pending: VecDeque<Receiver<io::Result<Vec<u8>>>>,
    here: Compressor,
    /// Started with the first full block: most layers are smaller than that.
    workers: Option<Workers>,
    threads: NonZeroUsize,
    empty: bool,
}

impl<W: Write> GzipWriter<W> {
    pub fn new(threads: usize, out: W) -> io::Result<Self> {
        Ok(Self {
            out,
            block: Vec::new(),
            pending: VecDeque::new(),
            here: compressor()?,
            workers: None,
            threads: NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN),
            empty: true,
        })
    }

    pub fn finish(mut self) -> io::Result<W> {
        while let Some(member) = self.pending.pop_front() {
            self.out.write_all(&received(&member)?)?;
        }
        // An empty input still is a gzip file: one empty member.
        if !self.block.is_empty() || self.empty {
            let member = compress(&mut self.here, &self.block)?;
            self.out.write_all(&member)?;
        }
        Ok(self.out)
    }

    fn full_block(&mut self) -> io::Result<()> {
        self.empty = false;
        if self.threads.get() == 1 {
            let member = compress(&mut self.here, &self.block)?;
            self.block.clear();
            return self.out.write_all(&member);
        }
        let block = mem::take(&mut self.block);
        let threads = self.threads.get();
        let workers = match &mut self.workers {
            Some(workers) => workers,
            none => none.insert(Workers::start(threads)?),
        };
        self.pending.push_back(workers.submit(block)?);
        // Bounds memory; the workers always have the next block at hand.
        while self.pending.len() > 2 * threads {
            if let Some(member) = self.pending.pop_front() {
                self.out.write_all(&received(&member)?)?;
            }
        }
        Ok(())
    }
}

impl<W: Write> Write for GzipWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(MEMBER - self.block.len());
        if self.block.capacity() == 0 && n < bytes.len() {
            self.block.reserve_exact(MEMBER);
        }
        self.block.extend_from_slice(&bytes[..n]);
        if self.block.len() == MEMBER {
            self.full_block()?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn compressor() -> io::Result<Compressor> {
    CompressionLvl::new(LEVEL).map(Compressor::new).map_err(|_| io::Error::other("libdeflate lacks the level"))
}

/// One member. libdeflate writes no name, no time and "unknown" as the system.
fn compress(compressor: &mut Compressor, block: &[u8]) -> io::Result<Vec<u8>> {
    let mut member = vec![0; compressor.gzip_compress_bound(block.len())];
    let len = compressor.gzip_compress(block, &mut member).map_err(|e| io::Error::other(e.to_string()))?;
    member.truncate(len);
    Ok(member)
}

fn received(member: &Receiver<io::Result<Vec<u8>>>) -> io::Result<Vec<u8>> {
    member.recv().map_err(|_| io::Error::other("a compressing thread ended early"))?
}

struct Job {
    block: Vec<u8>,
    answer: SyncSender<io::Result<Vec<u8>>>,
}

/// A few threads that take blocks from one queue and end when it is closed.
struct Workers {
    jobs: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    fn start(threads: usize) -> io::Result<Self> {
        let (jobs, queue) = channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        let mut started = Self { jobs: Some(jobs), threads: Vec::with_capacity(threads) };
        for _ in 0..threads {
            let queue = Arc::clone(&queue);
            let mut compressor = compressor()?;
            let thread = thread::Builder::new().name("gzip".to_owned()).spawn(move || {
                loop {
                    let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(Job { block, answer }) = job else { break };
                    // Nobody waits any longer: the writer failed and was dropped.
                    let _ = answer.send(compress(&mut compressor, &block));
                }
            })?;
            started.threads.push(thread);
        }
        Ok(started)
    }

    fn submit(&self, block: Vec<u8>) -> io::Result<Receiver<io::Result<Vec<u8>>>> {
        let (answer, member) = sync_channel(1);
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(Job { block, answer }).is_ok());
        if sent { Ok(member) } else { Err(io::Error::other("the compressing threads ended early")) }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
