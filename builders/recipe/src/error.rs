//! What can be wrong with definitions and locks. Each names the file and what to do.

use std::path::PathBuf;

use cairn_formats::Platform;
pub use cairn_formats::report::nearest;

#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    #[error("cannot read {}: {source}", file.display())]
    Read { file: PathBuf, source: std::io::Error },
    #[error("{}:{line}:{column}: {message}{}", file.display(), advice(help))]
    Syntax { file: PathBuf, line: usize, column: usize, message: String, help: Option<String> },
    #[error("{}: {at}: {message}{}", file.display(), advice(help))]
    Value { file: PathBuf, at: String, message: String, help: Option<String> },
    #[error(transparent)]
    Configuration(Box<cairn_config::Faults>),
    #[error("no `deploy.toml` in {} or any folder above it\n  help: run inside a project, or name it with `--project DIR`", from.display())]
    NoProject { from: PathBuf },
    #[error("there is no {kind} `{name}` in {}{}", dir.display(), advice(help))]
    Unknown { kind: &'static str, name: String, dir: PathBuf, help: Option<String> },
    #[error("`{target}` is not a target\n  help: write `images`, `images.NAME`, `hosts` or `hosts.NAME`")]
    Target { target: String },
    #[error("image `{image}` has no lock: {} does not exist\n  help: run `deploy lock images.{image}` and commit the file", file.display())]
    NoLock { image: String, file: PathBuf },
    #[error("{}: the lock was made for another definition of image `{image}` (its packages, requirements or platforms have changed since)\n  help: run `deploy lock images.{image}` and commit the file", file.display())]
    LockMismatch { file: PathBuf, image: String },
    #[error("{}: lock format {found} is not known to this version, which reads format {}\n  help: lock again, or use the version of deploy that wrote it", file.display(), crate::lock::LOCK_VERSION)]
    LockVersion { file: PathBuf, found: u32 },
    #[error("{}: `{value}`, the path of package `{package}`, is not a plain path below a mirror\n  help: the lock was edited or damaged; run `deploy lock` again", file.display())]
    LockPath { file: PathBuf, package: String, value: String },
    #[error("{}: `{package}` is locked twice for {platform}: {} and {}\n  help: the lock was merged by hand; run `deploy lock images.{image}`", file.display(), versions[0], versions[1])]
    LockedTwice { file: PathBuf, image: String, package: String, versions: [String; 2], platform: Platform },
    #[error(
        "image `{image}` is not locked for {platform}\n  help: add it to `platforms` in its image.toml and run `deploy lock images.{image}`"
    )]
    NotLockedFor { image: String, platform: Platform },
}

fn advice(help: &Option<String>) -> String {
    help.as_ref().map(|h| format!("\n  help: {h}")).unwrap_or_default()
}
