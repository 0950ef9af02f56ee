//! One binary cache, wherever it lies: files by their names.

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use crate::error::{CacheError, Result, file};
use crate::s3;
use crate::web::Web;

pub struct Cache {
    shown: String,
    place: Place,
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
        let fail = |reason: &str| CacheError::Address { url: hidden(url), reason: reason.to_owned() };
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
        Ok(Self { shown: hidden(url).trim_end_matches('/').to_owned(), place })
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
            Place::Web(web) => match web.get(key, have, &self.url(key))? {
                crate::web::Got::Absent => return Ok(Answer::Absent),
                crate::web::Got::Unchanged => return Ok(Answer::Unchanged),
                crate::web::Got::Body { body, revision } => (body, revision),
            },
        };
        let mut bytes = Vec::new();
        let network = |e: io::Error| CacheError::Network { url: self.url(key), message: e.to_string() };
        body.take(limit + 1).read_to_end(&mut bytes).map_err(network)?;
        if bytes.len() as u64 > limit {
            return Err(CacheError::TooLong { url: self.url(key), limit });
        }
        Ok(Answer::Content { bytes, revision })
    }

    /// A large file as a stream.
    pub fn read(&self, key: &str) -> Result<Box<dyn Read>> {
        let absent = || CacheError::Absent { url: self.url(key) };
        match &self.place {
            Place::Folder(folder) => Ok(Box::new(open(&folder.join(key))?.ok_or_else(absent)?)),
            Place::Web(web) => match web.get(key, &Revision::Unknown, &self.url(key))? {
                crate::web::Got::Body { body, .. } => Ok(body),
                crate::web::Got::Absent | crate::web::Got::Unchanged => Err(absent()),
            },
        }
    }

    pub fn exists(&self, key: &str) -> Result<bool> {
        match &self.place {
            Place::Folder(folder) => Ok(folder.join(key).is_file()),
            Place::Web(web) => web.exists(key, &self.url(key)),
        }
    }

    /// Writes a small file, whole or not at all.
    pub fn put(&self, key: &str, bytes: &[u8]) -> Result<()> {
        match &self.place {
            Place::Folder(folder) => place(&folder.join(key), |out| out.write_all(bytes)),
            Place::Web(web) => web.put(key, bytes, None, &self.url(key)),
        }
    }

    /// As [`Cache::put`], if the file there is still the one that was read. Servers that do not know
    /// versions write it in any case.
    pub fn put_over(&self, key: &str, bytes: &[u8], read: &Revision) -> Result<()> {
        match &self.place {
            Place::Folder(_) => self.put(key, bytes),
            Place::Web(web) => web.put(key, bytes, Some(read), &self.url(key)),
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
        let lock = File::create(&path).map_err(file("cannot open", &path))?;
        lock.lock().map_err(file("cannot lock", &path))?;
        Ok(Some(lock))
    }
}

fn open(path: &Path) -> Result<Option<File>> {
    match File::open(path) {
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
        let mut out = File::create(&beside)?;
        write(&mut out)?;
        out.sync_all()?;
        fs::rename(&beside, path)
    };
    put().map_err(|error| {
        let _ = fs::remove_file(&beside);
        file("cannot write", path)(error)
    })
}

/// Without what may be a password.
fn hidden(url: &str) -> String {
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
