//! What Python indexes serve, and what the resolver writes.

use cairn_lock::fuzzing;
use cairn_lock::pypi::{Glibc, PythonVersion, normalise};

use crate::input::text;

/// A page of the simple API, in JSON or HTML.
pub fn index_page(input: &[u8]) {
    let Some(text) = text(input) else { return };
    for page in ["https://index.example/simple/demo/", "https://user:password@index.example/simple/demo/"] {
        if let Ok(offers) = fuzzing::index_page(page, text) {
            assert!(offers <= text.len());
        }
    }
}

/// The resolver's lock. A name that becomes a path of ours is the plain name of a wheel.
pub fn pylock(input: &[u8]) {
    let Some(text) = text(input) else { return };
    for (name, wheels) in fuzzing::pylock(text).unwrap_or_default() {
        assert_eq!(normalise(&name), name);
        for wheel in wheels {
            assert!(!wheel.contains('/') && wheel.ends_with(".whl"), "{wheel}");
        }
    }
}

/// The resolver's other format, and the entries of a definition.
pub fn requirements(input: &[u8]) {
    let Some(text) = text(input) else { return };
    assert!(fuzzing::requirements(text) <= text.lines().count());
    for line in text.lines() {
        if fuzzing::requirement(line).is_ok() {
            assert!(!line.trim_start().starts_with('-') && !line.contains(" --"), "an option: {line}");
        }
    }
}

/// The name of a wheel, and the versions that decide whether it fits.
pub fn wheel_name(input: &[u8]) {
    let Some(text) = text(input) else { return };
    if let Some((name, version, tags)) = fuzzing::wheel_name(text) {
        assert!(!name.is_empty() && !version.is_empty() && tags >= 1);
        assert!(!text.contains('/'));
    }
    let (package, version) = text.split_once(' ').unwrap_or((text, text));
    let _ = PythonVersion::of_debian(package, version);
    let _ = Glibc::of_debian(version);
}
