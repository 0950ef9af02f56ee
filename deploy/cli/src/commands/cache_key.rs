//! `deploy cache-key`: keys that sign what hosts pull.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use cairn_cache::SecretKey;
use serde::Serialize;

use crate::arguments::{CacheKeyAction, Global};
use crate::display::Display;

#[derive(Serialize)]
struct Public {
    public_key: String,
}

pub fn run(global: &Global, action: &CacheKeyAction) -> Result<u8> {
    let key = match action {
        CacheKeyAction::Generate { name, file } => generate(name, file)?,
        CacheKeyAction::Show { file } => read(file)?,
    };
    let public = Public { public_key: key.public().to_string() };
    Display::new(global.json, global.quiet).result(&public, || public.public_key.clone())?;
    Ok(0)
}

fn generate(name: &str, file: &Path) -> Result<SecretKey> {
    let (key, text) = SecretKey::generate(name)?;
    let fail = || format!("cannot write {} (a key that is there is never replaced)", file.display());
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).with_context(fail)?;
    }
    let mut out = File::options().write(true).create_new(true).mode(0o600).open(file).with_context(fail)?;
    out.write_all(format!("{text}\n").as_bytes()).and_then(|()| out.sync_all()).with_context(fail)?;
    Ok(key)
}

/// The secret key of a file.
pub fn read(file: &Path) -> Result<SecretKey> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read the key {}", file.display()))?;
    SecretKey::parse(&text).with_context(|| format!("{}", file.display()))
}
