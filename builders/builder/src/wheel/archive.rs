//! The zip archive of a wheel: names checked once, content bounded by the declared sizes.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use zip::ZipArchive;

use crate::error::{Error, Problem, Result, label};

/// What all files may add up to. The largest wheels of PyPI unpack to a quarter of it.
const MAX_UNPACKED: u64 = 16 << 30;
/// Bounds each file of metadata that is read whole. RECORD of the largest wheels has 4 MiB.
const MAX_METADATA: u64 = 64 << 20;
/// Bytes of a name; zip itself allows 65,535, which Linux cannot open.
const MAX_NAME: usize = 4095;
/// The bits of a mode that tell its kind, and their value for a symbolic link (inode(7)).
const S_IFMT: u32 = 0o170_000;
const S_IFLNK: u32 = 0o120_000;

pub struct Archive {
    /// How messages name it.
    pub label: String,
    zip: ZipArchive<BufReader<File>>,
    /// Names of the files, sorted; directories are not among them.
    files: Vec<String>,
}

pub struct Entry<'a> {
    pub size: u64,
    pub executable: bool,
    pub data: Box<dyn Read + 'a>,
}

impl Archive {
    pub fn open(path: &Path) -> Result<Self> {
        let label = label(path);
        let file = File::open(path).map_err(Error::io("open", path))?;
        let mut zip = ZipArchive::new(BufReader::with_capacity(64 * 1024, file))
            .map_err(|error| Error::archive(&label, format!("is not a wheel: {error}")))?;
        if zip.has_duplicate_names() {
            return Err(Error::archive(&label, "names a file twice, so that its content depends on who reads it"));
        }
        let mut files = Vec::new();
        let mut total: u64 = 0;
        for index in 0..zip.len() {
            let entry = zip.by_index_raw(index).map_err(|error| Error::archive(&label, error.to_string()))?;
            let name = entry.name_raw();
            let fault = |problem| Error::member(&label, String::from_utf8_lossy(name), problem);
            let name = std::str::from_utf8(name).map_err(|_| fault(Problem::NotUtf8))?;
            check_name(name).map_err(fault)?;
            if entry.unix_mode().is_some_and(|mode| mode & S_IFMT == S_IFLNK) {
                return Err(fault(Problem::Kind("symbolic link, which wheels cannot hold")));
            }
            total = total.saturating_add(entry.size());
            if !name.ends_with('/') {
                files.push(name.to_owned());
            }
        }
        if total > MAX_UNPACKED {
            return Err(Error::archive(&label, format!("would unpack to {total} bytes; the limit is {MAX_UNPACKED}")));
        }
        files.sort_unstable();
        Ok(Self { label, zip, files })
    }

    pub fn files(&self) -> &[String] {
        &self.files
    }

    /// The one top-level directory that describes the wheel.
    pub fn dist_info(&self) -> Result<String> {
        let mut found: Vec<&str> = self
            .files
            .iter()
            .filter_map(|name| name.split_once('/'))
            .map(|(first, _)| first)
            .filter(|first| first.ends_with(".dist-info"))
            .collect();
        found.dedup();
        match found[..] {
            [one] => Ok(one.to_owned()),
            [] => Err(Error::archive(&self.label, "is not a wheel: it has no directory `*.dist-info`")),
            _ => Err(Error::archive(&self.label, format!("describes itself twice: {}", found.join(", ")))),
        }
    }

    /// A file of metadata, whole.
    pub fn read(&mut self, name: &str) -> Result<Vec<u8>> {
        let label = self.label.clone();
        let fault = |problem: Problem| Error::member(&label, name, problem);
        if self.files.binary_search_by(|file| file.as_str().cmp(name)).is_err() {
            return Err(fault(Problem::Other("is missing".into())));
        }
        let entry = self.entry(name).map_err(fault)?;
        if entry.size > MAX_METADATA {
            return Err(fault(Problem::TooLarge { limit: MAX_METADATA }));
        }
        let mut bytes = Vec::new();
        entry.data.take(entry.size + 1).read_to_end(&mut bytes).map_err(|error| fault(error.into()))?;
        match bytes.len() as u64 {
            got if got == entry.size => Ok(bytes),
            got => Err(fault(Problem::Size { expected: entry.size, got })),
        }
    }

    pub fn entry(&mut self, name: &str) -> Result<Entry<'_>, Problem> {
        // `by_name_raw` of the zip crate (9.8) means raw content, still compressed, not a raw name.
        let index = self.zip.index_for_name_raw(name.as_bytes()).ok_or(Problem::Absent)?;
        let file = self.zip.by_index(index).map_err(|error| Problem::Other(format!("cannot be read: {error}")))?;
        let executable = file.unix_mode().is_some_and(|mode| mode & 0o111 != 0);
        Ok(Entry { size: file.size(), executable, data: Box::new(file) })
    }
}

fn check_name(name: &str) -> Result<(), Problem> {
    let path = name.strip_suffix('/').unwrap_or(name);
    if path.len() > MAX_NAME {
        return Err(Problem::PathTooLong { limit: MAX_NAME });
    }
    // Other systems read a backslash as a separator, so the same wheel would differ there.
    if path.is_empty() || path.contains('\\') {
        return Err(Problem::Escapes);
    }
    cairn_formats::RelPath::parse(path.as_bytes()).map(drop).map_err(|_| Problem::Escapes)
}
