//! What differs between two closures, for people and for programs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cairn_closure::Change;
use serde::Serialize;
use similar::TextDiff;

use crate::Contents;
use crate::contents::{Origin, Packages};

/// A comparison of two texts takes time with the square of their differences, and one of them may be a
/// host's. Later the rest is told as one change.
const PATIENCE: Duration = Duration::from_secs(5);
/// Lines of context around each change.
const CONTEXT: usize = 3;

#[derive(Debug, Clone, Default, Serialize)]
pub struct Difference {
    pub services: Vec<Service>,
    /// What changes of the host itself: `/etc/…`, `sysctl …`, `user …`, `mount …`, `unit …`.
    pub system: Vec<(String, Change)>,
    pub packages: Vec<Package>,
    pub secrets: Vec<Secret>,
    /// Units and configuration files, and files below `/etc`.
    pub files: Vec<File>,
}

/// A service that does not go on as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Service {
    pub service: String,
    pub change: Change,
    /// How many there were and are.
    pub replicas: [usize; 2],
}

/// A package of an image; without a version on the side that lacks it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Package {
    pub image: String,
    pub origin: Origin,
    pub package: String,
    pub from: Option<String>,
    pub to: Option<String>,
}

/// A secret's value is told by its number alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Secret {
    pub secret: String,
    pub from: Option<u64>,
    pub to: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct File {
    pub file: String,
    /// Unified, against an empty text on the side that lacks the file.
    pub diff: String,
}

