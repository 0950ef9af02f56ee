//! Where the other programs of this installation are: beside `deploy`, or as the environment says.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use cairn_formats::Platform;

/// The builder, for this machine.
pub fn builder() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("DEPLOY_BUILDER") {
        return existing(path.into(), "DEPLOY_BUILDER");
    }
    beside("cairn-builder", Platform::native())
}

/// The agent, for a host of this platform. For other processors it lies in a folder of their name,
/// `linux-arm64/cairn-agent`.
pub fn agent(platform: Platform) -> Result<PathBuf> {
    let variable = format!("DEPLOY_AGENT_{}", platform.debian().to_uppercase());
    if let Some(path) = std::env::var_os(&variable) {
        return existing(path.into(), &variable);
    }
    beside("cairn-agent", platform)
}

fn existing(path: PathBuf, variable: &str) -> Result<PathBuf> {
    if !path.is_file() {
        bail!("{variable} names {}, which is no file", path.display());
    }
    Ok(path)
}

fn beside(name: &str, platform: Platform) -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find out where this program lies")?;
    let dir = own.parent().unwrap_or(std::path::Path::new("/"));
    let path = if platform == Platform::native() {
        dir.join(name)
    } else {
        dir.join(platform.oci().replace('/', "-")).join(name)
    };
    if !path.is_file() {
        bail!("{} is missing\n  help: install it there; it belongs to this version of deploy", path.display());
    }
    Ok(path)
}
