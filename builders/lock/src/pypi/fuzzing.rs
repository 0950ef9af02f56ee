//! See [`crate::fuzzing`].

use cairn_formats::Platform;

use super::wheel_name::WheelName;
use super::{PypiError, edges, pylock, requirement, simple};

/// The number of files that an index page offers, in JSON or HTML.
pub fn index_page(page: &str, text: &str) -> Result<usize, PypiError> {
    simple::parse(page, text).map(|offers| offers.len())
}

/// Name and wheels of each package of a `pylock.toml`.
pub fn pylock(text: &str) -> Result<Vec<(String, Vec<String>)>, PypiError> {
    let packages = pylock::parse(text, Platform::LinuxAmd64)?;
    Ok(packages.into_iter().map(|p| (p.name, p.wheels.into_iter().map(|wheel| wheel.file).collect())).collect())
}

/// The number of packages in an annotated `requirements.txt`.
pub fn requirements(text: &str) -> usize {
    edges::parse(text).len()
}

/// Checks one entry of `requirements` in a definition.
pub fn requirement(text: &str) -> Result<(), PypiError> {
    requirement::check(text)
}

/// The parts of a wheel's file name, and the number of its tags.
pub fn wheel_name(file: &str) -> Option<(String, String, usize)> {
    let name = WheelName::parse(file)?;
    Some((name.name.to_owned(), name.version.to_owned(), name.tags().count()))
}
