//! One wheel per package: the one that was locked before for this version, or else the one that pip
//! would install.
//!
//! An index could exchange a wheel by adding a file that fits better, instead of replacing the locked
//! one. So the locked file stays chosen as long as the index has it unchanged, and what else happens to
//! it is a [`ChangedFile`].

use std::cmp::Reverse;

use cairn_formats::Platform;
use cairn_recipe::lock::LockedWheel;

use super::PypiError;
use super::pylock::{Package, Wheel};
use super::tags::Supported;
use super::wheel_name::WheelName;
use crate::exclude_newer;
use crate::memory::{Accept, ChangedFile, Content};

/// What decides besides the tags.
pub struct Terms<'a> {
    /// The wheels of the lock before.
    pub locked: &'a [LockedWheel],
    pub accept: &'a Accept,
    /// Wheels that were uploaded at this time or later, or at an unknown time, are left out.
    pub exclude_newer: Option<i64>,
}

/// The chosen wheel, and how it differs from the locked one of the same version.
#[derive(Debug)]
pub struct Choice<'a> {
    pub wheel: &'a Wheel,
    pub changed: Option<ChangedFile>,
}

/// The best tag wins; among equals the highest build number, then the first file name.
pub fn choose<'a>(
    package: &'a Package,
    supported: &Supported,
    platform: Platform,
    terms: &Terms,
) -> Result<Choice<'a>, PypiError> {
    let old_enough = |wheel: &&Wheel| match (terms.exclude_newer, wheel.uploaded) {
        (None, _) => true,
        (Some(end), Some(uploaded)) => uploaded < end,
        (Some(_), None) => false,
    };
    let parsed = package.wheels.iter().filter(old_enough).filter_map(|w| Some((w, WheelName::parse(&w.file)?)));
    let fitting = parsed.filter_map(|(wheel, name)| Some((supported.rank(&name)?, Reverse(name.build), wheel)));
    let mut fitting: Vec<_> = fitting.collect();
    fitting.sort_by(|a, b| (a.0, &a.1, &a.2.file).cmp(&(b.0, &b.1, &b.2.file)));
    let Some((_, _, best)) = fitting.first() else {
        return Err(PypiError::NoWheel {
            package: package.name.clone(),
            version: package.version.clone(),
            platform,
            target: supported.target().to_owned(),
            end: terms.exclude_newer.map(exclude_newer::shown),
            tags: existing_tags(package),
        });
    };
    let is_locked = |locked: &&LockedWheel| {
        locked.name == package.name && locked.version == package.version && locked.platforms.contains(&platform)
    };
    let Some(locked) = terms.locked.iter().find(is_locked) else { return Ok(Choice { wheel: best, changed: None }) };
    let same_name = fitting.iter().map(|(_, _, wheel)| *wheel).find(|wheel| wheel.file == locked.file);
    let (wheel, is_same) = match same_name {
        _ if terms.accept.changed_hash(&package.name) => (*best, is_unchanged(locked, best)),
        Some(wheel) => (wheel, is_unchanged(locked, wheel)),
        // It may be of another interpreter than the image has now.
        None => (*best, WheelName::parse(&locked.file).is_none_or(|name| supported.rank(&name).is_none())),
    };
    Ok(Choice { wheel, changed: (!is_same).then(|| changed(locked, wheel)) })
}

fn is_unchanged(locked: &LockedWheel, wheel: &Wheel) -> bool {
    let same_size = wheel.size.is_none_or(|size| size == locked.size);
    locked.file == wheel.file && locked.sha256 == wheel.sha256 && same_size
}

fn changed(locked: &LockedWheel, found: &Wheel) -> ChangedFile {
    ChangedFile {
        package: locked.name.clone(),
        version: locked.version.clone(),
        locked: Content { file: locked.file.clone(), sha256: locked.sha256, size: Some(locked.size) },
        found: Content { file: found.file.clone(), sha256: found.sha256, size: found.size },
    }
}

