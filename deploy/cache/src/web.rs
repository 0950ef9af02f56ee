//! Files of a web server or a bucket: the requests, and what the answers mean.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use ureq::http::Response;
use ureq::{Agent, Body};

use crate::cache::Revision;
use crate::error::{CacheError, Result, file};
use crate::s3::{Bucket, Method};

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

    /// The address to ask; of a bucket it is signed, so it is never shown.
    fn address(&self, method: Method, key: &str) -> Result<String> {
        match &self.base {
            Base::Plain(base) => Ok(format!("{base}/{key}")),
            Base::Bucket(bucket) => bucket.sign(method, key),
        }
    }

    pub fn get(&self, key: &str, have: &Revision, shown: &str) -> Result<Got> {
        let mut request = self.agent.get(self.address(Method::Get, key)?);
        if let Revision::Tag(tag) = have {
            request = request.header("if-none-match", tag);
        }
        let mut response = request.call().map_err(|error| no_answer(shown, &error))?;
        match response.status().as_u16() {
            200 => {
                let revision = match header(&response, "etag") {
                    Some(tag) => Revision::Tag(tag),
                    None => Revision::Unknown,
                };
                let body = response.into_body().into_with_config().limit(u64::MAX).reader();
                Ok(Got::Body { body: Box::new(body), revision })
            }
            304 => Ok(Got::Unchanged),
            status if self.is_absent(status, &mut response) => Ok(Got::Absent),
            status => Err(self.refused(shown, status, response)),
        }
    }

    pub fn exists(&self, key: &str, shown: &str) -> Result<bool> {
        let mut response =
            self.agent.head(self.address(Method::Head, key)?).call().map_err(|error| no_answer(shown, &error))?;
        match response.status().as_u16() {
            200 => Ok(true),
            status if self.is_absent(status, &mut response) => Ok(false),
            status => Err(self.refused(shown, status, response)),
        }
    }

    pub fn put(&self, key: &str, bytes: &[u8], over: Option<&Revision>, shown: &str) -> Result<()> {
        let mut request = self.agent.put(self.address(Method::Put, key)?).header("content-type", kind(key));
        request = match over {
            Some(Revision::Tag(tag)) => request.header("if-match", tag),
            Some(Revision::Absent) => request.header("if-none-match", "*"),
            Some(Revision::Unknown) | None => request,
        };
        self.written(request.send(bytes), shown)
    }

    pub fn put_file(&self, key: &str, from: &Path, shown: &str) -> Result<()> {
        let source = File::open(from).map_err(file("cannot read", from))?;
        let request = self.agent.put(self.address(Method::Put, key)?).header("content-type", kind(key));
        self.written(request.send(source), shown)
    }

    fn written(&self, sent: Result<Response<Body>, ureq::Error>, shown: &str) -> Result<()> {
        let response = sent.map_err(|error| no_answer(shown, &error))?;
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

/// What a server adds to an answer that is none, in small.
fn text(response: &mut Response<Body>) -> String {
    let mut bytes = Vec::new();
    let _ = response.body_mut().as_reader().take(4 << 10).read_to_end(&mut bytes);
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

fn no_answer(shown: &str, error: &ureq::Error) -> CacheError {
    CacheError::Network { url: shown.to_owned(), message: error.to_string() }
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
