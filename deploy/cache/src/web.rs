//! Files of a web server or a bucket: the requests, and what the answers mean.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use ureq::http::{HeaderValue, Response};
use ureq::{Agent, Body, RequestBuilder, Timeout};

use crate::cache::Revision;
use crate::error::{CacheError, Result, file};
use crate::s3::Bucket;

/// Bytes of an `ETag` that is kept and sent back.
const MAX_TAG: usize = 256;
/// Bytes that are read of an answer that is not the file.
const MAX_ERROR: u64 = 4 << 10;
const ERROR_WITHIN: Duration = Duration::from_secs(10);

pub struct Web {
    agent: Agent,
    base: Base,
}

enum Base {
    Plain(String),
    Bucket(Box<Bucket>),
}

pub enum Got {
    Absent,
    Unchanged,
    Body { body: Box<dyn Read>, revision: Revision },
}

impl Web {
    pub fn plain(url: &str) -> Self {
        Self { agent: cairn_fetch::client(url), base: Base::Plain(url.trim_end_matches('/').to_owned()) }
    }

    pub fn bucket(bucket: Bucket) -> Self {
        Self { agent: cairn_fetch::client(bucket.server()), base: Base::Bucket(Box::new(bucket)) }
    }

    fn url(&self, key: &str) -> String {
        match &self.base {
            Base::Plain(base) => format!("{base}/{key}"),
            Base::Bucket(bucket) => bucket.url(key).into(),
        }
    }

    /// The request with its time limit, and for a bucket with the headers that sign it. Those go to the
    /// bucket alone: no redirect is followed, as it would take the session's token along.
    fn prepared<B>(
        &self,
        request: RequestBuilder<B>,
        method: &str,
        key: &str,
        within: Option<Duration>,
    ) -> Result<RequestBuilder<B>> {
        let request = request.config().timeout_global(within);
        let Base::Bucket(bucket) = &self.base else { return Ok(request.build()) };
        let mut request = request.max_redirects(0).build();
        for (name, value) in bucket.headers(method, key)? {
            request = request.header(name, secret(&value)?);
        }
        Ok(request)
    }

    pub fn get(&self, key: &str, have: &Revision, within: Duration, shown: &str) -> Result<Got> {
        let mut request = self.prepared(self.agent.get(self.url(key)), "GET", key, Some(within))?;
        if let Revision::Tag(tag) = have {
            request = request.header("if-none-match", tag);
        }
        let mut response = request.call().map_err(|error| no_answer(shown, &error, within))?;
        match response.status().as_u16() {
            200 => {
                let revision = match header(&response, "etag") {
                    Some(tag) if tag.len() <= MAX_TAG => Revision::Tag(tag),
                    Some(_) | None => Revision::Unknown,
                };
                let body = response.into_body().into_with_config().limit(u64::MAX).reader();
                Ok(Got::Body { body: Box::new(body), revision })
            }
            304 => Ok(Got::Unchanged),
            status if self.is_absent(status, &mut response) => Ok(Got::Absent),
            status => Err(self.refused(shown, status, response)),
        }
    }

    pub fn exists(&self, key: &str, within: Duration, shown: &str) -> Result<bool> {
        let request = self.prepared(self.agent.head(self.url(key)), "HEAD", key, Some(within))?;
        let mut response = request.call().map_err(|error| no_answer(shown, &error, within))?;
        match response.status().as_u16() {
            200 => Ok(true),
            status if self.is_absent(status, &mut response) => Ok(false),
            status => Err(self.refused(shown, status, response)),
        }
    }

    pub fn put(&self, key: &str, bytes: &[u8], over: Option<&Revision>, within: Duration, shown: &str) -> Result<()> {
        let mut request = self.prepared(self.agent.put(self.url(key)), "PUT", key, Some(within))?;
        request = request.header("content-type", kind(key));
        request = match over {
            Some(Revision::Tag(tag)) => request.header("if-match", tag),
            Some(Revision::Absent) => request.header("if-none-match", "*"),
            Some(Revision::Unknown) | None => request,
        };
        self.written(request.send(bytes), within, shown)
    }