/// The tags of the package's wheels as their file names have them, for the message.
fn existing_tags(package: &Package) -> Vec<String> {
    let names = package.wheels.iter().filter_map(|wheel| WheelName::parse(&wheel.file));
    let mut tags: Vec<_> =
        names.map(|n| format!("{}-{}-{}", n.pythons.join("."), n.abis.join("."), n.platforms.join("."))).collect();
    tags.sort();
    tags.dedup();
    tags
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use cairn_formats::Sha256;

    use super::*;

    fn package(files: &[&str]) -> Package {
        let wheel = |file: &&str| Wheel {
            file: (*file).to_owned(),
            url: String::new(),
            sha256: Sha256::of(file.as_bytes()),
            size: Some(1),
            uploaded: None,
        };
        Package { name: "x".into(), version: "1".into(), wheels: files.iter().map(wheel).collect() }
    }

    fn chosen(files: &[&str], platform: Platform) -> Result<String, PypiError> {
        let supported = Supported::new("3.11.2".parse().unwrap(), "2.36".parse().unwrap(), platform);
        let terms = Terms { locked: &[], accept: &Accept::default(), exclude_newer: None };
        choose(&package(files), &supported, platform, &terms).map(|choice| choice.wheel.file.clone())
    }

    fn locked(file: &str, content: &str, size: u64) -> LockedWheel {
        LockedWheel {
            name: "x".into(),
            version: "1".into(),
            file: file.into(),
            size,
            sha256: Sha256::of(content.as_bytes()),
            depends: vec![],
            platforms: vec![Platform::LinuxAmd64],
            layer: "wheels".into(),
        }
    }

    const PURE: &str = "x-1-py3-none-any.whl";
    const BUILT: &str = "x-1-1-py3-none-any.whl";
    const OLD_PYTHON: &str = "x-1-cp310-cp310-manylinux2014_x86_64.whl";

    /// Which file is chosen beside a locked one, and whether that is a change.
    #[test]
    fn the_locked_file_stays_and_another_one_is_a_change() {
        let accept_x = Accept { changed_hashes: ["X".to_owned()].into(), ..Accept::default() };
        let nothing = Accept::default();
        for (what, offered, before, accept, expected) in [
            ("a better file was added", &[PURE, BUILT][..], locked(PURE, PURE, 1), &nothing, (PURE, false)),
            ("its hash has changed", &[PURE], locked(PURE, "other", 1), &nothing, (PURE, true)),
            ("its size has changed", &[PURE], locked(PURE, PURE, 2), &nothing, (PURE, true)),
            ("it has gone for another", &[BUILT], locked(PURE, PURE, 1), &nothing, (BUILT, true)),
            ("the better file is accepted", &[PURE, BUILT], locked(PURE, PURE, 1), &accept_x, (BUILT, true)),
            ("the best is as locked", &[PURE, BUILT], locked(BUILT, BUILT, 1), &accept_x, (BUILT, false)),
            ("it was of another Python", &[PURE], locked(OLD_PYTHON, OLD_PYTHON, 1), &nothing, (PURE, false)),
            (
                "another version was locked",
                &[PURE],
                LockedWheel { version: "0".into(), ..locked(PURE, "other", 1) },
                &nothing,
                (PURE, false),
            ),
            (
                "it was locked for the other platform",
                &[PURE],
                LockedWheel { platforms: vec![Platform::LinuxArm64], ..locked(PURE, "other", 1) },
                &nothing,
                (PURE, false),
            ),
        ] {
            let (package, before) = (package(offered), [before]);
            let supported = Supported::new("3.11.2".parse().unwrap(), "2.36".parse().unwrap(), Platform::LinuxAmd64);
            let terms = Terms { locked: &before, accept, exclude_newer: None };
            let choice = choose(&package, &supported, Platform::LinuxAmd64, &terms).unwrap();
            assert_eq!((choice.wheel.file.as_str(), choice.changed.is_some()), expected, "{what}");
        }
    }

    #[test]
    fn wheels_uploaded_too_late_are_left_out() {
        let mut package = package(&[PURE, BUILT]);
        for (pure, built, expected) in [
            (Some(99), Some(100), Some(PURE)),
            (Some(100), Some(99), Some(BUILT)),
            (Some(99), None, Some(PURE)),
            (None, Some(100), None),
        ] {
            (package.wheels[0].uploaded, package.wheels[1].uploaded) = (pure, built);
            let supported = Supported::new("3.11.2".parse().unwrap(), "2.36".parse().unwrap(), Platform::LinuxAmd64);
            let terms = Terms { locked: &[], accept: &Accept::default(), exclude_newer: Some(100) };
            let chosen = choose(&package, &supported, Platform::LinuxAmd64, &terms);
            match expected {
                Some(file) => assert_eq!(chosen.unwrap().wheel.file, file),
                None => assert!(chosen.unwrap_err().to_string().contains("uploaded before 1970-01-01T00:01:40Z")),
            }
        }
    }

    #[test]
    fn the_best_wheel_is_taken_whatever_the_order() {
        const COMPILED: &str = "x-1-cp311-cp311-manylinux_2_28_x86_64.whl";
        const OLD: &str = "x-1-cp311-cp311-manylinux2014_x86_64.whl";
        const STABLE: &str = "x-1-cp39-abi3-manylinux2014_x86_64.whl";
        const TOO_NEW: &str = "x-1-cp311-cp311-manylinux_2_39_x86_64.whl";
        const MUSL: &str = "x-1-cp311-cp311-musllinux_1_2_x86_64.whl";
        for (files, platform, expected) in [
            (vec![PURE, COMPILED, TOO_NEW, MUSL, OLD], Platform::LinuxAmd64, COMPILED),
            (vec![OLD, MUSL, COMPILED, TOO_NEW, PURE], Platform::LinuxAmd64, COMPILED),
            (vec![PURE, STABLE], Platform::LinuxAmd64, STABLE),
            (vec![STABLE, OLD], Platform::LinuxAmd64, OLD),
            (vec![PURE, COMPILED], Platform::LinuxArm64, PURE),
            (
                vec!["x-1-1-py3-none-any.whl", "x-1-10-py3-none-any.whl", PURE],
                Platform::LinuxAmd64,
                "x-1-10-py3-none-any.whl",
            ),
        ] {
            assert_eq!(chosen(&files, platform).unwrap(), expected, "{files:?}");
        }
    }

    #[test]
    fn when_none_fits_the_message_says_what_there_is() {
        let files = ["x-1-cp311-cp311-musllinux_1_2_x86_64.whl", "x-1-cp310-cp310-win_amd64.whl"];
        let message = chosen(&files, Platform::LinuxArm64).unwrap_err().to_string();
        for wanted in [
            "x 1 fits linux/arm64",
            "Python 3.11.2 and glibc 2.36",
            "cp310-cp310-win_amd64, cp311-cp311-musllinux_1_2_x86_64",
        ] {
            assert!(message.contains(wanted), "{message}");
        }
        assert!(chosen(&[], Platform::LinuxAmd64).unwrap_err().to_string().contains("no wheel at all"));
    }
}
