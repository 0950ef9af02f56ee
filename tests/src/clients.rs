//! Clients that keep their connections and never ask twice: a request that fails is one that a user
//! would have seen fail.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use cairn_certificates::{Server, Stream, connect};

use crate::http::Answer;

/// Where they ask, by TLS.
#[derive(Debug, Clone)]
pub struct Site {
    pub host: String,
    pub port: u16,
    pub name: &'static str,
    pub path: &'static str,
}

impl Site {
    pub fn connect(&self) -> Result<BufReader<Stream>, String> {
        let server = Server { host: &self.host, port: self.port, name: self.name };
        connect(&server).map(BufReader::new).map_err(|error| format!("connecting: {error}"))
    }
}

#[derive(Debug, Default)]
pub struct Tally {
    pub requests: usize,
    pub connections: usize,
    /// Cut off, refused, answered wrongly, or not at all.
    pub failures: Vec<String>,
}

/// What one client does again and again.
pub type Errand = Box<dyn FnMut(&mut Connection) -> Result<(), String> + Send>;

/// They ask without an end until they are stopped.
pub struct Clients {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Tally>>,
}

impl Clients {
    /// Each gets the site's path.
    pub fn start(count: usize, site: &Site) -> Self {
        let errand = |_| -> Errand {
            let path = site.path;
            Box::new(move |connection| connection.expect(200, "GET", path, "").map(drop))
        };
        Self::with(site, Duration::from_millis(5), (0..count).map(errand).collect())
    }

    /// One for each errand, with a pause after each time.
    pub fn with(site: &Site, pause: Duration, errands: Vec<Errand>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |mut errand: Errand| {
            let (stop, site) = (stop.clone(), site.clone());
            thread::spawn(move || {
                let mut connection = Connection { site, headers: String::new(), kept: None, tally: Tally::default() };
                while !stop.load(Ordering::Relaxed) {
                    if let Err(failure) = errand(&mut connection) {
                        connection.tally.failures.push(failure);
                        connection.kept = None;
                    }
                    thread::sleep(pause);
                }
                connection.tally
            })
        };
        let threads = errands.into_iter().map(client).collect();
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

/// Of one client: opened when there is none, kept as long as the server lets it.
pub struct Connection {
    site: Site,
    /// Sent with every request, each line with its end.
    pub headers: String,
    kept: Option<BufReader<Stream>>,
    tally: Tally,
}

impl Connection {
    /// One request with a JSON document, or nothing, as its body.
    pub fn expect(&mut self, status: u16, method: &str, path: &str, body: &str) -> Result<Answer, String> {
        self.tally.requests += 1;
        let age = if self.kept.is_some() { "a kept connection" } else { "a new connection" };
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let answer = self.ask(method, path, body);
        let answer = answer.map_err(|error| format!("{method} {path} on {age}, asked at {since}: {error}"))?;
        if answer.status == status { Ok(answer) } else { Err(format!("{method} {path} was answered {answer:?}")) }
    }

    /// Only a server that said so beforehand may close the connection.
    fn ask(&mut self, method: &str, path: &str, body: &str) -> Result<Answer, String> {
        if self.kept.is_none() {
            self.tally.connections += 1;
            self.kept = Some(self.site.connect()?);
        }
        let stream = self.kept.as_mut().expect("it was just made");
        let (name, headers, length) = (self.site.name, &self.headers, body.len());
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {name}\r\n{headers}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.get_mut().write_all(request.as_bytes()).map_err(|error| error.to_string())?;
        let head = read_head(stream).map_err(|error| error.to_string())?;
        let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| format!("answered {head:?}"))?;
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let mut content = Vec::new();
        if status != 204 {
            let length = field("content-length:").and_then(|length| length.parse().ok());
            content = vec![0; length.ok_or_else(|| format!("no length in {head:?}"))?];
            stream.read_exact(&mut content).map_err(|error| error.to_string())?;
        }
        if field("connection:") == Some("close") {
            self.kept = None;
        }
        Ok(Answer { status, body: String::from_utf8_lossy(&content).into_owned() })
    }
}

/// The status line and all fields, in small letters.
pub fn read_head(stream: &mut BufReader<Stream>) -> io::Result<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("closed after {head:?}")));
        }
    }
    Ok(head.to_lowercase())
}
