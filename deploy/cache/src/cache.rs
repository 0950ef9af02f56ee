//! One binary cache, wherever it lies: files by their names.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{CacheError, Result, file};
use crate::s3;
use crate::web::Web;

/// How long a small file may take as a whole, so that a server that sends a byte now and then does
/// not hold its reader. 256 KiB in this time are 2 KiB a second.
const PATIENCE: Duration = Duration::from_secs(120);
/// `O_NONBLOCK`: opening a FIFO does not wait for its other end.
const NONBLOCK: i32 = 0o4000;

pub struct Cache {
    shown: String,
    place: Place,
    patience: Duration,
}

enum Place {
    Folder(PathBuf),
    Web(Web),
}

/// Which version of a file a server gave, so that another one is noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revision {
    /// There is no such file.
    Absent,
    /// The server's `ETag`.
    Tag(String),
    /// The server does not say.
    Unknown,
}

/// What came of asking for a file that one may have already.
#[derive(Debug)]
pub enum Answer {
    Absent,
    /// It is the one that was named.
    Unchanged,
    Content {
        bytes: Vec<u8>,
        revision: Revision,
    },
}

impl Cache {
    /// `file:///FOLDER`, `http(s)://HOST/PATH` or `s3://BUCKET/PREFIX?region=…&endpoint=…`.
    pub fn open(url: &str) -> Result<Self> {
        let fail = |reason: &str| CacheError::Address { url: shown(url), reason: reason.to_owned() };
        let (scheme, rest) = url.split_once("://").ok_or_else(|| fail("it has no scheme"))?;
        let place = match scheme {
            "file" if rest.starts_with('/') => Place::Folder(PathBuf::from(rest)),
            "file" => return Err(fail("a folder is named by its whole path")),
            "http" | "https" if rest.contains('@') => {
                return Err(fail("a name and password in an address end up in logs"));
            }
            "http" | "https" if rest.contains(['?', '#']) => return Err(fail("a query cannot be part of it")),
            "http" | "https" => Place::Web(Web::plain(url)),
            "s3" => Place::Web(Web::bucket(s3::Bucket::parse(url)?)),
            _ => return Err(fail("its scheme is not known")),
        };
        Ok(Self { shown: shown(url).trim_end_matches('/').to_owned(), place, patience: PATIENCE })
    }

    /// With another limit for the time that a small file takes.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The address, for messages.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// A file's address, for messages.
    pub fn url(&self, key: &str) -> String {
        let (base, query) = self.shown.split_once('?').unwrap_or((&self.shown, ""));
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{}/{key}{mark}{query}", base.trim_end_matches('/'))
    }

    /// A small file, of at most `limit` bytes.
    pub fn get(&self, key: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        match self.get_unless(key, limit, &Revision::Unknown)? {
            Answer::Content { bytes, .. } => Ok(Some(bytes)),
            Answer::Absent | Answer::Unchanged => Ok(None),
        }
    }

    /// As [`Cache::get`], unless it is the version that the caller has.
    pub fn get_unless(&self, key: &str, limit: u64, have: &Revision) -> Result<Answer> {
        let (body, revision): (Box<dyn Read>, Revision) = match &self.place {
            Place::Folder(folder) => match open(&folder.join(key))? {
                Some(file) => (Box::new(file), Revision::Unknown),
                None => return Ok(Answer::Absent),
            },
            Place::Web(web) => match web.get(key, have, self.patience, &self.url(key))? {
                crate::web::Got::Absent => return Ok(Answer::Absent),
                crate::web::Got::Unchanged => return Ok(Answer::Unchanged),
                crate::web::Got::Body { body, revision } => (body, revision),
            },
        };
        let mut bytes = Vec::new();
        let broken = |e: io::Error| crate::web::broken(&self.url(key), &e, self.patience);
        body.take(limit + 1).read_to_end(&mut bytes).map_err(broken)?;
        if bytes.len() as u64 > limit {
            return Err(CacheError::TooLong { url: self.url(key), limit });
        }
        Ok(Answer::Content { bytes, revision })
    }

