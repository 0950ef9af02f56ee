//! `config`: rendered text files, as a folder of their own. So a service whose configuration is as
//! it was refers to the same path as before, whatever else of its host has changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::error::{Error, Result};

pub fn run(files: &BTreeMap<String, String>, out: &Path) -> Result<()> {
    fs::create_dir(out).map_err(Error::io("create", out))?;
    for (name, text) in files {
        if name.contains('/') || name.starts_with('.') || name.is_empty() {
            return Err(Error::parameter("files", name, "it must be a plain file name"));
        }
        let file = out.join(name);
        fs::write(&file, text).map_err(Error::io("write", &file))?;
    }
    Ok(())
}
