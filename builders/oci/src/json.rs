//! Canonical JSON: sorted keys, no spaces. Digests hang on these bytes.

use std::fs;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::at;
use crate::{OciError, Result};

/// Sorts explicitly: whether `serde_json` keeps keys in order of insertion is a feature that any
/// crate of the program may switch on.
pub(crate) fn canonical<T: Serialize>(value: &T, path: &Path) -> Result<Vec<u8>> {
    let faulty = |error: serde_json::Error| OciError::Json { path: path.to_owned(), reason: error.to_string() };
    let mut value = serde_json::to_value(value).map_err(faulty)?;
    value.sort_all_objects();
    serde_json::to_vec(&value).map_err(faulty)
}

pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8], path: &Path) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| OciError::Json { path: path.to_owned(), reason: error.to_string() })
}

pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    parse(&fs::read(path).map_err(at("read", path))?, path)
}

pub(crate) fn write<T: Serialize>(value: &T, path: &Path) -> Result<()> {
    fs::write(path, canonical(value, path)?).map_err(at("write", path))
}
