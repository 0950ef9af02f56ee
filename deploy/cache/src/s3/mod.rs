//! A bucket: from a name in the cache to an address, and the headers that sign a request for it with
//! the credentials that a host has.
//!
//! Addresses are spelled as Nix spells them (`s3://BUCKET?region=…&endpoint=…&scheme=…&profile=…`),
//! with a folder within the bucket, if any, as their path.

pub(crate) mod credentials;
pub(crate) mod instance;
mod sign;

use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusty_s3::{Bucket as Address, Credentials, UrlStyle};
use url::Url;

use crate::cache::shown;
use crate::error::{CacheError, Result};

/// Those of an instance's role change every few hours, and are there long before they count.
const FRESH: Duration = Duration::from_secs(600);
/// What Nix takes where nothing says.
const REGION: &str = "us-east-1";

pub struct Bucket {
    address: Address,
    /// Before each name: nothing, or a folder with its slash.
    prefix: String,
    profile: Option<String>,
    found: Mutex<Option<Found>>,
}

#[derive(Clone)]
struct Found {
    at: Instant,
    /// `None`: there are none, and the bucket may be public.
    credentials: Option<Credentials>,
}

impl Bucket {
    pub fn parse(text: &str) -> Result<Self> {
        let fail = |reason: String| CacheError::Address { url: shown(text), reason };
        let url = Url::parse(text).map_err(|e| fail(e.to_string()))?;
        let name = url.host_str().filter(|name| !name.is_empty()).ok_or_else(|| fail("it names no bucket".into()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(fail("credentials do not belong in an address".into()));
        }
        let (mut region, mut endpoint, mut scheme, mut profile) = (None, None, None, None);
        for (key, value) in url.query_pairs() {
            let place = match &*key {
                "region" => &mut region,
                "endpoint" => &mut endpoint,
                "scheme" => &mut scheme,
                "profile" => &mut profile,
                other => return Err(fail(format!("`{other}` is none of region, endpoint, scheme and profile"))),
            };
            *place = Some(value.into_owned());
        }
        let variable = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
        let region = region
            .or_else(|| variable("AWS_REGION"))
            .or_else(|| variable("AWS_DEFAULT_REGION"))
            .unwrap_or_else(|| REGION.to_owned());
        let (endpoint, style) = match endpoint {
            Some(endpoint) if endpoint.contains("://") => (endpoint, UrlStyle::Path),
            Some(endpoint) => (format!("{}://{endpoint}", scheme.as_deref().unwrap_or("https")), UrlStyle::Path),
            // A dot in its name does not fit a wildcard certificate.
            None if name.contains('.') => (format!("https://s3.{region}.amazonaws.com"), UrlStyle::Path),
            None => (format!("https://s3.{region}.amazonaws.com"), UrlStyle::VirtualHost),
        };
        let endpoint = Url::parse(&endpoint).map_err(|e| fail(format!("endpoint: {e}")))?;
        if !endpoint.username().is_empty() || endpoint.password().is_some() {
            return Err(fail("credentials do not belong in the address of an endpoint".into()));
        }
        let address = Address::new(endpoint, style, name.to_owned(), region)
            .map_err(|e| fail(format!("bucket `{name}`: {e:?}")))?;
        let prefix = match url.path().trim_matches('/') {
            "" => String::new(),
            folder => format!("{folder}/"),
        };
        Ok(Self { address, prefix, profile, found: Mutex::new(None) })
    }

    /// The address of a name. It holds nothing secret.
    pub fn url(&self, key: &str) -> Url {
        self.address.object_url(&format!("{}{key}", self.prefix))
    }

    /// What a request for this name must have in its head to be allowed; nothing without credentials.
    pub fn headers(&self, method: &str, key: &str) -> Result<Vec<(&'static str, String)>> {
        let Some(credentials) = self.credentials()? else { return Ok(Vec::new()) };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs().cast_signed());
        Ok(sign::headers(method, &self.url(key), self.address.region(), &credentials, now))
    }

    /// The address of the server, without a name in the bucket.
    pub fn server(&self) -> &str {
        self.address.base_url().as_str()
    }

    /// Whether requests go without credentials, as none were found.
    pub fn is_anonymous(&self) -> bool {
        let found = self.found.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        found.as_ref().is_some_and(|found| found.credentials.is_none())
    }

    fn credentials(&self) -> Result<Option<Credentials>> {
        let mut found = self.found.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(known) = found.as_ref().filter(|known| known.at.elapsed() < FRESH) {
            return Ok(known.credentials.clone());
        }
        let credentials = credentials::find(self.profile.as_deref())?;
        *found = Some(Found { at: Instant::now(), credentials: credentials.clone() });
        Ok(credentials)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn with(text: &str, credentials: Option<Credentials>) -> Bucket {
        let bucket = Bucket::parse(text).unwrap();
        *bucket.found.lock().unwrap() = Some(Found { at: Instant::now(), credentials });
        bucket
    }

    #[test]
    fn names_become_addresses() {
        for (text, expected) in [
            ("s3://b?region=eu-west-1", "https://b.s3.eu-west-1.amazonaws.com/nar/x"),
            ("s3://b/some/folder/?region=eu-west-1", "https://b.s3.eu-west-1.amazonaws.com/some/folder/nar/x"),
            ("s3://b.c?region=eu-west-1", "https://s3.eu-west-1.amazonaws.com/b.c/nar/x"),
            ("s3://b/p?region=r&endpoint=minio.example:9000", "https://minio.example:9000/b/p/nar/x"),
            ("s3://b?region=r&endpoint=localhost:9000&scheme=http", "http://localhost:9000/b/nar/x"),
            ("s3://b?region=r&endpoint=http://localhost:9000", "http://localhost:9000/b/nar/x"),
        ] {
            let bucket = with(text, None);
            assert_eq!(bucket.url("nar/x").as_str(), expected, "{text}");
            assert_eq!(bucket.headers("GET", "nar/x").unwrap(), [], "{text}");
            assert!(bucket.is_anonymous());
        }
        for bad in ["s3://", "s3://b?regoin=x", "s3://u:p@b", "s3://b?endpoint=ftp://x"] {
            assert!(Bucket::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_error_shows_what_may_be_a_password() {
        for text in [
            "s3://user:hunter2@b",
            "s3://b?endpoint=https://user:hunter2@minio.example",
            "s3://b?endpoint=https%3A%2F%2Fuser%3Ahunter2%40minio.example",
        ] {
            let error = Bucket::parse(text).err().unwrap().to_string();
            assert!(error.contains("credentials do not belong") && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn the_token_and_the_signature_are_headers_and_no_part_of_the_address() {
        let credentials = Credentials::new_with_token("AKIDEXAMPLE", "the-secret", "the-token");
        let bucket = with("s3://b?region=eu-west-1", Some(credentials));
        assert!(!bucket.is_anonymous());
        assert_eq!(bucket.url("x").query(), None);
        let headers = |method: &str| bucket.headers(method, "x").unwrap();
        let put = headers("PUT");
        let named = |headers: &[(&str, String)], name: &str| {
            headers.iter().find(|(known, _)| *known == name).unwrap().1.clone()
        };
        assert_eq!(named(&put, "x-amz-security-token"), "the-token");
        let authorization = named(&put, "authorization");
        for part in [
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/",
            "/eu-west-1/s3/aws4_request, ",
            "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token, Signature=",
        ] {
            assert!(authorization.contains(part), "{part} is not in {authorization}");
        }
        assert!(!put.iter().any(|(_, value)| value.contains("the-secret")), "{put:?}");
        assert_ne!(authorization, named(&headers("GET"), "authorization"));
    }
}
