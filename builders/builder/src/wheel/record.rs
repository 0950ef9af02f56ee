//! RECORD: which files a wheel has, with a hash and a size for each (PEP 376, PEP 427).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Read};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use cairn_formats::{RelPath, Sha256};
use sha2::Digest as _;

use crate::error::Problem;

/// RECORD as the wheel has it.
pub struct Record(BTreeMap<String, Option<Digest>>);

/// What RECORD says of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    algorithm: Algorithm,
    /// Base64 for URLs, without padding.
    value: String,
    size: Option<u64>,
}

/// PEP 427: SHA-256 or better. MD5 and SHA-1 are forbidden there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Sha256,
    Sha384,
    Sha512,
}

impl Algorithm {
    const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }
}

impl Record {
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())?;
        let mut rows = BTreeMap::new();
        for row in parse_csv(text)? {
            let [path, hash, size] = <[String; 3]>::try_from(row)
                .map_err(|row| format!("has a row that is not path, hash and size: `{}`", row.join(",")))?;
            let digest = Digest::parse(&hash, &size).map_err(|reason| format!("says of `{path}` {reason}"))?;
            if rows.insert(path.clone(), digest).is_some() {
                return Err(format!("lists `{path}` twice"));
            }
        }
        Ok(Self(rows))
    }

    pub fn digest(&self, name: &str) -> Option<&Digest> {
        self.0.get(name)?.as_ref()
    }

    /// Checks that RECORD and the archive name the same files, and that each has a hash. Only
    /// RECORD itself and its signatures go without.
    pub fn check_complete(&self, files: &[String], dist_info: &str) -> Result<(), (String, Problem)> {
        let exempt = |name: &str| {
            name.strip_prefix(dist_info).is_some_and(|rest| matches!(rest, "/RECORD" | "/RECORD.jws" | "/RECORD.p7s"))
        };
        for name in files.iter().filter(|name| !exempt(name)) {
            match self.0.get(name) {
                None => return Err((name.clone(), Problem::NotInRecord)),
                Some(None) => return Err((name.clone(), Problem::Other("stands in RECORD without a hash".into()))),
                Some(Some(_)) => {}
            }
        }
        let absent = |name: &&String| files.binary_search(name).is_err();
        match self.0.keys().filter(|name| !exempt(name)).find(absent) {
            Some(name) => Err((name.clone(), Problem::Absent)),
            None => Ok(()),
        }
    }
}

impl Digest {
    fn parse(hash: &str, size: &str) -> Result<Option<Self>, String> {
        if hash.is_empty() {
            return Ok(None);
        }
        let (name, value) = hash.split_once('=').ok_or_else(|| format!("`{hash}`, which is no hash"))?;
        let algorithm = [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512]
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
            .ok_or_else(|| format!("`{name}`; a wheel needs sha256, sha384 or sha512"))?;
        let size = match size {
            "" => None,
            size => Some(size.parse().map_err(|_| format!("the size `{size}`, which is no number"))?),
        };
        Ok(Some(Self { algorithm, value: value.trim_end_matches('=').to_owned(), size }))
    }
}

/// Hashes what is read through it, with SHA-256 and with what RECORD asks for.
pub struct Checked<R> {
    below: R,
    read: u64,
    sha256: sha2::Sha256,
    other: Option<Other>,
}

enum Other {
    Sha384(sha2::Sha384),
    Sha512(sha2::Sha512),
}

impl<R: Read> Checked<R> {
    pub fn new(below: R, digest: Option<&Digest>) -> Self {
        let other = match digest.map(|digest| digest.algorithm) {
            Some(Algorithm::Sha384) => Some(Other::Sha384(sha2::Sha384::new())),
            Some(Algorithm::Sha512) => Some(Other::Sha512(sha2::Sha512::new())),
            Some(Algorithm::Sha256) | None => None,
        };
        Self { below, read: 0, sha256: sha2::Sha256::new(), other }
    }

    /// Checks that the archive ends the file where it said, and RECORD as well; the SHA-256 of
    /// what was read.
    pub fn finish(mut self, declared: u64, digest: Option<&Digest>) -> Result<Sha256, Problem> {
        // This read also lets the zip reader compare its own checksum.
        let more = io::copy(&mut (&mut self.below).take(1), &mut io::sink())?;
        if self.read + more != declared {
            return Err(Problem::Size { expected: declared, got: self.read + more });
        }
        let sha256: [u8; 32] = self.sha256.finalize().into();
        let Some(digest) = digest else { return Ok(Sha256::from_bytes(sha256)) };
        if let Some(size) = digest.size.filter(|size| *size != declared) {
            return Err(Problem::Size { expected: size, got: declared });
        }
        let got = match self.other {
            None => BASE64.encode(sha256),
            Some(Other::Sha384(hasher)) => BASE64.encode(hasher.finalize()),
            Some(Other::Sha512(hasher)) => BASE64.encode(hasher.finalize()),
        };
        if got != digest.value {
            let (algorithm, expected) = (digest.algorithm.name(), digest.value.clone());
            return Err(Problem::Digest { algorithm, expected, got });
        }
        Ok(Sha256::from_bytes(sha256))
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.below.read(buffer)?;
        self.read += n as u64;
        self.sha256.update(&buffer[..n]);
        match &mut self.other {
            None => {}
            Some(Other::Sha384(hasher)) => hasher.update(&buffer[..n]),
            Some(Other::Sha512(hasher)) => hasher.update(&buffer[..n]),
        }
        Ok(n)
    }
}

