//! How much a host would be sent, and how much room that takes there.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use cairn_formats::StorePath;
use cairn_protocol::Hello;
use cairn_store::Store;
use serde::Serialize;

use crate::FleetError;

/// File systems give files whole blocks.
const BLOCK: u64 = 4096;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Needs {
    /// Contents of files that the host lacks, before compression.
    pub send_bytes: u64,
    /// What they and their folders take on its disk.
    pub disk_bytes: u64,
    /// What is free there.
    pub free_bytes: u64,
}

impl Needs {
    /// Equal files are one file with several names in our store, as in the host's, so that one which
    /// some path of the host shares is there already.
    pub fn of(store: &Store, hello: &Hello, paths: &[StorePath]) -> Result<Self, FleetError> {
        let there: HashSet<&StorePath> = hello.valid.iter().collect();
        let missing: Vec<&StorePath> = paths.iter().filter(|path| !there.contains(path)).collect();
        let mut needs = Self { free_bytes: hello.free_bytes, ..Self::default() };
        if missing.is_empty() {
            return Ok(needs);
        }
        let mut known = HashSet::new();
        for path in there {
            if store.is_valid(path)? {
                visit(&store.physical(path), &mut |meta| {
                    known.insert((meta.dev(), meta.ino()));
                })?;
            }
        }
        for path in missing {
            visit(&store.physical(path), &mut |meta| {
                if meta.is_dir() {
                    needs.disk_bytes += BLOCK;
                } else if known.insert((meta.dev(), meta.ino())) && meta.is_file() {
                    needs.send_bytes += meta.len();
                    needs.disk_bytes += meta.len().next_multiple_of(BLOCK);
                }
            })?;
        }
        Ok(needs)
    }
}

fn visit(at: &Path, seen: &mut impl FnMut(&fs::Metadata)) -> Result<(), FleetError> {
    let fail = |source: io::Error| FleetError::Local { file: at.to_owned(), source };
    let meta = fs::symlink_metadata(at).map_err(fail)?;
    seen(&meta);
    if meta.is_dir() {
        for entry in fs::read_dir(at).map_err(fail)? {
            visit(&entry.map_err(fail)?.path(), seen)?;
        }
    }
    Ok(())
}
