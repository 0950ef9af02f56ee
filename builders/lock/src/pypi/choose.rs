//! One wheel per package: the one that pip would install.

use std::cmp::Reverse;

use cairn_formats::Platform;

use super::PypiError;
use super::pylock::{Package, Wheel};
use super::tags::Supported;
use super::wheel_name::WheelName;

/// The best tag wins; among equals the highest build number, then the first file name.
pub fn choose<'a>(package: &'a Package, supported: &Supported, platform: Platform) -> Result<&'a Wheel, PypiError> {
    let parsed = package.wheels.iter().filter_map(|wheel| Some((wheel, WheelName::parse(&wheel.file)?)));
    let fitting = parsed.filter_map(|(wheel, name)| Some((supported.rank(&name)?, Reverse(name.build), wheel)));
    let best = fitting.min_by(|a, b| (a.0, &a.1, &a.2.file).cmp(&(b.0, &b.1, &b.2.file)));
    best.map(|(_, _, wheel)| wheel).ok_or_else(|| PypiError::NoWheel {
        package: package.name.clone(),
        version: package.version.clone(),
        platform,
        target: supported.target().to_owned(),
        tags: existing_tags(package),
    })
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
        };
        Package { name: "x".into(), version: "1".into(), wheels: files.iter().map(wheel).collect() }
    }

    fn chosen(files: &[&str], platform: Platform) -> Result<String, PypiError> {
        let supported = Supported::new("3.11.2".parse().unwrap(), "2.36".parse().unwrap(), platform);
        choose(&package(files), &supported, platform).map(|wheel| wheel.file.clone())
    }

    #[test]
    fn the_best_wheel_is_taken_whatever_the_order() {
        const COMPILED: &str = "x-1-cp311-cp311-manylinux_2_28_x86_64.whl";
        const OLD: &str = "x-1-cp311-cp311-manylinux2014_x86_64.whl";
        const STABLE: &str = "x-1-cp39-abi3-manylinux2014_x86_64.whl";
        const PURE: &str = "x-1-py3-none-any.whl";
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
