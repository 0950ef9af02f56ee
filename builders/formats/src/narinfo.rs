//! `.narinfo`: what a binary cache says of one store path, and what of it is signed.
//!
//! One `Key: value` a line (the Nix manual, "Binary cache"). What a signature covers is not the
//! text but a fingerprint over path, NAR and references: where the archive lies, and how it is
//! compressed, may change without a new signature. What a reader does with the archive is therefore
//! checked by the NAR's hash, and never by the file's alone.
//!
//! Read strictly: the archive lies below the cache itself, by a plain relative path, and references
//! are whole store paths. Keys that are not known are passed over, as Nix does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::{ContentAddress, FormatError, Sha256, StorePath};

/// How an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Zstd,
}

impl Compression {
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Zstd => "zstd",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NarInfo {
    pub path: StorePath,
    /// The archive, relative to the cache.
    pub url: String,
    pub compression: Compression,
    /// Of the archive as it lies there.
    pub file_hash: Sha256,
    pub file_size: u64,
    pub nar_hash: Sha256,
    pub nar_size: u64,
    pub references: BTreeSet<StorePath>,
    pub ca: Option<ContentAddress>,
    /// `NAME:BASE64`, each over [`NarInfo::fingerprint`].
    pub signatures: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NarInfoError {
    #[error("line {line} is not `Key: value`: {text:?}")]
    Line { line: usize, text: String },
    #[error("`{key}` is missing")]
    Missing { key: &'static str },
    #[error("`{key}` stands there twice")]
    Twice { key: String },
    #[error("`{key}`: {reason}")]
    Value { key: &'static str, reason: String },
}

impl NarInfo {
    pub fn parse(text: &str) -> Result<Self, NarInfoError> {
        let mut fields = Fields::read(text)?;
        let references = fields.get("References")?.split_whitespace();
        let number =
            |key, text: &str| text.parse::<u64>().map_err(|_| value(key, format!("{text:?} is not a number of bytes")));
        let hash = |key, text: &str| Sha256::parse_any(text).map_err(|e| value(key, e.to_string()));
        Ok(Self {
            path: StorePath::from_absolute(fields.get("StorePath")?).map_err(of("StorePath"))?,
            url: plain(fields.get("URL")?)?,
            compression: match fields.get("Compression")? {
                "none" => Compression::None,
                "zstd" => Compression::Zstd,
                other => return Err(value("Compression", format!("`{other}` is not read here, only none and zstd"))),
            },
            file_hash: hash("FileHash", fields.get("FileHash")?)?,
            file_size: number("FileSize", fields.get("FileSize")?)?,
            nar_hash: hash("NarHash", fields.get("NarHash")?)?,
            nar_size: number("NarSize", fields.get("NarSize")?)?,
            references: references.map(StorePath::parse).collect::<Result<_, _>>().map_err(of("References"))?,
            ca: match fields.get("CA") {
                Ok(text) => Some(text.parse().map_err(of("CA"))?),
                Err(_) => None,
            },
            signatures: std::mem::take(&mut fields.signatures),
        })
    }

    /// As Nix writes it.
    pub fn text(&self) -> String {
        let references: Vec<&str> = self.references.iter().map(StorePath::base).collect();
        let mut text = format!(
            "StorePath: {}\nURL: {}\nCompression: {}\nFileHash: sha256:{}\nFileSize: {}\nNarHash: sha256:{}\n\
             NarSize: {}\nReferences: {}\n",
            self.path.absolute(),
            self.url,
            self.compression.word(),
            self.file_hash.nix32(),
            self.file_size,
            self.nar_hash.nix32(),
            self.nar_size,
            references.join(" "),
        );
        for signature in &self.signatures {
            let _ = writeln!(text, "Sig: {signature}");
        }
        if let Some(ca) = &self.ca {
            let _ = writeln!(text, "CA: {ca}");
        }
        text
    }

    /// What is signed.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.path, &self.nar_hash, self.nar_size, &self.references)
    }

    /// Its name in the cache.
    pub fn file_name(path: &StorePath) -> String {
        format!("{}.narinfo", path.hash_part())
    }
}

/// What a signature of a store path covers.
pub fn fingerprint(path: &StorePath, nar_hash: &Sha256, nar_size: u64, references: &BTreeSet<StorePath>) -> String {
    let references: Vec<String> = references.iter().map(StorePath::absolute).collect();
    format!("1;{};sha256:{};{nar_size};{}", path.absolute(), nar_hash.nix32(), references.join(","))
}

/// Values by key; `Sig` may stand there more than once.
struct Fields<'t> {
    fields: BTreeMap<&'t str, &'t str>,
    signatures: Vec<String>,
}

impl<'t> Fields<'t> {
    fn read(text: &'t str) -> Result<Self, NarInfoError> {
        let mut read = Self { fields: BTreeMap::new(), signatures: Vec::new() };
        for (n, line) in text.lines().enumerate() {
            let bad = || NarInfoError::Line { line: n + 1, text: line.chars().take(80).collect() };
            let (key, value) = line.split_once(':').ok_or_else(bad)?;
            let value = value.trim();
            if key == "Sig" {
                read.signatures.push(value.to_owned());
            } else if read.fields.insert(key, value).is_some() {
                return Err(NarInfoError::Twice { key: key.chars().take(80).collect() });
            }
        }
        Ok(read)
    }

    fn get(&self, key: &'static str) -> Result<&'t str, NarInfoError> {
        self.fields.get(key).copied().ok_or(NarInfoError::Missing { key })
    }
}

/// A path below the cache that leads nowhere else, whatever it is appended to.
fn plain(url: &str) -> Result<String, NarInfoError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"+-._=".contains(&b);
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(allowed);
    if url.len() <= 512 && url.split('/').all(part) {
        return Ok(url.to_owned());
    }
    let shown: String = url.chars().take(100).collect();
    Err(value("URL", format!("{shown:?} is not a plain path below the cache, such as nar/HASH.nar.zst")))
}

fn value(key: &'static str, reason: String) -> NarInfoError {
    NarInfoError::Value { key, reason }
}

fn of(key: &'static str) -> impl Fn(FormatError) -> NarInfoError {
    move |error| value(key, error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// In the form of `nix copy --to file://`, for a path made up for this test.
    const TEXT: &str = "StorePath: /nix/store/0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-hello
URL: nar/04zwf782yjwnh3q6hz5izfd6jyip8kgw6g6yj43fiqhbyhdd0dqw.nar.zst
Compression: zstd
FileHash: sha256:04zwf782yjwnh3q6hz5izfd6jyip8kgw6g6yj43fiqhbyhdd0dqw
FileSize: 90
NarHash: sha256:1yhh619m3cy1mird7f0l7zsmiv9rayqn075zinda2g7rscwn0hv5
NarSize: 120
References: 1mdqa9w1p6cmli6976v4wi0sw9r4p5pr-b 2mdqa9w1p6cmli6976v4wi0sw9r4p5pr-a
Sig: key-1:AAAA
Sig: key-2:BBBB
CA: fixed:r:sha256:1yhh619m3cy1mird7f0l7zsmiv9rayqn075zinda2g7rscwn0hv5
";

    #[test]
    fn what_is_written_is_what_was_read() {
        let info = NarInfo::parse(TEXT).unwrap();
        assert_eq!(info.text(), TEXT);
        assert_eq!((info.file_size, info.nar_size, info.signatures.len()), (90, 120, 2));
        let other_keys = format!("{TEXT}Deriver: x.drv\nSystem: x86_64-linux\n");
        assert_eq!(NarInfo::parse(&other_keys).unwrap(), info);
    }

    #[test]
    fn the_fingerprint_is_over_absolute_paths_in_order() {
        assert_eq!(
            NarInfo::parse(TEXT).unwrap().fingerprint(),
            "1;/nix/store/0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-hello;\
             sha256:1yhh619m3cy1mird7f0l7zsmiv9rayqn075zinda2g7rscwn0hv5;120;\
             /nix/store/1mdqa9w1p6cmli6976v4wi0sw9r4p5pr-b,/nix/store/2mdqa9w1p6cmli6976v4wi0sw9r4p5pr-a"
        );
    }

    #[test]
    fn hostile_text_is_refused() {
        for (from, to, said) in [
            ("nar/04", "../nar/04", "URL"),
            ("nar/04", "nar/../04", "URL"),
            ("nar/04", "/nar/04", "URL"),
            ("nar/04", "https://elsewhere/04", "URL"),
            ("nar/04", "nar//04", "URL"),
            ("nar/04", "nar/%2e%2e/04", "URL"),
            ("nar/04", "nar/.hidden/04", "URL"),
            ("/nix/store/0", "/nix/store/../0", "StorePath"),
            ("/nix/store/0", "/etc/0", "StorePath"),
            ("-hello", "-he/llo", "StorePath"),
            ("Compression: zstd", "Compression: xz", "Compression"),
            ("NarSize: 120", "NarSize: -1", "NarSize"),
            ("NarSize: 120", "NarSize: 99999999999999999999999", "NarSize"),
            ("FileHash: sha256:04", "FileHash: md5:04", "FileHash"),
            ("References: 1", "References: ../../etc/passwd 1", "References"),
            ("FileSize: 90", "FileSize: 90\nFileSize: 91", "twice"),
            ("FileSize: 90\n", "", "FileSize"),
            ("FileSize: 90", "no colon", "line 5"),
        ] {
            let text = TEXT.replace(from, to);
            let error = NarInfo::parse(&text).unwrap_err().to_string();
            assert!(error.contains(said), "{from} → {to}: {error}");
        }
    }
}
