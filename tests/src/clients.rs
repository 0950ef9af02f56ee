//! Clients that keep their connections and never ask twice: a request that fails is one that a user
//! would have seen fail.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use cairn_certificates::{Server, Stream, connect};

/// Where they ask, by TLS.
#[derive(Debug, Clone)]
pub struct Site {
    pub host: String,
    pub port: u16,
    pub name: &'static str,
    pub path: &'static str,
}

#[derive(Debug, Default)]
pub struct Tally {
    pub requests: usize,
    pub connections: usize,
    /// Cut off, refused, answered wrongly, or not at all.
    pub failures: Vec<String>,
}

/// They ask without an end until they are stopped.
pub struct Clients {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Tally>>,
}

impl Clients {
    pub fn start(count: usize, site: &Site) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |_| {
            let (stop, site) = (stop.clone(), site.clone());
            thread::spawn(move || run(&site, &stop))
        };
        let threads = (0..count).map(client).collect();
        Self { stop, threads }
    }

    pub fn stop(mut self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        for thread in std::mem::take(&mut self.threads) {
            let one = thread.join().expect("a client that does not panic");
            all.requests += one.requests;
            all.connections += one.connections;
            all.failures.extend(one.failures);
        }
        all
    }
}

/// Also when a test fails.
impl Drop for Clients {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn run(site: &Site, stop: &AtomicBool) -> Tally {
    let mut tally = Tally::default();
    let mut kept = None;
    while !stop.load(Ordering::Relaxed) {
        if let Err(failure) = ask(site, &mut kept, &mut tally.connections) {
            tally.failures.push(failure);
            kept = None;
        }
        tally.requests += 1;
        thread::sleep(Duration::from_millis(5));
    }
    tally
}

/// One request. Only a server that said so beforehand may close the connection.
fn ask(site: &Site, kept: &mut Option<BufReader<Stream>>, connections: &mut usize) -> Result<(), String> {
    let kept_one = kept.is_some();
    let begun = std::time::SystemTime::now();
    let lost = |error: std::io::Error| {
        let age = if kept_one { "a kept connection" } else { "a new connection" };
        let since = begun.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
        format!("on {age}, asked at {since}: {error}")
    };
    let stream = match kept {
        Some(stream) => stream,
        None => {
            *connections += 1;
            let server = Server { host: &site.host, port: site.port, name: site.name };
            kept.insert(BufReader::new(connect(&server).map_err(|error| format!("connecting: {error}"))?))
        }
    };
    let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", site.path, site.name);
    stream.get_mut().write_all(request.as_bytes()).map_err(lost)?;
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).map_err(lost)? == 0 {
            return Err(format!("closed after {head:?}"));
        }
    }
    let head = head.to_lowercase();
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let length = field("content-length:").and_then(|length| length.parse().ok());
    let mut body = vec![0; length.ok_or_else(|| format!("no length in {head:?}"))?];
    stream.read_exact(&mut body).map_err(lost)?;
    if field("connection:") == Some("close") {
        *kept = None;
    }
    match head.split_whitespace().nth(1) {
        Some("200") => Ok(()),
        _ => Err(format!("answered {head:?}")),
    }
}
