//! What can go wrong between a store and a binary cache, with the facts to act on.

use std::io;
use std::path::PathBuf;

use cairn_formats::narinfo::NarInfoError;
use cairn_formats::time::rfc3339;
use cairn_formats::{Sha256, StorePath};

pub type Result<T, E = CacheError> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error(
        "`{url}` is not the address of a binary cache: {reason}\n  help: write file:///FOLDER, http(s)://HOST/PATH or s3://BUCKET/PREFIX?region=REGION"
    )]
    Address { url: String, reason: String },
    #[error("{url} is not there\n  help: publish again; and see that nothing collects the cache's files away")]
    Absent { url: String },
    #[error("{url} cannot be reached: {message}\n  help: check the address, the network and, for https, the clock")]
    Network { url: String, message: String },
    #[error("{url}: the server says {status}{}{}", said(message), denied(*status, *anonymous))]
    Status { url: String, status: u16, message: String, anonymous: bool },
    #[error("{url} is longer than {limit} bytes, the most that is read of it: nothing of it was taken")]
    TooLong { url: String, limit: u64 },
    #[error("{doing} {}: {source}", path.display())]
    File { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("{url} is no narinfo that can be used: {source}")]
    NarInfo { url: String, source: NarInfoError },
    #[error("{url} is about {found}, and {wanted} was asked for: nothing of it was taken")]
    OtherPath { url: String, wanted: StorePath, found: StorePath },
    #[error(
        "{url} is signed by none of the trusted keys ({trusted}), but by {signed}\n  help: publish with a trusted key, or add the public key to trusted_public_keys"
    )]
    Untrusted { url: String, trusted: String, signed: String },
    #[error("{url}: {reason}")]
    Pointer { url: String, reason: String },
    #[error(
        "{url} has version {version}, and this program reads {known}: it was written by a newer program\n  help: install a newer `deploy`"
    )]
    PointerVersion { url: String, version: u32, known: u32 },
    #[error(
        "{url}: its sequence number {sequence} is the time {}, more than a day after this computer's clock ({}): it was refused\n  help: compare this clock with another one (`timedatectl`); if it is right, a publisher's clock was wrong or the signing key was stolen: replace a stolen key (docs/pull.md), then run `deploy publish HOST --replace`",
        time(*sequence),
        rfc3339(*now)
    )]
    Ahead { url: String, sequence: u64, now: i64 },
    #[error(
        "{reason}: `deploy publish` cannot continue from this pointer\n  help: while a key is being rotated, keep the old public key in pull.trusted_public_keys until the new key has published; otherwise find out what wrote the file, then `deploy publish {host} --replace` writes a new pointer over it"
    )]
    CannotFollow { host: String, reason: String },
    #[error("{url} did not arrive within {seconds} seconds: given up\n  help: check the server and the network")]
    Slow { url: String, seconds: u64 },
    #[error(
        "{url} has other bytes than its narinfo says (expected sha256 {expected}, got {got}): it was changed or cut off; nothing of it was taken\n  help: remove it and {path}'s narinfo from the cache, and publish again"
    )]
    FileHash { url: String, path: StorePath, expected: Sha256, got: Sha256 },
    #[error("{url} does not unpack to {path}: {reason}; nothing of it was taken")]
    Archive { url: String, path: StorePath, reason: String },
    #[error("the closure of {path} in the cache refers to itself: this is no closure that a store gave")]
    Circle { path: StorePath },
    #[error("the closure has more than {limit} paths: this is no host's closure")]
    TooMany { limit: usize },
    #[error(
        "{needed} MiB are to be unpacked and {free} MiB are free: nothing was fetched\n  help: make room, or collect old generations"
    )]
    NoRoom { needed: u64, free: u64 },
    #[error("it took longer than {minutes} minutes: given up; what has arrived stays, and the next time goes on")]
    Late { minutes: u64 },
    #[error("{what}: {reason}")]
    Key { what: String, reason: String },
    #[error("credentials for s3: {reason}")]
    Credentials { reason: String },
    #[error(
        "{url} was changed by somebody else meanwhile: what runs on hosts was not changed by this\n  help: look who published what, and publish again"
    )]
    Conflict { url: String },
    #[error("{path} is not addressed by its content and cannot be published")]
    NotContentAddressed { path: StorePath },
    #[error(transparent)]
    Store(#[from] cairn_store::StoreError),
}

fn said(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(" ({message})") }
}

/// The beginning of a text that came from elsewhere and may have any length.
pub fn short(text: &str, most: usize) -> String {
    let mut chars = text.chars();
    let mut begin: String = chars.by_ref().take(most).collect();
    if chars.next().is_some() {
        begin.push('…');
    }
    begin
}

/// A sequence number as the time that it is; numbers beyond the year 9999 stay numbers.
fn time(sequence: u64) -> String {
    const YEAR_10000: i64 = 253_402_300_800;
    match i64::try_from(sequence) {
        Ok(seconds) if seconds < YEAR_10000 => rfc3339(seconds),
        _ => "of no calendar".to_owned(),
    }
}

/// What helps when a bucket or server refuses.
fn denied(status: u16, anonymous: bool) -> &'static str {
    match (status, anonymous) {
        (401 | 403, true) => {
            "\n  help: no credentials were found; a bucket that is not public needs an instance role, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a file of credentials"
        }
        (301 | 307 | 308, _) => "\n  help: write the address that answers: for a bucket, its region (`region=`)",
        (401 | 403, false) => {
            "\n  help: the credentials found do not allow this: check the role or policy, and the region"
        }
        _ => "",
    }
}

/// For `map_err`: the file and what was being done with it.
pub fn file(doing: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> CacheError {
    let path = path.to_owned();
    move |source| CacheError::File { doing, path, source }
}
