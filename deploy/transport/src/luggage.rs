//! The agent's program as it travels to a host that lacks it: compressed where that can be, and once in memory for
//! all hosts.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use flate2::Compression;
use flate2::write::GzEncoder;

/// By file, which is one of a store and so never changes, and by whether it is compressed.
type Packed = HashMap<(PathBuf, bool), Arc<Vec<u8>>>;

static PACKED: LazyLock<Mutex<Packed>> = LazyLock::new(Mutex::default);

/// The bytes of `file`, compressed if `gzip` says so.
pub fn program(file: &Path, gzip: bool) -> io::Result<Arc<Vec<u8>>> {
    // Held meanwhile: who else needs it is better off waiting.
    let mut packed = PACKED.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (file.to_owned(), gzip);
    if let Some(known) = packed.get(&key) {
        return Ok(known.clone());
    }
    let mut bytes = std::fs::read(file)?;
    if gzip {
        // More levels take longer than they save on any line above 20 Mbit/s.
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&bytes)?;
        bytes = encoder.finish()?;
    }
    Ok(packed.entry(key).or_insert(Arc::new(bytes)).clone())
}
