//! Compiling the programs: static, against musl.

use std::path::PathBuf;

use anyhow::Result;

use crate::process::cargo;
use crate::{setup, target};

/// 64-bit Intel and AMD.
pub const INTEL: &str = "x86_64-unknown-linux-musl";

/// The target for this processor.
pub const TARGET: &str = if cfg!(target_arch = "aarch64") { ARM } else { INTEL };

/// The other processor, which agent and builder must link for as well.
pub const ARM: &str = "aarch64-unknown-linux-musl";

/// Compiles `deploy`, the agent and the builder; gives the folder they are in.
pub fn programs() -> Result<PathBuf> {
    cargo().args(["build", "--locked", "--bins", "--workspace", "--exclude", "xtask"]).run()?;
    Ok(target().join(TARGET).join("debug"))
}

/// Compiles agent and builder for 64-bit ARM. That they link is the question: nobody runs them here,
/// so no time goes into making them fast.
pub fn arm() -> Result<PathBuf> {
    let (compiler, archiver) = (setup::arm_compiler()?, setup::arm_archiver()?);
    cargo()
        .args(["build", "--locked", "-p", "cairn-agent", "-p", "cairn-builder", "--bins", "--target", ARM])
        .args(["--config", "profile.dev.opt-level=0", "--config", "profile.dev.package.'*'.opt-level=0"])
        .env("CC_aarch64_unknown_linux_musl", compiler)
        .env("AR_aarch64_unknown_linux_musl", archiver)
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER", "rust-lld")
        .run()?;
    Ok(target().join(ARM).join("debug"))
}
