//! Installing a wheel (PEP 427) as a deterministic tree.
//!
//! Every file must stand in RECORD with a hash that its content has, and every row of RECORD must
//! be a file. What an installer writes is the same each time: `INSTALLER`, scripts for the entry
//! points, and RECORD again, sorted. Differences to pip: no `REQUESTED` and no `direct_url.json`
//! (they tell what a person typed), and byte code as [`crate::bytecode`] makes it.

mod archive;
pub(crate) mod entry_points;
pub(crate) mod record;
mod scheme;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use cairn_formats::{RelPath, Sha256};

pub use scheme::Scheme;

use crate::bytecode;
use crate::error::{Error, Problem, Result};
use crate::tree::{Attributes, TreeWriter};
use archive::Archive;
use entry_points::EntryPoint;
use record::{Digest, Record};
use scheme::Place;

/// Bounds the files that are read whole: metadata, and scripts (some are compiled programs).
const MAX_IN_MEMORY: u64 = 512 << 20;

/// A wheel in its tree, before RECORD is written.
pub struct Installed {
    name: String,
    dist_info: RelPath,
    site: RelPath,
    rows: BTreeMap<RelPath, Option<(Sha256, u64)>>,
}

/// Unpacks the wheel at `path` into `tree`. [`Installed::finish`] completes it.
pub fn install(path: &Path, scheme: &Scheme, tree: &mut TreeWriter) -> Result<Installed> {
    let mut archive = Archive::open(path)?;
    let dist_info = archive.dist_info()?;
    let record_name = format!("{dist_info}/RECORD");
    check_version(&mut archive, &dist_info)?;
    let record = archive.read(&record_name)?;
    let record =
        Record::parse(&record).map_err(|reason| Error::member(&archive.label, &record_name, Problem::Other(reason)))?;
    let entry_points = entry_points(&mut archive, &dist_info)?;
    let mut installed = Installed {
        name: archive.label.clone(),
        dist_info: scheme.in_site(&dist_info).map_err(|problem| Error::member(&archive.label, &dist_info, problem))?,
        site: scheme.site().clone(),
        rows: BTreeMap::new(),
    };

    record.check_complete(archive.files(), &dist_info).map_err(|(m, p)| Error::member(&archive.label, m, p))?;
    let project = dist_info.split('-').next().unwrap_or_default();
    for name in archive.files().to_vec() {
        // pip writes these two itself, too.
        if name == record_name || name == format!("{dist_info}/INSTALLER") {
            continue;
        }
        let place = scheme.place(&name, project).map_err(|problem| Error::member(&archive.label, &name, problem))?;
        if let Place::Script(path) = &place
            && entry_points.iter().any(|point| point.makes_superfluous(path.file_name()))
        {
            continue;
        }
        if matches!(&place, Place::File(path) if bytecode::is_cache(path)) {
            continue;
        }
        let digest = record.digest(&name);
        installed
            .take(&mut archive, &name, place, digest, scheme, tree)
            .map_err(|problem| Error::member(&installed.name, &name, problem))?;
    }
    for point in entry_points {
        let path =
            scheme.script(&point.name).map_err(|problem| Error::member(&installed.name, &point.name, problem))?;
        installed
            .write(&path, Attributes::PROGRAM, point.script(scheme.interpreter()).as_bytes(), tree)
            .map_err(|problem| Error::member(&installed.name, &point.name, problem))?;
    }
    let installer = installed.in_dist_info("INSTALLER")?;
    installed
        .write(&installer, Attributes::FILE, b"cairn\n", tree)
        .map_err(|problem| Error::member(&installed.name, "INSTALLER", problem))?;
    Ok(installed)
}

impl Installed {
    /// Adds the rows of byte code, which has no hash in RECORD (PEP 376), and writes RECORD.
    pub fn finish(mut self, byte_code: impl IntoIterator<Item = RelPath>, tree: &mut TreeWriter) -> Result<()> {
        self.rows.extend(byte_code.into_iter().map(|path| (path, None)));
        let record = self.in_dist_info("RECORD")?;
        self.rows.insert(record.clone(), None);
        let text = record::write(&self.site, &self.rows);
        tree.bytes(&record, Attributes::FILE, text.as_bytes())
            .map_err(|problem| Error::member(&self.name, "RECORD", problem))
    }

    fn take(
        &mut self,
        archive: &mut Archive,
        name: &str,
        place: Place,
        digest: Option<&Digest>,
        scheme: &Scheme,
        tree: &mut TreeWriter,
    ) -> Result<(), Problem> {
        let mut entry = archive.entry(name)?;
        let (size, executable) = (entry.size, entry.executable);
        let mut data = record::Checked::new(&mut entry.data, digest);
        match place {
            Place::Script(path) => {
                if size > MAX_IN_MEMORY {
                    return Err(Problem::TooLarge { limit: MAX_IN_MEMORY });
                }
                let mut script = Vec::new();
                (&mut data).take(size + 1).read_to_end(&mut script)?;
                data.finish(size, digest)?;
                self.write(&path, Attributes::PROGRAM, &scheme.with_shebang(script), tree)
            }
            Place::File(path) => {
                tree.file(&path, Attributes::file(executable), size, &mut data)?;
                let sha256 = data.finish(size, digest)?;
                self.rows.insert(path, Some((sha256, size)));
                Ok(())
            }
        }
    }

    fn write(
        &mut self,
        path: &RelPath,
        attributes: Attributes,
        bytes: &[u8],
        tree: &mut TreeWriter,
    ) -> Result<(), Problem> {
        tree.bytes(path, attributes, bytes)?;
        self.rows.insert(path.clone(), Some((Sha256::of(bytes), bytes.len() as u64)));
        Ok(())
    }

    fn in_dist_info(&self, name: &str) -> Result<RelPath> {
        self.dist_info.join(name.as_bytes()).map_err(|_| Error::member(&self.name, name, Problem::Escapes))
    }
}

fn check_version(archive: &mut Archive, dist_info: &str) -> Result<()> {
    let name = format!("{dist_info}/WHEEL");
    let text = archive.read(&name)?;
    let text = String::from_utf8_lossy(&text);
    let version = text.lines().find_map(|line| line.strip_prefix("Wheel-Version:")).map(str::trim);
    match version.and_then(|version| version.split('.').next()) {
        Some("1") => Ok(()),
        _ => {
            let found = version.unwrap_or("nothing");
            let problem = format!("says that the wheel has version {found}; only versions 1.x are known");
            Err(Error::member(&archive.label, name, Problem::Other(problem)))
        }
    }
}

fn entry_points(archive: &mut Archive, dist_info: &str) -> Result<Vec<EntryPoint>> {
    let name = format!("{dist_info}/entry_points.txt");
    if !archive.files().contains(&name) {
        return Ok(Vec::new());
    }
    let text = archive.read(&name)?;
    entry_points::parse(&text).map_err(|reason| Error::member(&archive.label, name, Problem::Other(reason)))
}
