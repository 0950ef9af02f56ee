//! The control stanza of a package. Maintainer scripts lie in the same archive and are not read.

use std::io::Read;

use super::entries::Entries;
use crate::error::{Error, Problem, Result};

/// The longest stanzas of bookworm have some 30 KiB.
const MAX_STANZA: u64 = 4 << 20;

/// Reads `./control` from the control archive.
pub fn read(archive: impl Read, name: &str) -> Result<Vec<u8>> {
    let member = |problem: Problem| Error::member(name, "control.tar/control", problem);
    let mut tar = tar::Archive::new(archive);
    let mut entries = Entries::of(&mut tar).map_err(|e| member(e.into()))?;
    while let Some(entry) = entries.next().map_err(|e| member(e.into()))? {
        if !matches!(&*entry.path, b"./control" | b"control") {
            continue;
        }
        let entry = entry.raw;
        if entry.size() > MAX_STANZA || !entry.header().entry_type().is_file() {
            return Err(member(Problem::Other("is not a control stanza".into())));
        }
        let declared = entry.size();
        let mut stanza = Vec::new();
        entry.take(MAX_STANZA).read_to_end(&mut stanza).map_err(|e| member(e.into()))?;
        if stanza.len() as u64 != declared {
            return Err(member(Problem::Size { expected: declared, got: stanza.len() as u64 }));
        }
        if package(&stanza).is_none() {
            return Err(member(Problem::Other("has no field `Package` with the name of a package".into())));
        }
        return Ok(stanza);
    }
    Err(member(Problem::Other("is missing".into())))
}

/// The name of the package that a stanza describes, if it is the name of one (policy 5.6.1).
pub fn package(stanza: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(stanza).ok()?;
    let name = text.lines().find_map(|line| {
        let (field, value) = line.split_once(':')?;
        field.eq_ignore_ascii_case("Package").then(|| value.trim())
    })?;
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    (first && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b))).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::package;

    #[test]
    fn names() {
        for (stanza, expected) in [
            ("Package: libc6\nVersion: 1\n", Some("libc6")),
            ("Version: 1\npackage:g++-12 \n", Some("g++-12")),
            ("Version: 1\n", None),
            ("Package: ../../etc/passwd\n", None),
            ("Package: a/b\n", None),
            ("Package:\n", None),
        ] {
            assert_eq!(package(stanza.as_bytes()), expected, "{stanza:?}");
        }
    }
}
