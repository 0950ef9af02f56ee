//! The text files of a store path, in bounded amounts: what a comparison of two closures reads.
//!
//! Both sides read with [`read`]: the agent what lies on its host, the client what its own store
//! has. Symbolic links are neither followed nor told, so nothing outside of the path is reached.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use cairn_formats::{RelPath, StorePath};
use serde::{Deserialize, Serialize};

/// A file that is longer is left out.
const LONGEST: u64 = 256 << 10;
/// All that one answer may hold, as JSON writes it; below [`crate::frame::MAX_MESSAGE`].
const MOST_BYTES: usize = 3 << 20;
/// Names that one answer may hold.
const MOST_NAMES: usize = 10_000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reading {
    pub path: StorePath,
    /// A folder in it, as a relative path; empty for the whole.
    pub below: String,
    pub what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The names of the folder's entries.
    Names,
    /// Its files, and those of the folders in it.
    Texts,
}

/// What was found; nothing when there is no such folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Texts {
    /// Path below the folder → text; empty if only names were asked for.
    pub files: BTreeMap<String, String>,
    /// Files that are no text, or too long.
    pub left_out: Vec<String>,
}

/// Reads below `root`, a store path's own place.
pub fn read(root: &Path, below: &RelPath, what: What) -> io::Result<Texts> {
    let mut at = root.to_path_buf();
    let mut parts = below.parts();
    loop {
        match fs::symlink_metadata(&at) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return Ok(Texts::default()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Texts::default()),
            Err(error) => return Err(error),
        }
        let Some(part) = parts.next() else { break };
        at.push(std::ffi::OsStr::from_bytes(part));
    }
    let mut reader = Reader { what, found: Texts::default(), bytes: 0, names: 0 };
    reader.folder(&at, "")?;
    Ok(reader.found)
}

struct Reader {
    what: What,
    found: Texts,
    bytes: usize,
    names: usize,
}

impl Reader {
    fn folder(&mut self, at: &Path, prefix: &str) -> io::Result<()> {
        for entry in fs::read_dir(at)? {
            let entry = entry?;
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            self.names += 1;
            self.count(&name)?;
            let kind = entry.file_type()?;
            if self.what == What::Names {
                self.found.files.insert(name, String::new());
            } else if kind.is_dir() {
                self.folder(&entry.path(), &format!("{name}/"))?;
            } else if kind.is_file() {
                self.file(&entry.path(), name)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, at: &Path, name: String) -> io::Result<()> {
        if fs::symlink_metadata(at)?.len() > LONGEST {
            self.found.left_out.push(name);
            return Ok(());
        }
        match String::from_utf8(fs::read(at)?) {
            Ok(text) if !text.contains('\0') => {
                self.count(&text)?;
                self.found.files.insert(name, text);
            }
            _ => self.found.left_out.push(name),
        }
        Ok(())
    }

    fn count(&mut self, text: &str) -> io::Result<()> {
        self.bytes += written(text);
        if self.bytes > MOST_BYTES || self.names > MOST_NAMES {
            let message = format!("more than {MOST_NAMES} names or {} MiB of text", MOST_BYTES >> 20);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        Ok(())
    }
}

/// The bytes of a text in JSON.
fn written(text: &str) -> usize {
    let cost = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\t' | b'\r' => 2,
        0..=0x1f | 0x7f => 6,
        _ => 1,
    };
    text.bytes().map(cost).sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names(texts: &Texts) -> Vec<&str> {
        texts.files.keys().map(String::as_str).collect()
    }

    #[test]
    fn texts_are_read_and_links_lead_nowhere() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("closure");
        fs::create_dir_all(path.join("units/deep")).unwrap();
        fs::write(root.path().join("secret"), "outside").unwrap();
        fs::write(path.join("units/a.service"), "[Unit]\n").unwrap();
        fs::write(path.join("units/deep/b"), "b").unwrap();
        fs::write(path.join("units/binary"), [0xff, 0, 1]).unwrap();
        fs::write(path.join("units/long"), vec![b'x'; 300 << 10]).unwrap();
        std::os::unix::fs::symlink("../secret", path.join("units/link")).unwrap();
        std::os::unix::fs::symlink("..", path.join("up")).unwrap();
        let read = |below: &str, what| super::read(&path, &RelPath::parse(below.as_bytes()).unwrap(), what).unwrap();

        let mut all = read("units", What::Texts);
        assert_eq!(names(&all), ["a.service", "deep/b"]);
        assert_eq!(all.files["a.service"], "[Unit]\n");
        all.left_out.sort();
        assert_eq!(all.left_out, ["binary", "long"]);
        assert_eq!(names(&read("units", What::Names)), ["a.service", "binary", "deep", "link", "long"]);
        for nowhere in ["up", "up/closure", "units/a.service", "units/link", "none/at/all"] {
            assert_eq!(read(nowhere, What::Texts), Texts::default(), "{nowhere}");
        }
    }

    #[test]
    fn an_answer_never_outgrows_a_message() {
        let root = tempfile::tempdir().unwrap();
        for n in 0..5 {
            fs::write(root.path().join(n.to_string()), vec![1; 200 << 10]).unwrap();
        }
        let refused = super::read(root.path(), &RelPath::root(), What::Texts).unwrap_err();
        assert!(refused.to_string().contains("3 MiB"), "{refused}");
        fs::remove_file(root.path().join("4")).unwrap();
        fs::remove_file(root.path().join("3")).unwrap();
        let texts = super::read(root.path(), &RelPath::root(), What::Texts).unwrap_err();
        assert!(texts.to_string().contains("more than"), "{texts}");
        fs::remove_file(root.path().join("2")).unwrap();
        let texts = super::read(root.path(), &RelPath::root(), What::Texts).unwrap();
        assert!(serde_json::to_vec(&texts).unwrap().len() < crate::frame::MAX_MESSAGE);
    }
}
