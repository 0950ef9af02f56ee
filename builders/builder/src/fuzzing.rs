//! Entry points for the fuzz targets in `fuzz/`: private parsers of foreign bytes. Not an API.

use std::io;
use std::path::{Path, PathBuf};

use cairn_formats::Platform;

use crate::Result;
use crate::deb;
use crate::elf::Elf;
use crate::generated::ld_cache::{self, Library};
use crate::generated::libraries::Libraries;
use crate::glob::Excludes;
use crate::tree::{TreeWriter, Union};
use crate::wheel::{self, Scheme, entry_points, record};

/// Unpacks a package's data archive, not compressed, into a tree output at `out`.
pub fn data_tar(archive: &[u8], excludes: &Excludes, out: &Path) -> Result<()> {
    let mut tree = TreeWriter::create(out)?;
    deb::data::unpack(archive, "fuzz.deb", excludes, &mut tree)?;
    tree.finish()
}

/// Reads the stanza from a package's control archive, not compressed.
pub fn control_tar(archive: &[u8]) -> Result<Vec<u8>> {
    deb::control::read(archive, "fuzz.deb")
}

/// Installs a wheel into a tree output at `out`, without byte code.
pub fn wheel(file: &Path, out: &Path) -> Result<()> {
    let scheme = Scheme::new("/usr/lib/python3.11/dist-packages", "/usr/bin/python3.11")?;
    let mut tree = TreeWriter::create(out)?;
    wheel::install(file, &scheme, &mut tree)?.finish([], &mut tree)?;
    tree.finish()
}

/// Parses RECORD and compares it with the names in the archive.
pub fn record(bytes: &[u8], files: &[String]) -> std::result::Result<(), String> {
    let record = record::Record::parse(bytes)?;
    record.check_complete(files, "demo-1.dist-info").map_err(|(file, problem)| format!("{file} {problem}"))
}

/// The rows that a CSV text has after its fields were quoted as in RECORD.
pub fn record_rows(rows: &[Vec<String>]) -> std::result::Result<Vec<Vec<String>>, String> {
    let line = |row: &Vec<String>| row.iter().map(|field| record::quote(field)).collect::<Vec<_>>().join(",") + "\n";
    record::parse_csv(&rows.iter().map(line).collect::<String>())
}

/// The programs that `entry_points.txt` makes.
pub fn entry_points(bytes: &[u8]) -> std::result::Result<Vec<String>, String> {
    let points = entry_points::parse(bytes)?;
    Ok(points.iter().map(|point| point.script("/usr/bin/python3.11")).collect())
}

/// Whether a file is ELF, and its SONAME.
pub fn elf(file: &Path) -> io::Result<Option<Option<Vec<u8>>>> {
    Ok(Elf::read(file)?.map(|elf| elf.soname))
}

/// The `ld.so.cache` of several tree outputs.
pub fn ld_so_cache(trees: &[PathBuf], platform: Platform) -> Result<Option<Vec<u8>>> {
    Ok(Libraries::find(&Union::read(trees)?, platform)?.cache(platform))
}

/// A cache of libraries by name, all in one directory.
pub fn write_ld_so_cache(names: &[Vec<u8>]) -> Vec<u8> {
    let libraries: Vec<Library> =
        names.iter().map(|name| Library { name: name.clone(), directory: b"/usr/lib".to_vec() }).collect();
    ld_cache::write(&libraries, Platform::LinuxAmd64)
}

pub use crate::generated::ld_cache::compare;