    /// A large file as a stream, which ends with an error after this time.
    pub fn read(&self, key: &str, within: Duration) -> Result<Box<dyn Read>> {
        let absent = || CacheError::Absent { url: self.url(key) };
        match &self.place {
            Place::Folder(folder) => Ok(Box::new(open(&folder.join(key))?.ok_or_else(absent)?)),
            Place::Web(web) => match web.get(key, &Revision::Unknown, within, &self.url(key))? {
                crate::web::Got::Body { body, .. } => Ok(body),
                crate::web::Got::Absent | crate::web::Got::Unchanged => Err(absent()),
            },
        }
    }

    pub fn exists(&self, key: &str) -> Result<bool> {
        match &self.place {
            Place::Folder(folder) => Ok(folder.join(key).is_file()),
            Place::Web(web) => web.exists(key, self.patience, &self.url(key)),
        }
    }

    /// Writes a small file, whole or not at all.
    pub fn put(&self, key: &str, bytes: &[u8]) -> Result<()> {
        match &self.place {
            Place::Folder(folder) => place(&folder.join(key), |out| out.write_all(bytes)),
            Place::Web(web) => web.put(key, bytes, None, self.patience, &self.url(key)),
        }
    }

    /// As [`Cache::put`], if the file there is still the one that was read. Servers that do not know
    /// versions write it in any case.
    pub fn put_over(&self, key: &str, bytes: &[u8], read: &Revision) -> Result<()> {
        match &self.place {
            Place::Folder(_) => self.put(key, bytes),
            Place::Web(web) => web.put(key, bytes, Some(read), self.patience, &self.url(key)),
        }
    }

    /// Writes a large file, whole or not at all.
    pub fn put_file(&self, key: &str, from: &Path) -> Result<()> {
        match &self.place {
            Place::Folder(folder) => {
                let mut source = File::open(from).map_err(file("cannot read", from))?;
                place(&folder.join(key), |out| io::copy(&mut source, out).map(drop))
            }
            Place::Web(web) => web.put_file(key, from, &self.url(key)),
        }
    }

    /// Keeps others on this computer from publishing to a folder, as long as the file lives.
    pub fn hold(&self) -> Result<Option<File>> {
        let Place::Folder(folder) = &self.place else { return Ok(None) };
        let path = folder.join("cairn/.lock");
        fs::create_dir_all(folder.join("cairn")).map_err(file("cannot make the folder", folder))?;
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let lock = lock.map_err(file("cannot open", &path))?;
        lock.lock().map_err(file("cannot lock", &path))?;
        Ok(Some(lock))
    }
}

/// A plain file; anything else, such as a FIFO or a device, is an error.
fn open(path: &Path) -> Result<Option<File>> {
    let opened = OpenOptions::new().read(true).custom_flags(NONBLOCK).open(path).and_then(|opened| {
        match opened.metadata()?.is_file() {
            true => Ok(opened),
            false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a plain file")),
        }
    });
    match opened {
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        other => other.map(Some).map_err(file("cannot read", path)),
    }
}

/// A reader finds the old file or the new one.
fn place(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).map_err(file("cannot make the folder", parent))?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".new-{}-{:?}", std::process::id(), std::thread::current().id()));
    let beside = path.with_file_name(name);
    let put = || {
        // What a publisher that was killed has left, or what was planted there: never followed.
        match fs::remove_file(&beside) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut out = File::create_new(&beside)?;
        write(&mut out)?;
        out.sync_all()?;
        fs::rename(&beside, path)
    };
    put().map_err(|error| {
        let _ = fs::remove_file(&beside);
        file("cannot write", path)(error)
    })
}

/// An address without what may be a password: in front of its host, or in that of an endpoint.
pub fn shown(url: &str) -> String {
    let url = match url.split_once('?') {
        Some((base, query)) if query.contains('@') || query.contains("%40") => base,
        _ => url,
    };
    match url.split_once("://") {
        Some((scheme, rest)) => match rest.split_once('/').unwrap_or((rest, "")) {
            (authority, path) if authority.contains('@') => {
                format!("{scheme}://{}/{path}", authority.rsplit_once('@').map_or("", |(_, host)| host))
            }
            _ => url.to_owned(),
        },
        None => url.to_owned(),
    }
}
