//! A child process with pipes: `ssh`, or an agent of this machine.

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use cairn_protocol::frame::FrameError;

use crate::TransportError;
use crate::limits::TimeLimit;
use crate::silence::{Activity, Fired, Watch};

pub struct Pipe {
    /// The host's name, for messages.
    pub host: String,
    pub from: BufReader<Counted<ChildStdout>>,
    child: Child,
    /// `None` once the connection is closed or lost.
    to: Option<BufWriter<Counted<ChildStdin>>>,
    stderr: Stderr,
    activity: Arc<Activity>,
    limit: TimeLimit,
    watch: Option<Watch>,
    /// The limit that ended the connection.
    fired: Option<Fired>,
}

/// Bytes that may be on their way to the child: the most that Linux gives to any user.
const PIPE_SIZE: usize = 1 << 20;

/// How long a child may take to end after it closed its output.
const GRACE: Duration = Duration::from_secs(2);

impl Pipe {
    pub fn start(mut command: Command, host: &str) -> io::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        let stdin = child.stdin.take().ok_or_else(gone)?;
        let stdout = child.stdout.take().ok_or_else(gone)?;
        let stderr = child.stderr.take().ok_or_else(gone)?;
        // Fewer changes between us and the child; the default will do where this is not allowed.
        let _ = rustix::pipe::fcntl_setpipe_size(&stdin, PIPE_SIZE);
        let activity = Arc::new(Activity::default());
        let from = Counted { below: stdout, count: 0, activity: Arc::clone(&activity) };
        let to = Counted { below: stdin, count: 0, activity: Arc::clone(&activity) };
        Ok(Self {
            host: host.to_owned(),
            from: BufReader::with_capacity(64 << 10, from),
            child,
            to: Some(BufWriter::with_capacity(64 << 10, to)),
            stderr: Stderr::collect(stderr),
            activity,
            limit: TimeLimit::default(),
            watch: None,
            fired: None,
        })
    }

    /// From here on the connection ends when one of these limits is reached. Gives those before.
    pub fn limit_time(&mut self, limit: TimeLimit) -> TimeLimit {
        // The process number of a child that has ended may be that of another process.
        let is_limit = self.to.is_some() && limit != TimeLimit::default();
        self.watch = is_limit.then(|| Watch::start(self.child.id(), Arc::clone(&self.activity), limit));
        std::mem::replace(&mut self.limit, limit)
    }

    /// Runs `work`, whose time is not the host's.
    pub fn pausing<T>(&self, work: impl FnOnce() -> T) -> T {
        self.activity.ours.store(true, Ordering::Relaxed);
        let value = work();
        // A look of the watch in between has begun the silence anew; this does it without one.
        self.activity.traffic.fetch_add(1, Ordering::Relaxed);
        self.activity.ours.store(false, Ordering::Relaxed);
        value
    }

    /// After the end: the limit of time that brought it about.
    pub const fn fired(&self) -> Option<Fired> {
        self.fired
    }

    /// Ends the child at once: it sends more than it may.
    pub fn abort(&mut self) {
        let _ = self.child.kill();
        self.end();
    }

    /// For a child that is not spoken with: closes its input and skips its output.
    pub fn skip_output(&mut self) {
        self.to = None;
        // What comes is not looked at; the time limit holds for it.
        let _ = io::copy(&mut self.from, &mut io::sink());
    }

    /// Where to write; an error once the connection is gone.
    pub fn writer(&mut self) -> io::Result<&mut (impl Write + use<>)> {
        self.to.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Bytes written so far.
    pub fn bytes_sent(&self) -> u64 {
        self.to.as_ref().map_or(0, |to| to.get_ref().count + to.buffer().len() as u64)
    }

    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// What remains to be said after the conversation broke off.
    pub fn lost(&mut self, during: &str, error: &FrameError) -> TransportError {
        let host = self.host.clone();
        match error {
            FrameError::Ended | FrameError::Broken(_) => {
                let (_, text) = self.end();
                let during = during.to_owned();
                match self.fired {
                    Some(Fired::Silence(limit)) => {
                        return TransportError::Silent { host, during, seconds: limit.as_secs() };
                    }
                    Some(Fired::Total(limit)) => {
                        return TransportError::TooLong { host, during, seconds: limit.as_secs() };
                    }
                    None => {}
                }
                let last = text.lines().rev().map(str::trim).find(|l| !l.is_empty());
                let detail = last.map_or_else(|| error.to_string(), str::to_owned);
                TransportError::Lost { host, during, detail }
            }
            other => TransportError::Protocol { host, detail: other.to_string() },
        }
    }

    /// Closes our side, waits for the child's end (not for ever) and returns how it ended and what
    /// it printed.
    pub fn end(&mut self) -> (Option<ExitStatus>, String) {
        self.fired = self.fired.or(self.watch.take().and_then(Watch::end));
        self.to = None;
        let deadline = Instant::now() + GRACE;
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break Some(status),
                Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
                _ => {
                    let _ = self.child.kill();
                    break self.child.wait().ok();
                }
            }
        };
        (status, self.stderr.text())
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.watch = None;
        if self.to.take().is_some() {
            // Not waited for: a host that hangs must not hang us. The kill ends only our end.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Counts what passes.
pub struct Counted<W> {
    below: W,
    count: u64,
    activity: Arc<Activity>,
}

impl<W> Counted<W> {
    fn passed(&mut self, n: usize) -> usize {
        self.count += n as u64;
        self.activity.traffic.fetch_add(n as u64, Ordering::Relaxed);
        n
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.below.read(buffer)?;
        Ok(self.passed(n))
    }
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.below.write(bytes)?;
        Ok(self.passed(n))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.below.flush()
    }
}

/// Keeps the end of what the child prints on its standard error.
struct Stderr {
    text: Arc<Mutex<Vec<u8>>>,
    thread: thread::JoinHandle<()>,
}

/// What is kept of the standard error: any message of `ssh`, with room for a banner.
const STDERR_KEPT: usize = 64 << 10;

impl Stderr {
    fn collect(mut from: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&text);
        let thread = thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = from.read(&mut buffer) {
                let mut text = shared.lock().unwrap_or_else(PoisonError::into_inner);
                text.extend_from_slice(&buffer[..n]);
                let excess = text.len().saturating_sub(STDERR_KEPT);
                text.drain(..excess);
            }
        });
        Self { text, thread }
    }

    /// All of it, once the child has ended. A background process of the user's `ssh`
    /// (`ControlPersist`) may hold the pipe open, so the wait is short.
    fn text(&self) -> String {
        for _ in 0..20 {
            if self.thread.is_finished() {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&text).into_owned()
    }
}
