//! A small real HTTP server for the tests: files, ranges, and faults on order.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// How the next answer for a path goes; without an order it is the content.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    Status(u16),
    /// Announces everything, sends this many bytes, hangs up.
    CutAfter(usize),
    /// Ignores `range`.
    NoRange,
    /// Answers a range from another offset than asked.
    WrongRange,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    faults: BTreeMap<String, Vec<Fault>>,
    /// Path and first byte asked for.
    requests: Vec<(String, u64)>,
}

/// Ends with the test process.
pub struct Server {
    pub base: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("bound"));
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                thread::spawn(move || answer(stream, &shared));
            }
        });
        Self { base, state }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.base)
    }

    pub fn file(&self, path: &str, content: &[u8]) {
        self.state.lock().expect("no panic").files.insert(format!("/{path}"), content.to_owned());
    }

    /// What happens to the next requests for the path, in order.
    pub fn faults(&self, path: &str, faults: &[Fault]) {
        self.state.lock().expect("no panic").faults.insert(format!("/{path}"), faults.to_owned());
    }

    pub fn requests(&self) -> Vec<(String, u64)> {
        self.state.lock().expect("no panic").requests.clone()
    }
}

fn answer(mut stream: TcpStream, state: &Mutex<State>) -> Option<()> {
    let (mut path, mut from) = (String::new(), None);
    for (n, line) in BufReader::new(stream.try_clone().ok()?).lines().enumerate() {
        let line = line.ok()?;
        if n == 0 {
            path = line.split(' ').nth(1)?.to_owned();
        }
        if let Some(range) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
            from = range.trim_end_matches('-').parse::<u64>().ok();
        }
        if line.is_empty() {
            break;
        }
    }
    let (content, fault) = {
        let mut state = state.lock().ok()?;
        state.requests.push((path.clone(), from.unwrap_or(0)));
        let fault = state.faults.get_mut(&path).filter(|f| !f.is_empty()).map(|f| f.remove(0));
        (state.files.get(&path).cloned(), fault)
    };
    let Some(content) = content else {
        return write!(stream, "HTTP/1.1 404 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").ok();
    };
    let whole = content.len();
    let (status, start) = match (fault, from) {
        (Some(Fault::Status(status)), _) => {
            return write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").ok();
        }
        (Some(Fault::NoRange), _) | (_, None) => (200, 0),
        (_, Some(from)) if from as usize >= whole => {
            return write!(stream, "HTTP/1.1 416 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").ok();
        }
        (Some(Fault::WrongRange), Some(from)) => (206, from as usize - 1),
        (_, Some(from)) => (206, from as usize),
    };
    let body = &content[start..];
    write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n", body.len()).ok()?;
    if status == 206 {
        write!(stream, "content-range: bytes {start}-{}/{whole}\r\n", whole - 1).ok()?;
    }
    stream.write_all(b"\r\n").ok()?;
    let sent = match fault {
        Some(Fault::CutAfter(n)) => &body[..n.min(body.len())],
        _ => body,
    };
    stream.write_all(sent).ok()
}
