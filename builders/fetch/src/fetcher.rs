//! Downloads: several addresses, several tries, one right file.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use cairn_formats::Sha256;

use crate::error::without_login as shown;
use crate::part::{Part, is_complete};
use crate::transport::Transport;
use crate::{FetchError, Progress};

/// Waits between tries at one address: three tries after the first, then the next address.
const BACKOFF: [Duration; 3] = [Duration::from_millis(250), Duration::from_secs(1), Duration::from_secs(4)];

/// Most bytes taken for a file whose size is not known beforehand.
const UNKNOWN_SIZE_LIMIT: u64 = 4 << 30;

/// A file that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    /// For messages and progress: `package tzdata`.
    pub what: String,
    /// Where it may be had, in the order to try.
    pub urls: Vec<String>,
    pub sha256: Sha256,
    /// Bytes, if known.
    pub size: Option<u64>,
    /// A plain name; the file on disk carries part of the hash before it.
    pub file_name: String,
}

/// Downloads into one folder. Share it between threads; two that want the same file take turns.
pub struct Fetcher {
    downloads: PathBuf,
    transport: Transport,
    backoff: [Duration; 3],
}

impl Fetcher {
    /// Creates the folder if it is missing.
    pub fn new(downloads: &Path) -> Result<Self, FetchError> {
        fs::create_dir_all(downloads).map_err(|source| FetchError::Disk { path: downloads.to_owned(), source })?;
        Ok(Self { downloads: downloads.to_owned(), transport: Transport::new(), backoff: BACKOFF })
    }

    #[cfg(test)]
    pub(crate) fn impatient(downloads: &Path) -> Self {
        let mut fetcher = Self::new(downloads).expect("a writable folder");
        fetcher.backoff = [Duration::ZERO; 3];
        fetcher
    }

    /// Where [`Fetcher::fetch`] puts the file. Two files of one name and different content do not
    /// meet, because the first digits of the hash are part of the name.
    pub fn path(&self, download: &Download) -> Result<PathBuf, FetchError> {
        let name = &download.file_name;
        if name.is_empty() || name.starts_with('.') || name.len() > 200 || name.contains(['/', '\0']) {
            return Err(FetchError::FileName { what: download.what.clone(), name: name.clone() });
        }
        Ok(self.downloads.join(format!("{}-{name}", &download.sha256.hex()[..16])))
    }

    /// The right file, if it is there already: no address is needed for it.
    pub fn found(&self, download: &Download) -> Result<Option<PathBuf>, FetchError> {
        let path = self.path(download)?;
        Ok(is_complete(&path, download.sha256, download.size).then_some(path))
    }

    /// Brings the file, unless a right one is there already; returns its path. The caller may move
    /// the file away.
    pub fn fetch(&self, download: &Download, progress: &dyn Progress) -> Result<PathBuf, FetchError> {
        let destination = self.path(download)?;
        if is_complete(&destination, download.sha256, download.size) {
            return Ok(destination);
        }
        let mut part_name = destination.clone().into_os_string();
        part_name.push(".part");
        let mut part = Part::open(Path::new(&part_name))?;
        if is_complete(&destination, download.sha256, download.size) {
            return Ok(destination);
        }
        progress.started(&download.what, download.size);
        progress.advanced(&download.what, part.len());
        self.any_mirror(download, &mut part, progress)?;
        part.keep_as(&destination)?;
        progress.finished(&download.what);
        Ok(destination)
    }

    fn any_mirror(&self, download: &Download, part: &mut Part, progress: &dyn Progress) -> Result<(), FetchError> {
        let mut failures = Vec::new();
        for url in &download.urls {
            let tried = self.retrying(&download.what, progress, || self.once(download, url, part, progress));
            match tried {
                Ok(()) => return Ok(()),
                Err(error) if error.is_mirrors_fault() => failures.push(error),
                Err(error) => return Err(error),
            }
        }
        // "Gone" is only true when every mirror says so; any other fault says more.
        let telling = failures.iter().position(|e| !matches!(e, FetchError::Gone { .. })).unwrap_or(0);
        if failures.is_empty() {
            let help = "give at least one address".to_owned();
            return Err(FetchError::NoMirror { what: download.what.clone(), help });
        }
        Err(failures.swap_remove(telling))
    }

    fn retrying<T>(
        &self,
        what: &str,
        progress: &dyn Progress,
        mut attempt: impl FnMut() -> Result<T, FetchError>,
    ) -> Result<T, FetchError> {
        for wait in self.backoff {
            match attempt() {
                Err(error) if error.is_transient() => {
                    progress.retrying(what, &error, wait);
                    thread::sleep(wait);
                }
                settled => return settled,
            }
        }
        attempt()
    }

