//! What can go wrong while wheels are locked or looked for.

use std::io;
use std::path::PathBuf;

use cairn_fetch::FetchError;
use cairn_formats::{Platform, Sha256};

use crate::memory::ChangedFiles;

#[derive(Debug, thiserror::Error)]
pub enum PypiError {
    #[error(
        "uv, which resolves Python requirements, was not found\n  tried: {tried}\n  help: `pip install uv`, or set DEPLOY_UV to the program"
    )]
    NoUv { tried: String },
    #[error("cannot run {}: {source}\n  help: check DEPLOY_UV, or `pip install uv` again", program.display())]
    Run { program: PathBuf, source: io::Error },
    #[error("the requirement `{requirement}` cannot be locked: {rule}\n  help: {help}")]
    Requirement { requirement: String, rule: &'static str, help: &'static str },
    #[error(
        "the Python requirements have no solution for {platform} with Python {python}\n{}\n  help: change `requirements` in image.toml; only wheels are used, nothing is built from source",
        indented(message)
    )]
    NoSolution { platform: Platform, python: String, message: String },
    #[error("uv failed for {platform} ({status})\n{}\n  command: {command}\n  help: {help}", indented(message))]
    Uv { platform: Platform, status: String, message: String, command: String, help: &'static str },
    #[error("uv wrote a {format} for {platform} that cannot be used: {message}\n  help: try another version of uv")]
    Output { format: &'static str, platform: Platform, message: String },
    #[error(
        "{package} {version} was resolved for {platform} to something other than a wheel of the index\n  help: ask for a version that has wheels; nothing is built from source"
    )]
    NotAWheel { package: String, version: String, platform: Platform },
    #[error(
        "no wheel of {package} {version}{} fits {platform} with {target}\n  there is: {}\n  help: ask for another version of {package}, or leave out the platform",
        end.as_ref().map(|end| format!(" that was uploaded before {end}")).unwrap_or_default(), list(tags)
    )]
    NoWheel {
        package: String,
        version: String,
        platform: Platform,
        target: String,
        end: Option<String>,
        tags: Vec<String>,
    },
    #[error(transparent)]
    Changed(#[from] ChangedFiles),
    #[error(
        "the index has no SHA-256 hash for {file}\n  help: use an index that gives one; without it nothing can be locked"
    )]
    NoHash { file: String },
    #[error(
        "`{file}` is not the file name of a wheel of {package}\n  help: the index is faulty; report it to who runs it"
    )]
    FileName { package: String, file: String },
    #[error("the Python index changed while {platform} was being locked\n  help: run again")]
    IndexChanged { platform: Platform },
    #[error("`{value}` is not a version of {what}\n  help: {help}")]
    Version { what: &'static str, value: String, help: &'static str },
    #[error("{package} is gone from the Python index: {url} does not exist\n  help: lock again, or set another index")]
    ProjectGone { package: String, url: String },
    #[error(
        "{file} is gone from the Python index, which has {have} other files of {package}\n  at: {url}\n  help: lock again to take a file that the index has, or set another index"
    )]
    FileGone { package: String, file: String, url: String, have: usize },
    #[error(
        "the Python index has other content under the name {file}\n  expected sha256 {expected}\n  index has sha256 {found}\n  at: {url}\n  help: a file of an index never changes by itself: find out why before you lock again"
    )]
    Replaced { file: String, expected: Sha256, found: Sha256, url: String },
    #[error("{url} is not a page of a Python package index: {message}\n  help: check the address of the index")]
    Page { url: String, message: String },
    #[error("cannot use {}: {source}", path.display())]
    Scratch { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Fetch(#[from] FetchError),
}

/// For callers that only fetch, and treat all archives alike.
impl From<PypiError> for FetchError {
    fn from(error: PypiError) -> Self {
        match error {
            PypiError::Fetch(error) => error,
            PypiError::ProjectGone { package, url } => Self::Gone { what: format!("package {package}"), url },
            PypiError::FileGone { file, url, .. } => {
                Self::Gone { what: format!("wheel {file}"), url: format!("{url} ({file})") }
            }
            PypiError::Replaced { file, expected, found, url } => {
                Self::HashMismatch { what: format!("wheel {file}"), expected, got: found, url }
            }
            PypiError::Page { url, message } => Self::Network { what: "Python index".to_owned(), url, message },
            other => Self::Network { what: "Python index".to_owned(), url: String::new(), message: other.to_string() },
        }
    }
}

fn indented(message: &str) -> String {
    let lines: Vec<_> = message.trim().lines().map(|line| format!("  | {line}")).collect();
    lines.join("\n")
}

fn list(tags: &[String]) -> String {
    if tags.is_empty() { "no wheel at all".to_owned() } else { tags.join(", ") }
}
