//! Somebody whom webhooks tell what happens: a small HTTP server that takes everything.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// One request that came.
#[derive(Debug, Clone)]
pub struct Told {
    pub path: String,
    /// In small letters.
    pub head: String,
    pub body: Vec<u8>,
}

impl Told {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a JSON document")
    }
}

/// Ends with the test.
pub struct Hook {
    pub base: String,
    told: Arc<Mutex<Vec<Told>>>,
}

impl Hook {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("bound"));
        let told = Arc::new(Mutex::new(Vec::new()));
        let shared = told.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if let Some(one) = take(stream) {
                    shared.lock().expect("no panic").push(one);
                }
            }
        });
        Self { base, told }
    }

    /// What has come to a path since somebody asked last.
    pub fn told(&self, path: &str) -> Vec<Told> {
        let mut told = self.told.lock().expect("no panic");
        let (own, others) = told.drain(..).partition(|one: &Told| one.path == path);
        *told = others;
        own
    }
}

fn take(stream: TcpStream) -> Option<Told> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        reader.read_line(&mut head).ok().filter(|read| *read > 0)?;
    }
    let path = head.split(' ').nth(1)?.to_owned();
    let head = head.to_lowercase().replace('\r', "");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    reader.into_inner().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").ok()?;
    Some(Told { path, head, body })
}
