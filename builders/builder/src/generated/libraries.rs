//! Which libraries `ldconfig` would find in the trees, and under which names.
//!
//! The directories are those of `etc/ld.so.conf`, then the built-in ones; a directory that has two
//! names through merged `/usr` counts once, under the first. In each directory a library is known
//! by its SONAME. A link is known by its own name where it is the SONAME, or the name for the
//! linker (`libz.so` of `libz.so.1`). Where several files have one SONAME, a file wins over a link
//! and a later version over an earlier one. Directories for special processors (`glibc-hwcaps`) are
//! left out: the loader then takes the library that runs everywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use cairn_formats::{Platform, RelPath};

use super::ld_cache::{self, Library};
use crate::elf::{EM_AARCH64, EM_X86_64, Elf};
use crate::error::{Error, Result};
use crate::glob::Excludes;
use crate::layout;
use crate::tree::{Found, Kind, Union};

/// Where the cache belongs.
pub const CACHE: &str = "etc/ld.so.cache";
const CONFIGURATION: &str = "/etc/ld.so.conf";
/// Includes may not go deeper than this.
const MAX_INCLUDES: usize = 10;

/// What ldconfig would leave behind.
#[derive(Debug, Default)]
pub struct Libraries {
    found: Vec<Library>,
    /// Links from a SONAME to its file that no package brought.
    pub links: Vec<(RelPath, Vec<u8>)>,
}

impl Libraries {
    pub fn find(union: &Union, platform: Platform) -> Result<Self> {
        let mut configuration = Configuration { union, seen: BTreeSet::new(), directories: Vec::new() };
        configuration.read(CONFIGURATION, MAX_INCLUDES)?;
        let mut names = configuration.directories;
        names.extend(built_in(platform));
        let mut libraries = Self::default();
        let mut seen = BTreeSet::new();
        for name in names {
            let Some(path) = layout::absolute(&name) else { continue };
            let Some((directory, Found { kind: Kind::Directory, .. })) = union.resolve(&path) else { continue };
            if seen.insert(directory.clone()) {
                libraries.add_directory(union, &name, &directory, platform)?;
            }
        }
        Ok(libraries)
    }

    /// The content of the cache; `None` if there is no library at all.
    pub fn cache(&self, platform: Platform) -> Option<Vec<u8>> {
        (!self.found.is_empty()).then(|| ld_cache::write(&self.found, platform))
    }

    fn add_directory(&mut self, union: &Union, name: &str, directory: &RelPath, platform: Platform) -> Result<()> {
        let mut by_name: BTreeMap<Vec<u8>, Candidate> = BTreeMap::new();
        for (path, _) in union.below(directory).filter(|(path, _)| path.parent().as_ref() == Some(directory)) {
            let Some((name, candidate)) = Candidate::read(union, path, platform)? else { continue };
            match by_name.get(&name) {
                Some(known) if !candidate.better_than(known) => {}
                _ => _ = by_name.insert(name, candidate),
            }
        }
        for (library, candidate) in by_name {
            let path = directory.join(&library).ok();
            if let Some(path) = path.filter(|path| !candidate.is_link && union.get(path).is_none()) {
                self.links.push((path, candidate.file));
            }
            self.found.push(Library { name: library, directory: name.trim_end_matches('/').as_bytes().to_vec() });
        }
        Ok(())
    }
}

struct Candidate {
    /// Its name in the directory.
    file: Vec<u8>,
    /// Whether it is a link that is known by its own name.
    is_link: bool,
}

impl Candidate {
    /// A library of this platform, with the name that it is known by.
    fn read(union: &Union, path: &RelPath, platform: Platform) -> Result<Option<(Vec<u8>, Self)>> {
        let file = path.file_name();
        let named_so = file.windows(3).any(|part| part == b".so");
        if !(file.starts_with(b"lib") || file.starts_with(b"ld-")) || !named_so || file.ends_with(b".py") {
            return Ok(None);
        }
        let Some((end, found @ Found { kind: Kind::File { .. }, .. })) = union.resolve(path) else { return Ok(None) };
        let physical = union.physical(&end, found);
        let elf = Elf::read(&physical).map_err(Error::io("read", &physical))?;
        let Some(elf) = elf.filter(|elf| elf.shared && elf.dynamic && elf.machine == machine(platform)) else {
            return Ok(None);
        };
        let soname = elf.soname.filter(|name| RelPath::root().join(name).is_ok()).unwrap_or_else(|| file.to_vec());
        let is_link = matches!(union.get(path), Some(Found { kind: Kind::Link { .. }, .. }))
            && (file == soname || (file.ends_with(b".so") && soname.starts_with(file)));
        let name = if is_link { file.to_vec() } else { soname };
        Ok(Some((name, Self { file: file.to_vec(), is_link })))
    }

    fn better_than(&self, other: &Self) -> bool {
        match (self.is_link, other.is_link) {
            (false, true) => true,
            (true, false) => false,
            _ => ld_cache::compare(&other.file, &self.file).is_lt(),
        }
    }
}

/// The directories that ldconfig of Debian searches unasked. `/lib64` is not among them.
fn built_in(platform: Platform) -> [String; 4] {
    let triple = format!("{}-linux-gnu", platform.machine());
    [format!("/lib/{triple}"), format!("/usr/lib/{triple}"), "/lib".to_owned(), "/usr/lib".to_owned()]
}

const fn machine(platform: Platform) -> u16 {
    match platform {
        Platform::LinuxAmd64 => EM_X86_64,
        Platform::LinuxArm64 => EM_AARCH64,
    }
}

/// The loader's configuration while it is read (ldconfig(8)).
struct Configuration<'a> {
    union: &'a Union,
    /// Files that were read. A second time they add nothing, since of a directory's names the first
    /// counts; and files that include each other, each several times, would take for ever.
    seen: BTreeSet<RelPath>,
    /// In the order in which they are named.
    directories: Vec<String>,
}

impl Configuration<'_> {
    fn read(&mut self, name: &str, depth: usize) -> Result<()> {
        let Some((path, found @ Found { kind: Kind::File { .. }, .. })) =
            layout::absolute(name).and_then(|path| self.union.resolve(&path))
        else {
            return Ok(());
        };
        if !self.seen.insert(path.clone()) {
            return Ok(());
        }
        if depth == 0 {
            return Err(Error::parameter("ld.so.conf", name, format!("includes nest deeper than {MAX_INCLUDES}")));
        }
        let physical = self.union.physical(&path, found);
        let text = fs::read(&physical).map_err(Error::io("read", &physical))?;
        for line in String::from_utf8_lossy(&text).lines() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if let Some(pattern) = line.strip_prefix("include").filter(|rest| rest.starts_with([' ', '\t'])) {
                for included in included(self.union, name, pattern.trim()) {
                    self.read(&included, depth - 1)?;
                }
            } else if line.starts_with('/') {
                self.directories.push(line.to_owned());
            }
        }
        Ok(())
    }
}

/// The files that a pattern means, sorted; relative to the including file.
fn included(union: &Union, including: &str, pattern: &str) -> Vec<String> {
    let beside = including.rsplit_once('/').map_or("", |(directory, _)| directory);
    let pattern = if pattern.starts_with('/') { pattern.to_owned() } else { format!("{beside}/{pattern}") };
    let Some(matcher) = pattern.strip_prefix('/').and_then(|pattern| Excludes::parse(&[pattern]).ok()) else {
        return Vec::new();
    };
    union.entries().filter(|(path, _)| matcher.matches(path)).map(|(path, _)| format!("/{path}")).collect()
}
