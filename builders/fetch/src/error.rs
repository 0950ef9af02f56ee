//! What can go wrong between a mirror and the disk.

use std::io;
use std::path::PathBuf;

use cairn_formats::Sha256;

/// `what` says what was wanted in the reader's words (`package tzdata`), `url` where it was sought,
/// without credentials.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error(
        "{what} is gone from the mirror: {url} does not exist\n  help: lock again to take a version that the mirror has, or add a mirror that still has it to `[mirrors]` in deploy.toml"
    )]
    Gone { what: String, url: String },
    #[error(
        "{what}: {url} has other content than expected\n  expected sha256 {expected}\n  got      sha256 {got}\n  help: the mirror or something on the way changed the file; nothing of it was kept. Try again, or use another mirror"
    )]
    HashMismatch { what: String, expected: Sha256, got: Sha256, url: String },
    #[error(
        "{what}: {url} is longer than the {expected} bytes expected\n  help: the mirror serves another file under this name; nothing of it was kept. Try again, or use another mirror"
    )]
    TooLong { what: String, expected: u64, url: String },
    #[error(
        "{what}: {url} is longer than {limit} bytes, the most that is read\n  help: this does not look like the file meant; check the mirror's address"
    )]
    Limit { what: String, limit: u64, url: String },
    #[error(
        "{what}: the transfer from {url} stopped after {got} bytes{}\n  help: what arrived is kept; run again to resume",
        expected.map(|e| format!(" of {e}")).unwrap_or_default()
    )]
    Truncated { what: String, got: u64, expected: Option<u64>, url: String },
    #[error("{what}: the server answered {status} for {url}\n  help: check the mirror's address, or try again later")]
    Status { what: String, status: u16, url: String },
    #[error(
        "{what}: no secure connection for {url}: {message}\n  help: if your network uses its own certificate authority, set SSL_CERT_FILE to its bundle"
    )]
    Tls { what: String, url: String, message: String },
    #[error(
        "{what}: cannot reach {url}: {message}\n  help: check the network and the mirror's address, then run again"
    )]
    Network { what: String, url: String, message: String },
    #[error(
        "{what}: {url} redirects to {to}, which is not encrypted; nothing was fetched from there\n  help: use an address that stays with https://, or the http:// address itself if that is what you mean"
    )]
    Downgrade { what: String, url: String, to: String },
    #[error("{what}: {url} is not a regular file")]
    NotAFile { what: String, url: String },
    #[error("{what}: `{url}` is not an address to download from\n  help: use http://, https:// or file://")]
    BadUrl { what: String, url: String },
    #[error("{what}: `{name}` cannot be the name of a file")]
    FileName { what: String, name: String },
    #[error("no mirror is known for {what}\n  help: {help}")]
    NoMirror { what: String, help: String },
    #[error("cannot write {}: {source}", path.display())]
    Disk { path: PathBuf, source: io::Error },
}

impl FetchError {
    /// Worth another try at the same address, as the cause may pass.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Truncated { .. } | Self::Network { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
            _ => false,
        }
    }

    /// Another mirror may do better.
    pub(crate) fn is_mirrors_fault(&self) -> bool {
        !matches!(self, Self::Disk { .. } | Self::FileName { .. } | Self::NoMirror { .. })
    }
}

/// The URL without user name and password, for messages.
pub fn without_login(url: &str) -> String {
    if let Some((scheme, rest)) = url.split_once("://") {
        let authority = rest.split('/').next().unwrap_or_default();
        if let Some((_, host)) = authority.rsplit_once('@') {
            return format!("{scheme}://{host}{}", &rest[authority.len()..]);
        }
    }
    url.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_not_shown() {
        for (url, expected) in [
            ("https://me:secret@mirror.example/simple/", "https://mirror.example/simple/"),
            ("https://mirror.example/a@b", "https://mirror.example/a@b"),
            ("file:///srv/x@y", "file:///srv/x@y"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(without_login(url), expected);
        }
    }
}
