//! A very small HTTP client: one question, one answer.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("no JSON ({e}): {self:?}"))
    }
}

/// Asks once. `None` when nothing sensible came back within five seconds.
pub fn get(url: &str) -> Option<Answer> {
    if url.starts_with("https://") {
        return get_securely(url);
    }
    let rest = url.strip_prefix("http://").expect("an http URL");
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let address: SocketAddr = host.parse().expect("an address and a port");
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text).ok()?;
    let text = String::from_utf8_lossy(&text);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    let chunked = head.to_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { unchunk(body) } else { body.to_owned() };
    Some(Answer { status, body })
}

/// Sends a JSON document. `None` when nothing sensible came back within 15 seconds.
pub fn post(url: &str, document: &serde_json::Value) -> Option<Answer> {
    let document = document.to_string();
    curl(&["--max-time", "15", "--header", "content-type: application/json", "--data", &document, url])
}

fn get_securely(url: &str) -> Option<Answer> {
    curl(&["--max-time", "5", url])
}

/// By curl, which believes any certificate here: what is served is looked at elsewhere.
fn curl(arguments: &[&str]) -> Option<Answer> {
    let output = std::process::Command::new("curl")
        .args(["--silent", "--insecure", "--write-out", "\n%{http_code}"])
        .args(arguments)
        .output()
        .expect("curl");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n')?;
    let status = status.parse().ok().filter(|status| *status != 0)?;
    Some(Answer { status, body: body.to_owned() })
}

fn unchunk(mut text: &str) -> String {
    let mut body = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let Ok(size) = usize::from_str_radix(size.trim(), 16) else { break };
        if size == 0 || rest.len() < size {
            break;
        }
        body.push_str(&rest[..size]);
        text = rest[size..].trim_start_matches("\r\n");
    }
    body
}

/// Asks until the answer has this status, for at most `seconds`.
#[track_caller]
pub fn eventually(url: &str, status: u16, seconds: u64) -> Answer {
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut last = None;
    while Instant::now() < end {
        last = get(url);
        if let Some(answer) = last.as_ref().filter(|a| a.status == status) {
            return answer.clone();
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("{url} did not answer {status} within {seconds} s; last: {last:?}");
}
