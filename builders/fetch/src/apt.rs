//! What the machine's own apt downloads from: one-line `.list` files and deb822 `.sources` files,
//! as sources.list(5) describes them.

use std::fs;
use std::path::{Path, PathBuf};

/// One address of apt's, with the keys that the same stanza names for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AptSource {
    pub uri: String,
    pub suites: Vec<String>,
    /// Keyring files of `signed-by`. Empty: apt takes the keys that it trusts for every source.
    /// Fingerprints and keys within the stanza are left out.
    pub signed_by: Vec<PathBuf>,
}

impl AptSource {
    /// Whether this may be a mirror of `archive` (`debian`, `debian-security`), by the last part of
    /// its path. Other vendors use that name as well (`https://download.docker.com/linux/debian`):
    /// which archive it is, its signed InRelease file says.
    ///
    /// A snapshot's path has a time behind the name. A `*-security` suite at the top of a server is
    /// the security archive (`http://security.debian.org/`).
    pub fn may_serve(&self, archive: &str) -> bool {
        let path = self.uri.split_once("://").map_or("", |(_, rest)| rest.split_once('/').map_or("", |(_, path)| path));
        let mut parts = path.split('/').rev().filter(|part| !part.is_empty());
        match parts.next() {
            Some(time) if is_snapshot_time(time) => parts.next() == Some(archive),
            Some(name) => name == archive,
            None => archive == "debian-security" && self.suites.iter().any(|suite| suite.ends_with("-security")),
        }
    }
}

/// `20250520T000000Z`
fn is_snapshot_time(part: &str) -> bool {
    part.len() == 16
        && part.bytes().enumerate().all(|(at, byte)| match at {
            8 => byte == b'T',
            15 => byte == b'Z',
            _ => byte.is_ascii_digit(),
        })
}

/// Whether a keyring file has a name of Debian's package `debian-archive-keyring`.
pub fn is_debian_keyring(file: &Path) -> bool {
    file.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("debian-archive-"))
}

/// The keyring files of Debian's package `debian-archive-keyring` below the machine's root.
pub(crate) fn debian_keyrings(root: &Path) -> Vec<PathBuf> {
    let whole = ["gpg", "pgp"].map(|kind| root.join(format!("usr/share/keyrings/debian-archive-keyring.{kind}")));
    if let Some(found) = whole.into_iter().find(|file| file.is_file()) {
        return vec![found];
    }
    let entries = fs::read_dir(root.join("etc/apt/trusted.gpg.d")).into_iter().flatten().flatten();
    let mut parts: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|file| is_debian_keyring(file)).collect();
    parts.sort();
    parts
}

/// All enabled binary sources, in the order in which apt reads the files. Files that cannot be
/// read count as absent, as they do for apt's users.
pub fn apt_sources() -> Vec<AptSource> {
    sources_below(Path::new("/etc/apt"))
}

pub(crate) fn sources_below(dir: &Path) -> Vec<AptSource> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir.join("sources.list.d"))
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    files.sort();
    files.insert(0, dir.join("sources.list"));
    let mut sources = Vec::new();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        match file.extension().and_then(|e| e.to_str()) {
            Some("list") => sources.extend(text.lines().filter_map(parse_line)),
            Some("sources") => sources.extend(parse_deb822(&text)),
            _ => {}
        }
    }
    sources
}

/// `deb [arch=amd64 signed-by=/file] URI suite component…`
fn parse_line(line: &str) -> Option<AptSource> {
    let line = line.split('#').next()?.trim();
    let mut rest = line.strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim_start();
    let mut signed_by = Vec::new();
    if let Some(bracketed) = rest.strip_prefix('[') {
        let (options, after) = bracketed.split_once(']')?;
        signed_by = options.split_whitespace().find_map(|o| o.strip_prefix("signed-by=")).map_or(Vec::new(), keyrings);
        rest = after;
    }
    let mut words = rest.split_whitespace();
    let uri = words.next()?;
    let suite = words.next()?;
    is_usable(uri).then(|| AptSource { uri: uri.to_owned(), suites: vec![suite.to_owned()], signed_by })
}

