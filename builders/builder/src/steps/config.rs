//! `config`: rendered text files, as a folder of their own. So a service whose configuration is as
//! it was refers to the same path as before, whatever else of its host has changed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

pub fn run(files: &BTreeMap<String, String>, links: &BTreeMap<String, String>, out: &Path) -> Result<()> {
    fs::create_dir(out).map_err(Error::io("create", out))?;
    for (name, text) in files {
        let file = place(out, name)?;
        fs::write(&file, text).map_err(Error::io("write", &file))?;
    }
    for (name, target) in links {
        let link = place(out, name)?;
        symlink(target, &link).map_err(Error::io("write", &link))?;
    }
    Ok(())
}

fn place(out: &Path, name: &str) -> Result<PathBuf> {
    if name.contains('/') || name.starts_with('.') || name.is_empty() {
        return Err(Error::parameter("files", name, "it must be a plain file name"));
    }
    Ok(out.join(name))
}
