//! AWS Signature Version 4 in headers ("Authenticating Requests: Using the Authorization Header", the
//! API reference of S3).
//!
//! The signature could stand in the address as well, and `rusty-s3` signs in that way only. But such an
//! address is a key for a quarter of an hour, and holds the session's token: servers and proxies
//! write addresses into their logs, and headers not.
//!
//! The content is not signed (`UNSIGNED-PAYLOAD`), as it is not in an address: what is read has
//! signatures of its own.

use cairn_formats::Sha256;
use cairn_formats::time::rfc3339;
use ring::hmac;
use rusty_s3::Credentials;
use url::Url;

const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// The headers that a request needs, `host` aside, which the client sets from the same address.
/// `at`: seconds since 1970.
pub fn headers(
    method: &str,
    url: &Url,
    region: &str,
    credentials: &Credentials,
    at: i64,
) -> Vec<(&'static str, String)> {
    let mut headers = vec![("x-amz-content-sha256", UNSIGNED.to_owned()), ("x-amz-date", timestamp(at))];
    headers.extend(credentials.token().map(|token| ("x-amz-security-token", token.to_owned())));
    let authorization = authorization(method, url, region, credentials, &headers, at);
    headers.push(("authorization", authorization));
    headers
}

/// `headers`: in the order of their names, all after `host`.
fn authorization(
    method: &str,
    url: &Url,
    region: &str,
    credentials: &Credentials,
    headers: &[(&'static str, String)],
    at: i64,
) -> String {
    let (timestamp, host) = (timestamp(at), host(url));
    let date = timestamp.get(..8).unwrap_or_default();
    let all = || std::iter::once(("host", host.as_str())).chain(headers.iter().map(|(n, v)| (*n, v.as_str())));
    let lines: String = all().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let names: Vec<&str> = all().map(|(name, _)| name).collect();
    let names = names.join(";");
    let content = headers.iter().find(|(name, _)| *name == "x-amz-content-sha256").map_or(UNSIGNED, |(_, v)| v);
    // No request of ours has a query, which would stand between path and headers.
    let request = format!("{method}\n{}\n\n{lines}\n{names}\n{content}", url.path());
    let scope = format!("{date}/{region}/s3/aws4_request");
    let text = format!("AWS4-HMAC-SHA256\n{timestamp}\n{scope}\n{}", Sha256::of(request.as_bytes()).hex());
    let mut key = format!("AWS4{}", credentials.secret()).into_bytes();
    for part in [date, region, "s3", "aws4_request"] {
        key = mac(&key, part);
    }
    let signature: String = mac(&key, &text).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}", credentials.key())
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

/// As an HTTP client writes it: without the scheme's own port.
fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or(host.to_owned(), |port| format!("{host}:{port}"))
}

/// `20261118T110640Z`.
fn timestamp(at: i64) -> String {
    rfc3339(at).replace(['-', ':'], "")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The example of the documentation: part of an object, and an empty content that is signed.
    #[test]
    fn the_documented_example_has_the_documented_signature() {
        let url = Url::parse("https://examplebucket.s3.amazonaws.com/test.txt").unwrap();
        let credentials = Credentials::new("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        let headers = [
            ("range", "bytes=0-9".to_owned()),
            ("x-amz-content-sha256", Sha256::of(b"").hex()),
            ("x-amz-date", "20130524T000000Z".to_owned()),
        ];
        let found = authorization("GET", &url, "us-east-1", &credentials, &headers, 1_369_353_600);
        assert_eq!(
            found,
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
             SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, \
             Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
    }

    /// Computed by botocore's `S3SigV4Auth`, with a token, a port and a name with signs in it.
    #[test]
    fn another_implementation_signs_the_same() {
        let url = Url::parse("http://127.0.0.1:9000/bucket/some%20folder/nar/a%2Bb.nar.zst").unwrap();
        let credentials = Credentials::new_with_token("AKIDEXAMPLE", "the-secret", "the/token+=");
        let found = headers("PUT", &url, "eu-west-1", &credentials, 1_795_000_000);
        assert_eq!(found[1], ("x-amz-date", "20261118T110640Z".to_owned()));
        assert_eq!(
            found[3].1,
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261118/eu-west-1/s3/aws4_request, \
             SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token, \
             Signature=76ee618bb43ff7b6cf1709f2adfc58a528ae61eb949360f68427cac4a83c46a6"
        );
    }
}