fn parse_deb822(text: &str) -> Vec<AptSource> {
    let mut sources = Vec::new();
    let mut stanza: Vec<(String, String)> = Vec::new();
    for line in text.lines().filter(|l| !l.starts_with('#')).chain([""]) {
        if line.trim().is_empty() {
            sources.extend(from_stanza(&stanza));
            stanza.clear();
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = stanza.last_mut() {
                value.push('\n');
                value.push_str(line.trim());
            }
        } else if let Some((key, value)) = line.split_once(':') {
            stanza.push((key.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    sources
}

fn from_stanza(stanza: &[(String, String)]) -> Vec<AptSource> {
    let field = |name: &str| stanza.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let enabled = !matches!(field("enabled").unwrap_or("yes"), "no" | "false" | "off" | "0" | "without" | "disable");
    let binary = field("types").is_some_and(|types| types.split_whitespace().any(|t| t == "deb"));
    if !enabled || !binary {
        return Vec::new();
    }
    let suites: Vec<String> = field("suites").unwrap_or("").split_whitespace().map(str::to_owned).collect();
    let signed_by = field("signed-by").map_or(Vec::new(), keyrings);
    let uris = field("uris").unwrap_or("").split_whitespace().filter(|uri| is_usable(uri));
    uris.map(|uri| AptSource { uri: uri.to_owned(), suites: suites.clone(), signed_by: signed_by.clone() }).collect()
}

fn is_usable(uri: &str) -> bool {
    ["http://", "https://", "file://"].iter().any(|scheme| uri.starts_with(scheme))
}

/// The files among the values of `signed-by`, which stand between commas or white space.
fn keyrings(value: &str) -> Vec<PathBuf> {
    value.split([',', ' ', '\t', '\n']).filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn source(uri: &str, suites: &[&str], signed_by: Option<&str>) -> AptSource {
        AptSource {
            uri: uri.to_owned(),
            suites: suites.iter().map(|s| s.to_string()).collect(),
            signed_by: signed_by.map(PathBuf::from).into_iter().collect(),
        }
    }

    #[test]
    fn one_line_sources() {
        for (line, expected) in [
            ("deb http://mirror.example/debian bookworm main", Some(("http://mirror.example/debian", None))),
            (
                "deb [arch=amd64 signed-by=/k.gpg] https://mirror.example/debian/ bookworm main # why",
                Some(("https://mirror.example/debian/", Some("/k.gpg"))),
            ),
            ("deb-src http://mirror.example/debian bookworm main", None),
            ("# deb http://mirror.example/debian bookworm main", None),
            ("deb cdrom:[Debian]/ bookworm main", None),
            ("deb [unclosed http://mirror.example/debian bookworm", None),
            ("deb", None),
        ] {
            let expected = expected.map(|(uri, key)| source(uri, &["bookworm"], key));
            assert_eq!(parse_line(line), expected, "{line}");
        }
    }

    #[test]
    fn deb822_sources() {
        let text = "Types: deb deb-src\n# a comment\nURIs: http://a.example/debian\n https://b.example/debian\n\
            Suites: bookworm bookworm-updates\nComponents: main\nSigned-By: /usr/share/keyrings/k.gpg\n\n\n\
            Types: deb\nEnabled: no\nURIs: http://c.example/debian\nSuites: x\n\n\
            Types: deb\nURIs: http://d.example/debian-security\nSuites: bookworm-security\nSigned-By:\n \
            -----BEGIN PGP PUBLIC KEY BLOCK-----\n";
        let suites = ["bookworm", "bookworm-updates"];
        let expected = vec![
            source("http://a.example/debian", &suites, Some("/usr/share/keyrings/k.gpg")),
            source("https://b.example/debian", &suites, Some("/usr/share/keyrings/k.gpg")),
            source("http://d.example/debian-security", &["bookworm-security"], None),
        ];
        assert_eq!(parse_deb822(text), expected);
    }

    #[test]
    fn the_path_says_which_archive_it_is() {
        for (uri, suite, archive) in [
            ("http://mirror.example/debian", "bookworm", "debian"),
            ("http://mirror.example/debian/", "bookworm", "debian"),
            ("http://mirror.example/debian-security", "bookworm-security", "debian-security"),
            ("http://mirror.example/pub/debian", "bookworm", "debian"),
            ("http://mirror.example/archive/debian/20250520T000000Z", "bookworm", "debian"),
            ("http://mirror.example/archive/debian-security/20250520T000000Z/", "x-security", "debian-security"),
            ("http://mirror.example/", "bookworm-security", "debian-security"),
            // Only a signed InRelease file tells these from Debian.
            ("https://download.docker.example/linux/debian", "bookworm", "debian"),
            ("https://mirror.example/node", "nodistro", "none"),
            ("https://mirror.example/debian/gitlab", "bookworm", "none"),
            ("https://mirror.example/debian/20250520", "bookworm", "none"),
            ("https://mirror.example/vendor/bookworm", "bookworm-security", "none"),
            ("https://mirror.example/", "bookworm", "none"),
        ] {
            let source = source(uri, &[suite], None);
            for other in ["debian", "debian-security"] {
                assert_eq!(source.may_serve(other), other == archive, "{uri} {other}");
            }
        }
    }

    #[test]
    fn a_keyring_is_debians_by_the_name_of_its_file() {
        for (file, expected) in [
            ("/usr/share/keyrings/debian-archive-keyring.gpg", true),
            ("/etc/apt/trusted.gpg.d/debian-archive-bookworm-stable.asc", true),
            ("/etc/apt/keyrings/docker.asc", false),
            ("/etc/apt/debian-archive-x/docker.asc", false),
            ("/", false),
        ] {
            assert_eq!(is_debian_keyring(Path::new(file)), expected, "{file}");
        }
    }

    #[test]
    fn a_source_may_name_several_keyrings() {
        let line = "deb [signed-by=/debian-archive-a.gpg,/docker.asc,ABCD] http://a.example/debian s main";
        assert_eq!(parse_line(line).unwrap().signed_by, ["/debian-archive-a.gpg", "/docker.asc"].map(PathBuf::from));
    }

    #[test]
    fn debians_keyring_is_one_file_or_the_parts_that_apt_trusts() {
        let root = tempfile::tempdir().unwrap();
        assert!(debian_keyrings(root.path()).is_empty());
        let trusted = root.path().join("etc/apt/trusted.gpg.d");
        fs::create_dir_all(&trusted).unwrap();
        for name in ["debian-archive-b.asc", "debian-archive-a.gpg", "docker.asc"] {
            fs::write(trusted.join(name), "").unwrap();
        }
        let parts = ["debian-archive-a.gpg", "debian-archive-b.asc"].map(|name| trusted.join(name));
        assert_eq!(debian_keyrings(root.path()), parts);
        let whole = root.path().join("usr/share/keyrings/debian-archive-keyring.gpg");
        fs::create_dir_all(whole.parent().unwrap()).unwrap();
        fs::write(&whole, "").unwrap();
        assert_eq!(debian_keyrings(root.path()), [whole]);
    }

    #[test]
    fn files_are_read_in_apts_order() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sources.list.d")).unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write("sources.list.d/b.list", "deb http://b.example/debian s main\n");
        write("sources.list.d/a.sources", "Types: deb\nURIs: http://a.example/debian\nSuites: s\n");
        write("sources.list.d/c.list.save", "deb http://c.example/debian s main\n");
        write("sources.list", "deb http://first.example/debian s main\n");
        let uris: Vec<String> = sources_below(dir.path()).into_iter().map(|s| s.uri).collect();
        assert_eq!(uris, ["http://first.example/debian", "http://a.example/debian", "http://b.example/debian"]);
    }
}