/// RECORD as installed: paths relative to the directory of packages, sorted.
pub fn write(site: &RelPath, rows: &BTreeMap<RelPath, Option<(Sha256, u64)>>) -> String {
    let mut lines: Vec<String> = rows
        .iter()
        .map(|(path, row)| {
            let mut line = quote(&relative(site, path));
            match row {
                Some((sha256, size)) => _ = write!(line, ",sha256={},{size}", BASE64.encode(sha256.as_bytes())),
                None => line.push_str(",,"),
            }
            line
        })
        .collect();
    lines.sort_unstable();
    lines.iter().fold(String::new(), |text, line| text + line + "\n")
}

fn relative(site: &RelPath, path: &RelPath) -> String {
    let shared = site.parts().zip(path.parts()).take_while(|(a, b)| a == b).count();
    let up = site.parts().skip(shared).map(|_| "..".to_owned());
    let down = path.parts().skip(shared).map(|part| String::from_utf8_lossy(part).into_owned());
    up.chain(down).collect::<Vec<_>>().join("/")
}

pub(crate) fn quote(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

/// Rows of comma-separated fields, quoted as Python's `csv` module does.
pub(crate) fn parse_csv(text: &str) -> Result<Vec<Vec<String>>, String> {
    let mut rows = Vec::new();
    let mut row = Vec::new();
    let mut field = String::new();
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.next_if_eq(&'"').is_some() => field.push('"'),
            '"' if quoted || field.is_empty() => quoted = !quoted,
            c if quoted => field.push(c),
            ',' => row.push(std::mem::take(&mut field)),
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' => {
                if !(row.is_empty() && field.is_empty()) {
                    row.push(std::mem::take(&mut field));
                    rows.push(std::mem::take(&mut row));
                }
            }
            c => field.push(c),
        }
    }
    if quoted {
        return Err("ends inside a quoted field".to_owned());
    }
    if !(row.is_empty() && field.is_empty()) {
        row.push(field);
        rows.push(row);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn csv_as_python_writes_it() {
        let rows = parse_csv("a,sha256=x,1\r\n\"b,\"\"c\"\"\",,\n\nd,sha256=y,2").unwrap();
        assert_eq!(rows, [vec!["a", "sha256=x", "1"], vec!["b,\"c\"", "", ""], vec!["d", "sha256=y", "2"]]);
        assert!(parse_csv("\"a,b\n").is_err());
        assert_eq!(quote("b,\"c\""), "\"b,\"\"c\"\"\"");
    }

    #[test]
    fn odd_rows_are_named() {
        for (text, expected) in [
            ("a,sha256=x\n", "`a,sha256=x`"),
            ("a,md5=x,1\n", "`md5`"),
            ("a,x,1\n", "no hash"),
            ("a,sha256=x,many\n", "`many`"),
            ("a,sha256=x,1\na,sha256=x,1\n", "`a` twice"),
        ] {
            let reason = Record::parse(text.as_bytes()).err().unwrap();
            assert!(reason.contains(expected), "{reason}");
        }
    }

    #[test]
    fn paths_are_relative_to_the_packages() {
        let site = RelPath::parse(b"usr/local/lib/python3.11/dist-packages").unwrap();
        for (path, expected) in [
            ("usr/local/lib/python3.11/dist-packages/a/b.py", "a/b.py"),
            ("usr/local/bin/gunicorn", "../../../bin/gunicorn"),
        ] {
            assert_eq!(relative(&site, &RelPath::parse(path.as_bytes()).unwrap()), expected);
        }
    }

    #[test]
    fn each_algorithm_is_checked() {
        let text = "a,sha256=ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0,3\n\
            b,sha384=ywB1P0WjXou1oD1pmsZQBycsMqsO3tFjGotgWkP_W-2AhgcroefMI1i67KE0yCWn,3\n\
            c,sha512=3a81oZNherrMQXNJriBBMRLm-k6JqX6iCp7u5ktV05ohkpkqJ0_BqDa6PCOj_uu9RU1EI2Q86A4qmslPpUyknw,3\n";
        let record = Record::parse(text.as_bytes()).unwrap();
        for name in ["a", "b", "c"] {
            let digest = record.digest(name);
            let read = |bytes: &'static [u8]| {
                let mut data = Checked::new(bytes, digest);
                io::copy(&mut data, &mut io::sink()).unwrap();
                data.finish(bytes.len() as u64, digest)
            };
            assert_eq!(read(b"abc").unwrap(), Sha256::of(b"abc"));
            assert!(matches!(read(b"abd"), Err(Problem::Digest { .. })));
            assert!(matches!(read(b"abcd"), Err(Problem::Size { expected: 3, got: 4 })));
        }
    }
}
