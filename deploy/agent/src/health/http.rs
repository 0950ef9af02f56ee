//! One GET request over a UNIX or TCP socket, as small as a health check may be.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use super::Endpoint;
use crate::folder;

/// No single question may take longer.
pub(super) const QUESTION: Duration = Duration::from_secs(5);
/// After the head of an answer: for the body, which is evidence only.
const BODY: Duration = Duration::from_millis(200);
const LARGEST_HEAD: usize = 64 * 1024;
const LARGEST_EVIDENCE: usize = 400;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// The beginning of the body.
    pub body: String,
}

impl Answer {
    pub fn is_healthy(&self) -> bool {
        (200..400).contains(&self.status)
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HTTP {}", self.status)?;
        if !self.body.is_empty() {
            write!(f, ": {}", self.body)?;
        }
        Ok(())
    }
}

pub fn get(endpoint: &Endpoint, path: &str) -> io::Result<Answer> {
    let deadline = Instant::now() + QUESTION;
    match endpoint {
        Endpoint::Unix(socket) => {
            let stream = connect_unix(socket)?;
            ask(&stream, path, |limit| stream.set_read_timeout(Some(limit)), deadline)
        }
        Endpoint::Tcp(address) => {
            let stream = TcpStream::connect_timeout(address, QUESTION)?;
            stream.set_nodelay(true)?;
            ask(&stream, path, |limit| stream.set_read_timeout(Some(limit)), deadline)
        }
    }
}

/// For the fuzz target: the answer that a stream holds.
pub(crate) fn read_answer(stream: impl Read + Write) -> io::Result<Answer> {
    ask(stream, "/", |_| Ok(()), Instant::now() + QUESTION)
}

/// The standard library's connect would block for as long as the backlog is full.
fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    let stream = folder::connect_to(path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => io::Error::new(io::ErrorKind::WouldBlock, "the listen backlog is full"),
        _ => error,
    })?;
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(QUESTION))?;
    Ok(stream)
}

fn ask<S>(
    stream: S,
    path: &str,
    limit_read: impl Fn(Duration) -> io::Result<()>,
    deadline: Instant,
) -> io::Result<Answer>
where
    S: Read + Write,
{
    let mut stream = stream;
    // One write: a server that closes early must not make the second one fail.
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: cairn-agent\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    let (status, end) = loop {
        if let Some(head) = parse_head(&bytes)? {
            break head;
        }
        match read_some(&mut stream, &mut bytes, &limit_read, deadline) {
            Ok(0) => {
                let reason = "the connection was closed without an answer";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason));
            }
            Ok(_) => {}
            Err(e) if is_timeout(&e) => {
                let reason = format!("no answer within {} s", QUESTION.as_secs());
                return Err(io::Error::new(io::ErrorKind::TimedOut, reason));
            }
            Err(e) => return Err(e),
        }
    };
    let deadline = deadline.min(Instant::now() + BODY);
    while bytes.len() < end + LARGEST_EVIDENCE
        && matches!(read_some(&mut stream, &mut bytes, &limit_read, deadline), Ok(1..))
    {}
    let body = String::from_utf8_lossy(&bytes[end..]);
    Ok(Answer { status, body: body.trim().chars().take(LARGEST_EVIDENCE).collect() })
}

fn read_some<S: Read>(
    stream: &mut S,
    bytes: &mut Vec<u8>,
    limit_read: impl Fn(Duration) -> io::Result<()>,
    deadline: Instant,
) -> io::Result<usize> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    limit_read(left)?;
    let mut chunk = [0; 4096];
    let read = stream.read(&mut chunk)?;
    bytes.extend_from_slice(&chunk[..read]);
    Ok(read)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

/// Status and length of the head, once it is complete.
fn parse_head(bytes: &[u8]) -> io::Result<Option<(u16, usize)>> {
    let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(bytes) {
        Ok(httparse::Status::Complete(end)) => Ok(response.code.map(|code| (code, end))),
        Ok(httparse::Status::Partial) if bytes.len() > LARGEST_HEAD => {
            Err(invalid("the answer's headers do not end".to_owned()))
        }
        Ok(httparse::Status::Partial) => Ok(None),
        Err(e) => Err(invalid(format!("not an HTTP answer: {e}"))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    /// Answers one connection with these bytes.
    fn serve(answer: &'static [u8]) -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).unwrap();
            stream.write_all(answer).unwrap();
        });
        Endpoint::Tcp(address)
    }

    #[test]
    fn the_status_and_the_beginning_of_the_body_are_the_answer() {
        for (answer, status, body, healthy) in [
            (&b"HTTP/1.1 200 OK\r\n\r\nfine"[..], 200, "fine", true),
            (b"HTTP/1.0 302 Found\r\nLocation: /x\r\n\r\n", 302, "", true),
            (b"HTTP/1.1 503 No\r\n\r\ndatabase is down\n", 503, "database is down", false),
            (b"HTTP/1.1 404 No\r\n\r\n", 404, "", false),
        ] {
            let got = get(&serve(answer), "/health").unwrap();
            assert_eq!((got.status, got.body.as_str()), (status, body));
            assert_eq!(got.is_healthy(), healthy);
        }
    }

    #[test]
    fn what_is_not_http_is_said() {
        let error = get(&serve(b"SSH-2.0-x\r\n"), "/").unwrap_err();
        assert!(error.to_string().contains("not an HTTP answer"), "{error}");
        let error = get(&serve(b""), "/").unwrap_err();
        assert!(error.to_string().contains("closed without an answer"), "{error}");
    }

    #[test]
    fn a_full_backlog_does_not_block() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let _listener = UnixListener::bind(&path).unwrap();
        let mut open = Vec::new();
        let error = loop {
            match connect_unix(&path) {
                Ok(stream) => open.push(stream),
                Err(e) => break e,
            }
        };
        assert!(error.to_string().contains("backlog"), "{error}");
    }
}
