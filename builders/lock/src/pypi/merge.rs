//! The wheels of all platforms as one sorted list.

use std::collections::{BTreeMap, BTreeSet};

use cairn_formats::{Platform, Sha256};
use cairn_recipe::lock::LockedWheel;

use super::pylock::{Package, Wheel};

/// Bytes from which a wheel has a layer of its own: a new version of a small one should not make
/// hosts pull a large one again.
const LARGE: u64 = 3 << 20;
const SMALL_LAYER: &str = "wheels";

type Key = (String, String, String, Sha256);

#[derive(Default)]
pub struct Merge {
    found: BTreeMap<Key, Found>,
}

struct Found {
    size: u64,
    platforms: BTreeSet<Platform>,
    depends: BTreeSet<String>,
}

impl Merge {
    pub fn add<'a>(
        &mut self,
        platform: Platform,
        package: &Package,
        wheel: &Wheel,
        size: u64,
        depends: impl Iterator<Item = &'a String>,
    ) {
        let key = (package.name.clone(), package.version.clone(), wheel.file.clone(), wheel.sha256);
        let found = self.found.entry(key).or_insert_with(|| Found {
            size,
            platforms: BTreeSet::new(),
            depends: BTreeSet::new(),
        });
        found.platforms.insert(platform);
        found.depends.extend(depends.cloned());
    }

    pub fn finish(self) -> Vec<LockedWheel> {
        // A package has the same layer everywhere, even if it is large on one platform only.
        let large: BTreeSet<String> =
            self.found.iter().filter(|(_, found)| found.size > LARGE).map(|(key, _)| key.0.clone()).collect();
        let wheel = |((name, version, file, sha256), found): (Key, Found)| LockedWheel {
            layer: if large.contains(&name) { name.clone() } else { SMALL_LAYER.to_owned() },
            name,
            version,
            file,
            size: found.size,
            sha256,
            depends: found.depends.into_iter().collect(),
            platforms: found.platforms.into_iter().collect(),
        };
        self.found.into_iter().map(wheel).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(merge: &mut Merge, platform: Platform, name: &str, file: &str, size: u64, depends: &[&str]) {
        let package = Package { name: name.into(), version: "1".into(), wheels: vec![] };
        let wheel = Wheel {
            file: file.into(),
            url: String::new(),
            sha256: Sha256::of(file.as_bytes()),
            size: None,
            uploaded: None,
        };
        let depends: Vec<String> = depends.iter().map(|d| (*d).to_owned()).collect();
        merge.add(platform, &package, &wheel, size, depends.iter());
    }

    #[test]
    fn platforms_share_what_is_the_same() {
        let mut merge = Merge::default();
        add(&mut merge, Platform::LinuxArm64, "pure", "pure-1-py3-none-any.whl", 10, &["b"]);
        add(&mut merge, Platform::LinuxAmd64, "pure", "pure-1-py3-none-any.whl", 10, &["a"]);
        add(&mut merge, Platform::LinuxArm64, "fast", "fast-1-arm.whl", LARGE, &[]);
        add(&mut merge, Platform::LinuxAmd64, "fast", "fast-1-amd.whl", LARGE + 1, &[]);
        let wheels: Vec<_> = merge.finish();
        let seen: Vec<_> = wheels
            .iter()
            .map(|w| (w.file.as_str(), w.layer.as_str(), w.platforms.as_slice(), w.depends.join(" ")))
            .collect();
        assert_eq!(
            seen,
            [
                ("fast-1-amd.whl", "fast", &[Platform::LinuxAmd64][..], String::new()),
                ("fast-1-arm.whl", "fast", &[Platform::LinuxArm64], String::new()),
                ("pure-1-py3-none-any.whl", "wheels", &Platform::ALL, "a b".to_owned()),
            ]
        );
    }
}
