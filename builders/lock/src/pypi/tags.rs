//! Which wheels an interpreter can use, best first (PEP 425, 600).
//!
//! The order is the one of pip's library `packaging` (`packaging.tags.sys_tags`), so that the
//! lock names the file that pip would have installed. Three runs, each from the newest platform
//! tag to the oldest:
//!
//! 1. this interpreter: its own ABI, then the stable ABI, then none (`cp311-cp311-…`,
//!    `cp311-abi3-…`, `cp311-none-…`);
//! 2. the stable ABI of every older interpreter down to 3.2 (`cp310-abi3-…`);
//! 3. no ABI: `py311`, `py3`, `py310` … `py30`, first for the platform, then for any.
//!
//! A wheel built for musl (`musllinux_…`) fits no image of Debian and is not in the list.

use std::collections::HashMap;

use cairn_formats::Platform;

use super::version::{Glibc, PythonVersion};
use super::wheel_name::WheelName;

/// Every tag that fits, with its rank: 0 is best.
pub struct Supported {
    ranks: HashMap<String, usize>,
    target: String,
}

impl Supported {
    pub fn new(python: PythonVersion, glibc: Glibc, platform: Platform) -> Self {
        let platforms = platform_tags(glibc, platform);
        let tags = tags(python, &platforms);
        let mut ranks = HashMap::with_capacity(tags.len());
        for (rank, tag) in tags.into_iter().enumerate() {
            ranks.entry(tag).or_insert(rank);
        }
        Self { ranks, target: format!("Python {python} and glibc {glibc}") }
    }

    /// The best rank of a wheel's tags, or `None` if it does not fit.
    pub fn rank(&self, wheel: &WheelName) -> Option<usize> {
        wheel.tags().filter_map(|tag| self.ranks.get(&tag).copied()).min()
    }

    /// For messages: what the wheel would have to fit.
    pub fn target(&self) -> &str {
        &self.target
    }
}

/// `manylinux_2_36_x86_64` … `manylinux_2_5_x86_64`, the old names beside what they stand for,
/// `linux_x86_64` last.
fn platform_tags(glibc: Glibc, platform: Platform) -> Vec<String> {
    let machine = platform.machine();
    // The oldest that can exist: aarch64 came with 2.17.
    let oldest = match platform {
        Platform::LinuxAmd64 => 5,
        Platform::LinuxArm64 => 17,
    };
    let mut tags = Vec::new();
    for minor in (oldest..=glibc.minor).rev() {
        tags.push(format!("manylinux_2_{minor}_{machine}"));
        let old_name = match minor {
            17 => "manylinux2014",
            12 => "manylinux2010",
            5 => "manylinux1",
            _ => continue,
        };
        tags.push(format!("{old_name}_{machine}"));
    }
    tags.push(format!("linux_{machine}"));
    tags
}

fn tags(python: PythonVersion, platforms: &[String]) -> Vec<String> {
    let own = python.tag();
    let mut tags = Vec::new();
    let mut each_platform = |prefix: String| tags.extend(platforms.iter().map(|p| format!("{prefix}-{p}")));
    for abi in [own.as_str(), "abi3", "none"] {
        each_platform(format!("{own}-{abi}"));
    }
    for minor in (2..python.minor).rev() {
        each_platform(format!("cp3{minor}-abi3"));
    }
    let mut generic = vec![format!("py3{}", python.minor), "py3".to_owned()];
    generic.extend((0..python.minor).rev().map(|minor| format!("py3{minor}")));
    for name in &generic {
        each_platform(format!("{name}-none"));
    }
    tags.push(format!("{own}-none-any"));
    tags.extend(generic.iter().map(|name| format!("{name}-none-any")));
    tags
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn supported(platform: Platform) -> Supported {
        Supported::new("3.11".parse().unwrap(), "2.36".parse().unwrap(), platform)
    }

    #[test]
    fn wheels_rank_as_pip_ranks_them() {
        let supported = supported(Platform::LinuxAmd64);
        let ranked = [
            "x-1-cp311-cp311-manylinux_2_36_x86_64.whl",
            "x-1-cp311-cp311-manylinux_2_28_x86_64.whl",
            "x-1-cp311-cp311-manylinux_2_17_x86_64.whl",
            "x-1-cp311-cp311-manylinux2014_x86_64.whl",
            "x-1-cp311-cp311-manylinux1_x86_64.whl",
            "x-1-cp311-cp311-linux_x86_64.whl",
            "x-1-cp311-abi3-manylinux2014_x86_64.whl",
            "x-1-cp311-none-manylinux2014_x86_64.whl",
            "x-1-cp310-abi3-manylinux_2_28_x86_64.whl",
            "x-1-cp37-abi3-manylinux_2_28_x86_64.whl",
            "x-1-py311-none-manylinux2014_x86_64.whl",
            "x-1-py3-none-manylinux2014_x86_64.whl",
            "x-1-cp311-none-any.whl",
            "x-1-py311-none-any.whl",
            "x-1-py3-none-any.whl",
            "x-1-py310-none-any.whl",
            "x-1-py30-none-any.whl",
        ];
        let ranks: Vec<_> =
            ranked.iter().map(|file| supported.rank(&WheelName::parse(file).unwrap()).expect(file)).collect();
        assert!(ranks.is_sorted_by(|a, b| a < b), "{ranks:?}");
    }

    #[test]
    fn what_cannot_run_there_is_refused() {
        let supported = supported(Platform::LinuxAmd64);
        for file in [
            "x-1-cp311-cp311-manylinux_2_37_x86_64.whl",
            "x-1-cp311-cp311-manylinux_2_36_aarch64.whl",
            "x-1-cp311-cp311-musllinux_1_2_x86_64.whl",
            "x-1-py3-none-musllinux_1_1_x86_64.whl",
            "x-1-cp310-cp310-manylinux2014_x86_64.whl",
            "x-1-cp312-abi3-manylinux2014_x86_64.whl",
            "x-1-cp311-cp311t-manylinux2014_x86_64.whl",
            "x-1-pp311-pypy311_pp73-manylinux2014_x86_64.whl",
            "x-1-cp311-cp311-win_amd64.whl",
            "x-1-cp311-cp311-macosx_11_0_arm64.whl",
            "x-1-py2-none-any.whl",
        ] {
            assert_eq!(supported.rank(&WheelName::parse(file).unwrap()), None, "{file}");
        }
    }

    #[test]
    fn a_wheel_of_several_tags_has_its_best_rank() {
        let supported = supported(Platform::LinuxArm64);
        let rank = |file| supported.rank(&WheelName::parse(file).unwrap());
        assert_eq!(
            rank("x-1-cp311-cp311-manylinux_2_17_aarch64.manylinux2014_aarch64.whl"),
            rank("x-1-cp311-cp311-manylinux_2_17_aarch64.whl")
        );
        assert_eq!(rank("x-1-py2.py3-none-any.whl"), rank("x-1-py3-none-any.whl"));
        assert_eq!(rank("x-1-cp311-cp311-manylinux_2_12_aarch64.whl"), None);
    }
}
