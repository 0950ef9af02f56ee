//! The agent's program as it travels to a host that lacks it: compressed, once for all hosts.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use flate2::Compression;
use flate2::write::GzEncoder;

/// By file, which is one of a store and so never changes.
static PACKED: LazyLock<Mutex<HashMap<PathBuf, Arc<Vec<u8>>>>> = LazyLock::new(Mutex::default);

/// The bytes of `file`, compressed if `gzip` says so.
pub fn program(file: &Path, gzip: bool) -> io::Result<Arc<Vec<u8>>> {
    if !gzip {
        return std::fs::read(file).map(Arc::new);
    }
    // Held meanwhile: who else needs it is better off waiting.
    let mut packed = PACKED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = packed.get(file) {
        return Ok(known.clone());
    }
    // More levels take longer than they save on any line above 20 Mbit/s.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&std::fs::read(file)?)?;
    let bytes = Arc::new(encoder.finish()?);
    packed.insert(file.to_owned(), bytes.clone());
    Ok(bytes)
}
