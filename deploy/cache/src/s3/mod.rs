//! A bucket: from a name in the cache to a signed address, with the credentials that a host has.
//!
//! Addresses are spelled as Nix spells them (`s3://BUCKET?region=…&endpoint=…&scheme=…&profile=…`),
//! with a folder within the bucket, if any, as their path.

pub(crate) mod credentials;
pub(crate) mod instance;

use std::time::{Duration, Instant};

use rusty_s3::{Bucket as Address, Credentials, S3Action as _, UrlStyle};
use std::sync::Mutex;
use url::Url;

use crate::error::{CacheError, Result};

/// An address is used at once; the server's clock may go otherwise.
const VALID: Duration = Duration::from_secs(900);
/// Those of an instance's role change every few hours, and are there long before they count.
const FRESH: Duration = Duration::from_secs(600);
/// What Nix takes where nothing says.
const REGION: &str = "us-east-1";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    Put,
}

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
        let fail = |reason: String| CacheError::Address { url: text.to_owned(), reason };
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
        let address = Address::new(endpoint, style, name.to_owned(), region)
            .map_err(|e| fail(format!("bucket `{name}`: {e:?}")))?;
        let prefix = match url.path().trim_matches('/') {
            "" => String::new(),
            folder => format!("{folder}/"),
        };
        Ok(Self { address, prefix, profile, found: Mutex::new(None) })
    }

    /// The address at which a request for this name is allowed; a secret for its quarter of an hour.
    pub fn sign(&self, method: Method, key: &str) -> Result<String> {
        let credentials = self.credentials()?;
        let (with, object) = (credentials.as_ref(), format!("{}{key}", self.prefix));
        let url = match method {
            Method::Get => self.address.get_object(with, &object).sign(VALID),
            Method::Head => self.address.head_object(with, &object).sign(VALID),
            Method::Put => self.address.put_object(with, &object).sign(VALID),
        };
        Ok(url.into())
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
            assert_eq!(bucket.sign(Method::Get, "nar/x").unwrap(), expected, "{text}");
            assert!(bucket.is_anonymous());
        }
        for bad in ["s3://", "s3://b?regoin=x", "s3://u:p@b", "s3://b?endpoint=ftp://x"] {
            assert!(Bucket::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_signed_names_key_region_and_token_and_no_secret() {
        let credentials = Credentials::new_with_token("AKIDEXAMPLE", "the-secret", "the-token");
        let bucket = with("s3://b?region=eu-west-1", Some(credentials));
        assert!(!bucket.is_anonymous());
        let put = bucket.sign(Method::Put, "x").unwrap();
        for part in [
            "X-Amz-Credential=AKIDEXAMPLE%2F",
            "%2Feu-west-1%2Fs3%2Faws4_request",
            "X-Amz-Security-Token=the-token",
            "X-Amz-Expires=900",
            "X-Amz-SignedHeaders=host",
            "X-Amz-Signature=",
        ] {
            assert!(put.contains(part), "{part} is not in {put}");
        }
        assert!(!put.contains("the-secret"));
        let signature = |url: &str| url.rsplit_once("X-Amz-Signature=").unwrap().1.to_owned();
        assert_ne!(signature(&put), signature(&bucket.sign(Method::Get, "x").unwrap()));
    }
}