    /// One request, continuing what is there. A file made of two parts that turns out wrong is
    /// asked for once more as a whole, since the older part may be at fault.
    fn once(&self, download: &Download, url: &str, part: &mut Part, progress: &dyn Progress) -> Result<(), FetchError> {
        part.mark_resumed();
        match self.continued(download, url, part, progress) {
            Err(FetchError::HashMismatch { .. } | FetchError::TooLong { .. }) if part.is_resumed() => {
                restart(download, part, progress)?;
                self.continued(download, url, part, progress)
            }
            settled => settled,
        }
        .inspect_err(|error| {
            if matches!(error, FetchError::HashMismatch { .. } | FetchError::TooLong { .. }) {
                // Best effort: if it fails, the next run finds the hash wrong and starts over.
                let _ = restart(download, part, progress);
            }
        })
    }

    fn continued(
        &self,
        download: &Download,
        url: &str,
        part: &mut Part,
        progress: &dyn Progress,
    ) -> Result<(), FetchError> {
        let Download { what, sha256, size, .. } = download;
        if size.is_none_or(|size| part.len() < size) {
            let mut answer = self.transport.get(what, url, part.len(), None)?;
            if answer.start != part.len() {
                restart(download, part, progress)?;
            }
            let announced = answer.length.map(|length| answer.start.saturating_add(length));
            let limit = size.unwrap_or(UNKNOWN_SIZE_LIMIT);
            let mut buffer = vec![0; 64 * 1024];
            loop {
                let n = match answer.body.read(&mut buffer) {
                    Ok(n) => n,
                    Err(error) => return Err(interrupted(download, url, part.len(), &error)),
                };
                if n == 0 {
                    break;
                }
                if part.len() + n as u64 > limit {
                    return Err(FetchError::TooLong { what: what.clone(), expected: limit, url: shown(url) });
                }
                part.append(&buffer[..n])?;
                progress.advanced(what, n as u64);
            }
            let expected = size.or(announced);
            if expected.is_some_and(|expected| part.len() < expected) {
                return Err(FetchError::Truncated { what: what.clone(), got: part.len(), expected, url: shown(url) });
            }
        }
        let got = if size.is_some_and(|size| part.len() > size) { None } else { Some(part.take_hash()) };
        match got {
            Some(got) if got == *sha256 => Ok(()),
            Some(got) => Err(FetchError::HashMismatch { what: what.clone(), expected: *sha256, got, url: shown(url) }),
            None => {
                Err(FetchError::TooLong { what: what.clone(), expected: size.unwrap_or_default(), url: shown(url) })
            }
        }
    }

    /// A small file as bytes, at most `limit` of them; `accept` is the HTTP header of that name.
    pub fn get_bytes(&self, what: &str, url: &str, accept: Option<&str>, limit: u64) -> Result<Vec<u8>, FetchError> {
        self.retrying(what, &(), || {
            let answer = self.transport.get(what, url, 0, accept)?;
            let network = |message: String| FetchError::Network { what: what.to_owned(), url: shown(url), message };
            let mut bytes = Vec::new();
            answer
                .body
                .take(limit.saturating_add(1))
                .read_to_end(&mut bytes)
                .map_err(|error| network(format!("the transfer stopped: {error}")))?;
            let got = bytes.len() as u64;
            if got > limit {
                return Err(FetchError::Limit { what: what.to_owned(), limit, url: shown(url) });
            }
            if answer.length.is_some_and(|length| got < length) {
                let expected = answer.length;
                return Err(FetchError::Truncated { what: what.to_owned(), got, expected, url: shown(url) });
            }
            Ok(bytes)
        })
    }

    /// As [`Fetcher::get_bytes`], for text in UTF-8.
    pub fn get_text(&self, what: &str, url: &str, accept: Option<&str>, limit: u64) -> Result<String, FetchError> {
        let bytes = self.get_bytes(what, url, accept, limit)?;
        String::from_utf8(bytes).map_err(|_| FetchError::Network {
            what: what.to_owned(),
            url: shown(url),
            message: "the answer is not text".to_owned(),
        })
    }
}

fn restart(download: &Download, part: &mut Part, progress: &dyn Progress) -> Result<(), FetchError> {
    progress.restarted(&download.what);
    part.clear()
}

fn interrupted(download: &Download, url: &str, got: u64, error: &std::io::Error) -> FetchError {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            FetchError::Truncated { what: download.what.clone(), got, expected: download.size, url: shown(url) }
        }
        _ => FetchError::Network {
            what: download.what.clone(),
            url: shown(url),
            message: format!("the transfer stopped after {got} bytes: {error}"),
        },
    }
}

#[cfg(test)]
#[path = "fetcher_tests.rs"]
mod tests;
