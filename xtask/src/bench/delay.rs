//! A longer way to a server of this computer: a TCP proxy that holds what passes for half of a round
//! trip in each direction, and counts it. Kernels without `netem` cannot do that themselves.
//!
//! What is held waits in a queue, so that the line is as broad as without it. The queue is bounded:
//! beyond it whoever sends has to wait.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// Bytes that are passed on at once.
const PIECE: usize = 64 << 10;
/// Pieces that are under way in one direction at most: 16 MiB.
const PIECES: usize = 256;
/// How long a connection may take to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Listens at `port` as long as it lives.
pub struct Line {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    server: SocketAddr,
    /// A round trip, in microseconds.
    trip: AtomicU64,
    /// Bytes on their way to the server so far.
    sent: AtomicU64,
    open: AtomicUsize,
    over: AtomicBool,
}

impl Line {
    pub fn to(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen")?;
        let port = listener.local_addr()?.port();
        let [trip, sent] = [AtomicU64::new(0), AtomicU64::new(0)];
        let shared = Shared { server, trip, sent, open: AtomicUsize::new(0), over: AtomicBool::new(false) };
        let shared = Arc::new(shared);
        let theirs = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if theirs.over.load(Ordering::Relaxed) {
                    return;
                }
                theirs.open.fetch_add(1, Ordering::Relaxed);
                let shared = Arc::clone(&theirs);
                thread::spawn(move || {
                    shared.carry(client);
                    shared.open.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
        Ok(Self { port, shared })
    }

    /// How long a round trip is, for connections from now on.
    pub fn set_round_trip(&self, trip: Duration) {
        self.shared.trip.store(trip.as_micros() as u64, Ordering::Relaxed);
    }

    /// Does `work`, and gives the bytes that went to the server meanwhile, until every connection
    /// has ended.
    pub fn bytes_sent(&self, work: impl FnOnce() -> Result<()>) -> Result<u64> {
        let before = self.sent();
        work()?;
        self.wait_until_idle()?;
        Ok(self.sent() - before)
    }

    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    pub fn wait_until_idle(&self) -> Result<()> {
        let began = Instant::now();
        while self.shared.open.load(Ordering::Relaxed) > 0 {
            if began.elapsed() > PATIENCE {
                bail!("a connection to {} does not end", self.shared.server);
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        // Wakes the listener.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

impl Shared {
    /// One connection to its end. A connection that breaks has ended.
    fn carry(&self, client: TcpStream) {
        let trip = Duration::from_micros(self.trip.load(Ordering::Relaxed));
        // The kernel has taken the connection at once; over a line of this length that lasts a trip.
        thread::sleep(trip);
        let Ok(server) = TcpStream::connect(self.server) else { return };
        let (Ok(from_client), Ok(from_server)) = (client.try_clone(), server.try_clone()) else { return };
        // Neither side is to wait for more.
        let _ = client.set_nodelay(true);
        let _ = server.set_nodelay(true);
        thread::scope(|scope| {
            scope.spawn(|| pass(from_server, client, trip / 2, |_| ()));
            pass(from_client, server, trip / 2, |bytes| {
                self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
            });
        });
    }
}

fn pass(mut from: TcpStream, to: TcpStream, delay: Duration, passed: impl Fn(usize)) {
    let (queue, due) = sync_channel(PIECES);
    thread::scope(|scope| {
        scope.spawn(|| deliver(to, due));
        let mut buffer = vec![0; PIECE];
        loop {
            let bytes = from.read(&mut buffer).unwrap_or(0);
            passed(bytes);
            // The end is under way as long as everything else, as an empty piece.
            if queue.send((Instant::now() + delay, buffer[..bytes].to_vec())).is_err() || bytes == 0 {
                break;
            }
        }
        drop(queue);
    });
}

fn deliver(mut to: TcpStream, queue: Receiver<(Instant, Vec<u8>)>) {
    for (due, bytes) in queue {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if bytes.is_empty() || to.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