    pub fn put_file(&self, key: &str, from: &Path, shown: &str) -> Result<()> {
        let source = File::open(from).map_err(file("cannot read", from))?;
        // Its size says nothing of the time that it takes; each write has a limit of its own.
        let request = self.prepared(self.agent.put(self.url(key)), "PUT", key, None)?;
        self.written(request.header("content-type", kind(key)).send(source), Duration::MAX, shown)
    }

    fn written(&self, sent: Result<Response<Body>, ureq::Error>, within: Duration, shown: &str) -> Result<()> {
        let response = sent.map_err(|error| no_answer(shown, &error, within))?;
        match response.status().as_u16() {
            200..=299 => Ok(()),
            // S3 answers 409 when two conditional writes meet.
            409 | 412 => Err(CacheError::Conflict { url: shown.to_owned() }),
            status => Err(self.refused(shown, status, response)),
        }
    }

    /// Without the right to list it, S3 says of what a bucket has not that it is forbidden; with
    /// another cause it says so in a code of its own.
    fn is_absent(&self, status: u16, response: &mut Response<Body>) -> bool {
        match status {
            404 | 410 => true,
            403 => {
                matches!(&self.base, Base::Bucket(bucket) if !bucket.is_anonymous())
                    && code(&text(response)).is_none_or(|code| code == "AccessDenied")
            }
            _ => false,
        }
    }

    fn refused(&self, shown: &str, status: u16, mut response: Response<Body>) -> CacheError {
        let message = code(&text(&mut response)).unwrap_or_default();
        let anonymous = match &self.base {
            Base::Bucket(bucket) => bucket.is_anonymous(),
            Base::Plain(_) => false,
        };
        CacheError::Status { url: shown.to_owned(), status, message, anonymous }
    }
}

/// The beginning of what a server adds to an answer that is not the file: as much as comes in time.
fn text(response: &mut Response<Body>) -> String {
    let end = Instant::now() + ERROR_WITHIN;
    let mut body = response.body_mut().as_reader().take(MAX_ERROR);
    let (mut bytes, mut buffer) = (Vec::new(), [0; 1 << 10]);
    while let Ok(n @ 1..) = body.read(&mut buffer) {
        bytes.extend_from_slice(&buffer[..n]);
        if Instant::now() >= end {
            break;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The code of an error of S3: `<Error><Code>SlowDown</Code>…`.
fn code(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    Some(code.chars().filter(char::is_ascii_alphanumeric).take(60).collect())
}

fn header(response: &Response<Body>, name: &str) -> Option<String> {
    Some(response.headers().get(name)?.to_str().ok()?.to_owned())
}

fn kind(key: &str) -> &'static str {
    match key.rsplit_once('.') {
        Some((_, "narinfo")) => "text/x-nix-narinfo",
        Some((_, "json")) => "application/json",
        _ if key == "nix-cache-info" => "text/x-nix-cache-info",
        _ => "application/octet-stream",
    }
}

/// A header that no log and no debug text shows.
fn secret(value: &str) -> Result<HeaderValue> {
    let mut header = HeaderValue::from_str(value).map_err(|_| CacheError::Credentials {
        reason: "the key's name or the session token has characters that no HTTP header may have".to_owned(),
    })?;
    header.set_sensitive(true);
    Ok(header)
}

fn no_answer(shown: &str, error: &ureq::Error, within: Duration) -> CacheError {
    match error {
        ureq::Error::Timeout(Timeout::Global) => CacheError::Slow { url: shown.to_owned(), seconds: within.as_secs() },
        other => CacheError::Network { url: shown.to_owned(), message: other.to_string() },
    }
}

/// An answer that broke off while it was read.
pub fn broken(shown: &str, error: &io::Error, within: Duration) -> CacheError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>()) {
        Some(error) => no_answer(shown, error, within),
        None => CacheError::Network { url: shown.to_owned(), message: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_an_error_of_s3_is_found() {
        let text = "<?xml version=\"1.0\"?>\n<Error><Code>NoSuchBucket</Code><Message>x</Message></Error>";
        assert_eq!(code(text).as_deref(), Some("NoSuchBucket"));
        assert_eq!(code("<html>"), None);
    }
}
