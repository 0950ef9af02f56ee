//! Clients of live streams, server-sent events and WebSockets: they look on until the server says the
//! end, and come back then.

use std::io::{self, BufReader, Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use cairn_certificates::Stream;

use crate::clients::{Site, read_head};

/// What a stream is asked for with; its paths are `PATH/events` and `PATH/socket`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Events,
    Socket,
}

#[derive(Debug, Default)]
pub struct Seen {
    /// When each stream was ended by the server as its protocol has it.
    pub ends: Vec<SystemTime>,
    /// Cut off, refused, or ended in another way.
    pub failures: Vec<String>,
}

pub struct Streams {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Seen>>,
}

impl Streams {
    pub fn start(site: &Site, kinds: &[Kind]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |kind: &Kind| {
            let (stop, site, kind) = (stop.clone(), site.clone(), *kind);
            thread::spawn(move || {
                let mut seen = Seen::default();
                while !stop.load(Ordering::Relaxed) {
                    match look_on(&site, kind, &stop) {
                        Ok(true) => seen.ends.push(SystemTime::now()),
                        Ok(false) => {}
                        Err(failure) => seen.failures.push(format!("{kind:?}: {failure}")),
                    }
                }
                seen
            })
        };
        let threads = kinds.iter().map(client).collect();
        Self { stop, threads }
    }

    pub fn stop(mut self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Seen::default();
        for thread in std::mem::take(&mut self.threads) {
            let one = thread.join().expect("a client that does not panic");
            all.ends.extend(one.ends);
            all.failures.extend(one.failures);
        }
        all
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Whether the server ended it; else we did.
fn look_on(site: &Site, kind: Kind, stop: &AtomicBool) -> Result<bool, String> {
    let mut stream = site.connect()?;
    let (path, more) = match kind {
        Kind::Events => ("events", ""),
        Kind::Socket => (
            "socket",
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: bm90IGEgcmFuZG9tIGtleQ==\r\n",
        ),
    };
    let request = format!("GET {}/{path} HTTP/1.1\r\nHost: {}\r\n{more}\r\n", site.path, site.name);
    let words = |error: io::Error| error.to_string();
    stream.get_mut().write_all(request.as_bytes()).map_err(words)?;
    let head = read_head(&mut stream).map_err(words)?;
    let wanted = if kind == Kind::Events { "http/1.1 200" } else { "http/1.1 101" };
    if !head.starts_with(wanted) {
        return Err(format!("answered {head:?}"));
    }
    stream.get_mut().sock.set_read_timeout(Some(Duration::from_millis(500))).map_err(words)?;
    let mut got = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        match read_some(&mut stream, &mut got).map_err(words)? {
            Some(0) => return Err(format!("cut off after {:?}", String::from_utf8_lossy(&got))),
            Some(_) if kind == Kind::Events && got.ends_with(b"\r\n0\r\n\r\n") => return Ok(true),
            Some(_) if kind == Kind::Socket => {
                if let Some(code) = frames(&mut stream, &mut got).map_err(words)? {
                    return if code == 1012 { Ok(true) } else { Err(format!("closed with {code}")) };
                }
            }
            _ => {}
        }
    }
    Ok(false)
}

/// `None` when nothing came for a while.
fn read_some(stream: &mut BufReader<Stream>, got: &mut Vec<u8>) -> io::Result<Option<usize>> {
    let mut buffer = [0; 4096];
    match stream.read(&mut buffer) {
        Ok(count) => {
            got.extend_from_slice(&buffer[..count]);
            Ok(Some(count))
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes whole frames from the front (RFC 6455, 5.2) and answers pings; the code of a close.
fn frames(stream: &mut BufReader<Stream>, got: &mut Vec<u8>) -> io::Result<Option<u16>> {
    const CLOSE: u8 = 8;
    const PING: u8 = 9;
    while let [first, second, rest @ ..] = &got[..] {
        let (length, start) = match (second & 0x7f, rest) {
            (126, [high, low, ..]) => (usize::from(u16::from_be_bytes([*high, *low])), 4),
            (126 | 127, _) => return Ok(None),
            (short, _) => (usize::from(short), 2),
        };
        let Some(payload) = got.get(start..start + length) else { return Ok(None) };
        match first & 0x0f {
            CLOSE => return Ok(Some(payload.first_chunk().map_or(0, |code| u16::from_be_bytes(*code)))),
            PING => {
                // A pong with the same content, masked with zeros.
                let pong = [&[0x8a, 0x80 | length as u8, 0, 0, 0, 0][..], payload].concat();
                stream.get_mut().write_all(&pong)?;
            }
            _ => {}
        }
        got.drain(..start + length);
    }
    Ok(None)
}
