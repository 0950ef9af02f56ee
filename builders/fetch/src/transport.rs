//! One request and the stream of its answer, over HTTP or from a file.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use ureq::tls::{RootCerts, TlsConfig};

use crate::error::{FetchError, without_login as shown};

/// A mirror that does not answer the connection within this time is not worth more.
const CONNECT: Duration = Duration::from_secs(15);
/// Longest silence within an answer. There is no limit on the whole: large files over slow lines.
const SILENCE: Duration = Duration::from_secs(30);

/// What came back: bytes from `start` on.
pub(crate) struct Answer {
    /// Offset of the first byte of `body`: what was asked for, or 0 if the server ignores ranges.
    pub start: u64,
    /// Bytes in `body`, if the server said so.
    pub length: Option<u64>,
    pub body: Box<dyn Read>,
}

pub(crate) struct Transport {
    secure: ureq::Agent,
    plain: ureq::Agent,
}

/// The client for one address, when something else than a file of known hash is wanted. For an
/// address with `https://` it refuses every redirect that leaves encryption.
pub fn client(url: &str) -> ureq::Agent {
    agent(is_https(url), RootCerts::PlatformVerifier)
}

fn is_https(url: &str) -> bool {
    url.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"))
}

fn agent(https_only: bool, roots: RootCerts) -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .https_only(https_only)
        .user_agent(concat!("cairn/", env!("CARGO_PKG_VERSION")))
        .http_status_as_error(false)
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(SILENCE))
        .timeout_per_read(Some(SILENCE))
        .timeout_per_write(Some(SILENCE))
        .max_idle_connections_per_host(8)
        .build();
    config.into()
}

impl Transport {
    pub fn new() -> Self {
        Self::trusting(RootCerts::PlatformVerifier)
    }

    pub(crate) fn trusting(roots: RootCerts) -> Self {
        Self { secure: agent(true, roots.clone()), plain: agent(false, roots) }
    }

    /// Asks for `url` from byte `from` on. An answer that is not the content is an error.
    pub fn get(&self, what: &str, url: &str, from: u64, accept: Option<&str>) -> Result<Answer, FetchError> {
        match url.split_once("://") {
            Some(("file", path)) => get_file(what, url, path, from),
            Some(("http" | "https", _)) => self.get_http(what, url, from, accept),
            _ => Err(FetchError::BadUrl { what: what.to_owned(), url: shown(url) }),
        }
    }

    fn get_http(&self, what: &str, url: &str, from: u64, accept: Option<&str>) -> Result<Answer, FetchError> {
        // Two agents: ureq would read the root certificates again for a request with its own settings.
        let mut request = if is_https(url) { self.secure.get(url) } else { self.plain.get(url) };
        if from > 0 {
            request = request.header("range", format!("bytes={from}-"));
        }
        if let Some(accept) = accept {
            request = request.header("accept", accept);
        }
        let response = request.call().map_err(|error| from_ureq(what, url, error))?;
        let status = response.status().as_u16();
        let start = match status {
            200 => 0,
            206 => match range_start(&response) {
                Some(start) if start == from => from,
                // Not what was asked for: no byte of it can be placed.
                _ => return Err(FetchError::Status { what: what.to_owned(), status, url: shown(url) }),
            },
            // The part on disk is at least as long as the file: nothing of it can be used.
            416 if from > 0 => return self.get_http(what, url, 0, accept),
            404 | 410 => return Err(FetchError::Gone { what: what.to_owned(), url: shown(url) }),
            _ => return Err(FetchError::Status { what: what.to_owned(), status, url: shown(url) }),
        };
        let length = response.body().content_length();
        let reader = response.into_body().into_with_config().limit(u64::MAX).reader();
        Ok(Answer { start, length, body: Box::new(reader) })
    }
}

/// The first number of `content-range: bytes 100-199/200`.
fn range_start(response: &ureq::http::Response<ureq::Body>) -> Option<u64> {
    let header = response.headers().get("content-range")?.to_str().ok()?;
    header.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

fn get_file(what: &str, url: &str, path: &str, from: u64) -> Result<Answer, FetchError> {
    let gone = || FetchError::Gone { what: what.to_owned(), url: url.to_owned() };
    let network = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => gone(),
        _ => FetchError::Network { what: what.to_owned(), url: url.to_owned(), message: error.to_string() },
    };
    let path = path.strip_prefix("localhost").unwrap_or(path);
    let path = PathBuf::from(percent_decoded(path));
    // Opening a FIFO would wait for its writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let mut file =
        File::from(rustix::fs::open(&path, flags, Mode::empty()).map_err(|error| network(io::Error::from(error)))?);
    let metadata = file.metadata().map_err(network)?;
    if metadata.is_dir() {
        return Err(gone());
    }
    if !metadata.is_file() {
        return Err(FetchError::NotAFile { what: what.to_owned(), url: url.to_owned() });
    }
    let start = if from <= metadata.len() { from } else { 0 };
    file.seek(SeekFrom::Start(start)).map_err(network)?;
    Ok(Answer { start, length: Some(metadata.len() - start), body: Box::new(file) })
}

fn percent_decoded(path: &str) -> std::ffi::OsString {
    use std::os::unix::ffi::OsStringExt as _;
    let (mut decoded, mut rest) = (Vec::with_capacity(path.len()), path.as_bytes());
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail.get(..2).and_then(|d| std::str::from_utf8(d).ok());
        match digits.and_then(|d| u8::from_str_radix(d, 16).ok()) {
            Some(byte) if first == b'%' => {
                decoded.push(byte);
                rest = &tail[2..];
            }
            _ => {
                decoded.push(first);
                rest = tail;
            }
        }
    }
    std::ffi::OsString::from_vec(decoded)
}

/// Sorts ureq's errors by what the user can do about them.
fn from_ureq(what: &str, url: &str, error: ureq::Error) -> FetchError {
    let (what, url, message) = (what.to_owned(), shown(url), error.to_string());
    match error {
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) | ureq::Error::Pem(_) => FetchError::Tls { what, url, message },
        // A failed handshake arrives as I/O that carries the verifier's complaint.
        ureq::Error::Io(io) if io.kind() == io::ErrorKind::InvalidData && url.starts_with("https:") => {
            FetchError::Tls { what, url, message }
        }
        ureq::Error::RequireHttpsOnly(to) => FetchError::Downgrade { what, url, to: shown(&to) },
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => FetchError::BadUrl { what, url },
        _ => FetchError::Network { what, url, message },
    }
}

#[cfg(test)]
#[path = "transport_tests.rs"]
mod tests;