impl Difference {
    /// What becomes of `old` when `new` takes its place.
    pub fn between(old: Option<&Contents>, new: &Contents) -> Self {
        Self {
            services: services(old, new),
            system: new.manifest.system_changes_from(old.map(|old| &old.manifest)),
            packages: packages(old, new),
            secrets: secrets(old, new),
            files: files(old, new),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
            && self.system.is_empty()
            && self.packages.is_empty()
            && self.secrets.is_empty()
            && self.files.is_empty()
    }
}

fn services(old: Option<&Contents>, new: &Contents) -> Vec<Service> {
    let count = |contents: Option<&Contents>, name| {
        contents.and_then(|c| c.manifest.services.get(name)).map_or(0, |service| service.replicas.len())
    };
    let changes = new.manifest.changes_from(old.map(|old| &old.manifest)).into_iter();
    let services = changes.map(|(name, change)| Service {
        service: name.to_string(),
        change,
        replicas: [count(old, name), count(Some(new), name)],
    });
    services.filter(|s| s.change != Change::Unchanged || s.replicas[0] != s.replicas[1]).collect()
}

fn packages(old: Option<&Contents>, new: &Contents) -> Vec<Package> {
    let none = BTreeMap::new();
    let before = old.map_or(&none, |old| &old.packages);
    let images: BTreeSet<&String> = before.keys().chain(new.packages.keys()).collect();
    let of_image = |image: &String| {
        let list = |side: &BTreeMap<String, Packages>| side.get(image).cloned().unwrap_or_default();
        differing(&list(before), &list(&new.packages))
            .map(|((origin, package), from, to)| Package { image: image.clone(), origin, package, from, to })
            .collect::<Vec<_>>()
    };
    images.into_iter().flat_map(of_image).collect()
}

fn secrets(old: Option<&Contents>, new: &Contents) -> Vec<Secret> {
    let list = |contents: &Contents| -> BTreeMap<String, u64> {
        contents.manifest.secrets().into_iter().map(|secret| (secret.name.to_string(), secret.version)).collect()
    };
    differing(&old.map(list).unwrap_or_default(), &list(new))
        .map(|(secret, from, to)| Secret { secret, from, to })
        .collect()
}

fn files(old: Option<&Contents>, new: &Contents) -> Vec<File> {
    let none = BTreeMap::new();
    let before = old.map_or(&none, |old| &old.files);
    differing(before, &new.files).map(|(file, from, to)| File { diff: unified(&file, &from, &to), file }).collect()
}

/// The keys whose values are not the same, with both values.
fn differing<K: Clone + Ord, V: Clone + PartialEq>(
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
) -> impl Iterator<Item = (K, Option<V>, Option<V>)> {
    let names: BTreeSet<K> = old.keys().chain(new.keys()).cloned().collect();
    let both: Vec<_> = names.into_iter().map(|name| (old.get(&name).cloned(), new.get(&name).cloned(), name)).collect();
    both.into_iter().filter(|(from, to, _)| from != to).map(|(from, to, name)| (name, from, to))
}

fn unified(file: &str, from: &Option<String>, to: &Option<String>) -> String {
    let name = |side: &str, text: &Option<String>| match text {
        Some(_) => format!("{side}/{file}"),
        None => "/dev/null".to_owned(),
    };
    let [old, new] = [from, to].map(|text| text.as_deref().unwrap_or_default());
    TextDiff::configure()
        .timeout(PATIENCE)
        .diff_lines(old, new)
        .unified_diff()
        .context_radius(CONTEXT)
        .header(&name("a", from), &name("b", to))
        .to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn contents(services: serde_json::Value, packages: &[(&str, &str)], files: &[(&str, &str)]) -> Contents {
        let spec = serde_json::from_value(json!({
            "version": 1, "name": "h", "platform": "linux/amd64",
            "agent": "/nix/store/0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-cairn-agent", "services": services
        }));
        let owned = |list: &[(&str, &str)]| list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        let package = |(name, version): &(&str, &str)| ((Origin::Debian, (*name).to_owned()), (*version).to_owned());
        Contents {
            manifest: cairn_closure::render(&spec.unwrap()).unwrap().manifest,
            files: owned(files),
            packages: BTreeMap::from([("api".to_owned(), packages.iter().map(package).collect())]),
        }
    }

    fn service(text: &str, replicas: u32, secret: u64) -> serde_json::Value {
        json!({
            "rootfs": "/nix/store/1mdqa9w1p6cmli6976v4wi0sw9r4p5pr-api", "image": "api",
            "replicas": replicas, "command": ["/bin/x", text], "listen": {"unix": true},
            "credentials": {"key": {"name": "jwt-secret", "version": secret}},
            "user": {"name": "app", "uid": 10001, "gid": 10001}
        })
    }

    #[test]
    fn equal_closures_do_not_differ() {
        let one = contents(json!({"api": service("one", 2, 1)}), &[("libc6", "2")], &[("api/x", "a\n")]);
        assert!(Difference::between(Some(&one), &one).is_empty());
    }

    #[test]
    fn each_kind_of_change_is_told() {
        let old = contents(
            json!({"api": service("one", 2, 1), "gone": service("g", 1, 1)}),
            &[("libc6", "2"), ("old", "1"), ("same", "1")],
            &[("cairn-api-1.service", "[Service]\nA=1\nB=1\n"), ("same", "x")],
        );
        let new = contents(
            json!({"api": service("two", 3, 2), "gone-too": service("g", 1, 2)}),
            &[("libc6", "3"), ("new", "1"), ("same", "1")],
            &[("cairn-api-1.service", "[Service]\nA=2\nB=1\n"), ("api/new.conf", "on\n"), ("same", "x")],
        );
        let difference = Difference::between(Some(&old), &new);
        let services: Vec<_> = difference.services.iter().map(|s| (s.service.as_str(), s.change, s.replicas)).collect();
        assert_eq!(
            services,
            [
                ("api", Change::ReplaceBeside, [2, 3]),
                ("gone-too", Change::New, [0, 1]),
                ("gone", Change::Removed, [1, 0])
            ]
        );
        let packages: Vec<_> =
            difference.packages.iter().map(|p| (p.package.as_str(), p.from.as_deref(), p.to.as_deref())).collect();
        assert_eq!(packages, [("libc6", Some("2"), Some("3")), ("new", None, Some("1")), ("old", Some("1"), None)]);
        assert_eq!(difference.secrets, [Secret { secret: "jwt-secret".to_owned(), from: Some(1), to: Some(2) }]);
        let files: Vec<_> = difference.files.iter().map(|f| (f.file.as_str(), f.diff.as_str())).collect();
        assert_eq!(
            files,
            [
                ("api/new.conf", "--- /dev/null\n+++ b/api/new.conf\n@@ -0,0 +1 @@\n+on\n"),
                (
                    "cairn-api-1.service",
                    "--- a/cairn-api-1.service\n+++ b/cairn-api-1.service\n@@ -1,3 +1,3 @@\n [Service]\n-A=1\n+A=2\n B=1\n"
                ),
            ]
        );
    }

    #[test]
    fn more_replicas_are_a_change_of_their_own() {
        let [old, new] = [2, 3].map(|replicas| contents(json!({"api": service("one", replicas, 1)}), &[], &[]));
        let services = Difference::between(Some(&old), &new).services;
        assert_eq!(services.len(), 1);
        assert_eq!((services[0].change, services[0].replicas), (Change::Unchanged, [2, 3]));
    }
}
