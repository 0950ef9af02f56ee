//! `Packages` indexes and the pool of everything that can be chosen for one architecture.
//!
//! An index of bookworm has 63,000 stanzas in 48 MB, so only names, versions and `Provides` are
//! read up front, borrowed from the text; the rest is read for the few packages that matter.

use std::collections::HashMap;

use cairn_formats::Sha256;

use super::relation::{BadRelation, Relation, is_name, parse_field};
use super::stanza::{Stanza, stanzas};
use super::version;

/// The text of one verified index, and where it is from.
#[derive(Debug, Clone, Copy)]
pub struct Index<'a> {
    /// Kind of mirror: `debian`, `debian-security`.
    pub archive: &'a str,
    pub suite: &'a str,
    pub text: &'a str,
}

/// One version of one package, as an index describes it.
#[derive(Debug, Clone, Copy)]
pub struct Package<'a> {
    pub name: &'a str,
    pub version: &'a str,
    /// The pool's architecture, or `all`.
    pub arch: &'a str,
    pub archive: &'a str,
    pub suite: &'a str,
    stanza: Stanza<'a>,
}

/// Number of a package in its pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageId(usize);

/// Who provides a name: the package, and the version provided, if any.
pub type Provider<'a> = (PackageId, Option<&'a str>);

pub struct Pool<'a> {
    pub arch: &'a str,
    packages: Vec<Package<'a>>,
    /// Newest first.
    by_name: HashMap<&'a str, Vec<PackageId>>,
    /// By the provider's name, newest first.
    providers: HashMap<&'a str, Vec<Provider<'a>>>,
}

/// Where and what the archive file of a package is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DebFile {
    pub source: String,
    pub pool: String,
    pub size: u64,
    pub sha256: Sha256,
}

/// A stanza that cannot be used. The index was signed, so this is the archive's fault, or ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("package `{package}` {version} in suite {suite}: {problem}")]
pub struct BadStanza {
    pub package: String,
    pub version: String,
    pub suite: String,
    pub problem: String,
}

impl<'a> Pool<'a> {
    /// Reads the indexes. Stanzas without a usable name, version or architecture, and those of
    /// other architectures, are left out. The result does not depend on the order of the indexes.
    pub fn new(arch: &'a str, indexes: &[Index<'a>]) -> Self {
        let mut packages: Vec<Package<'a>> = Vec::new();
        for index in indexes {
            packages.extend(stanzas(index.text).filter_map(|stanza| Package::read(stanza, index, arch)));
        }
        packages.sort_by(|a, b| {
            (a.name.cmp(b.name))
                .then_with(|| version::compare(b.version, a.version))
                .then_with(|| (a.archive, a.suite, a.arch).cmp(&(b.archive, b.suite, b.arch)))
        });
        // One version in several suites is one package: the first, which is the release's.
        packages.dedup_by(|later, first| later.name == first.name && later.version == first.version);
        let mut by_name: HashMap<&str, Vec<PackageId>> = HashMap::with_capacity(packages.len());
        let mut providers: HashMap<&str, Vec<Provider>> = HashMap::new();
        for (n, package) in packages.iter().enumerate() {
            by_name.entry(package.name).or_default().push(PackageId(n));
            for (name, version) in package.provides(arch) {
                providers.entry(name).or_default().push((PackageId(n), version));
            }
        }
        Self { arch, packages, by_name, providers }
    }

    pub fn get(&self, id: PackageId) -> &Package<'a> {
        &self.packages[id.0]
    }

    /// Versions of a real package, newest first.
    pub fn named(&self, name: &str) -> &[PackageId] {
        self.by_name.get(name).map_or(&[], Vec::as_slice)
    }

    /// Packages that provide a name, by their own name, newest first.
    pub fn providers(&self, name: &str) -> &[Provider<'a>] {
        self.providers.get(name).map_or(&[], Vec::as_slice)
    }

    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.by_name.keys().copied()
    }

    /// Whether this package, under its own name or one that it provides, is what the relation asks for.
    pub fn satisfies(&self, id: PackageId, relation: &Relation) -> bool {
        let package = self.get(id);
        if !relation.accepts_architecture(package.arch) {
            return false;
        }
        if package.name == relation.name {
            return relation.accepts(package.version);
        }
        self.providers(relation.name).iter().any(|(provider, version)| {
            *provider == id
                && match (relation.version, version) {
                    (None, _) => true,
                    (Some(_), Some(version)) => relation.accepts(version),
                    // A provided name without a version satisfies no version (Policy 7.5).
                    (Some(_), None) => false,
                }
        })
    }

    /// What can satisfy the relation, best first: real packages newest first, then providers.
    pub fn candidates(&self, relation: &Relation) -> Vec<PackageId> {
        let providers = self.providers(relation.name).iter().map(|(id, _)| *id);
        let providers = providers.filter(|id| self.get(*id).name != relation.name);
        let all = self.named(relation.name).iter().copied().chain(providers);
        all.filter(|id| self.satisfies(*id, relation)).collect()
    }
}

impl<'a> Package<'a> {
    fn read(stanza: Stanza<'a>, index: &Index<'a>, wanted_arch: &str) -> Option<Self> {
        let (mut name, mut version, mut arch) = ("", "", "");
        for (key, value) in stanza.fields() {
            match key {
                "Package" => name = value,
                "Version" => version = value,
                "Architecture" => arch = value,
                _ => {}
            }
            if !name.is_empty() && !version.is_empty() && !arch.is_empty() {
                break;
            }
        }
        let usable = is_name(name)
            && !version.is_empty()
            && version.len() <= 200
            && version.bytes().all(|c| c.is_ascii_alphanumeric() || b".+-~:".contains(&c))
            && (arch == wanted_arch || arch == "all");
        usable.then_some(Self { name, version, arch, archive: index.archive, suite: index.suite, stanza })
    }

    /// Names provided, with versions. What cannot be read provides nothing.
    fn provides(&self, arch: &str) -> Vec<(&'a str, Option<&'a str>)> {
        let Some(field) = self.stanza.get("Provides") else { return Vec::new() };
        let clauses = parse_field(field, arch).unwrap_or_default();
        clauses.into_iter().flatten().map(|relation| (relation.name, relation.version.map(|(_, v)| v))).collect()
    }

    /// Clauses that must hold for the package to work: `Pre-Depends`, then `Depends`.
    pub fn depends(&self, arch: &str) -> Result<Vec<Vec<Relation<'a>>>, BadStanza> {
        let mut clauses = self.field("Pre-Depends", arch)?;
        clauses.extend(self.field("Depends", arch)?);
        Ok(clauses)
    }

    /// Packages that may not be in the same image: `Conflicts` and `Breaks`.
    pub fn conflicts(&self, arch: &str) -> Result<Vec<Relation<'a>>, BadStanza> {
        let mut clauses = self.field("Conflicts", arch)?;
        clauses.extend(self.field("Breaks", arch)?);
        Ok(clauses.into_iter().flatten().collect())
    }

    fn field(&self, name: &str, arch: &str) -> Result<Vec<Vec<Relation<'a>>>, BadStanza> {
        let Some(field) = self.stanza.get(name) else { return Ok(Vec::new()) };
        parse_field(field, arch)
            .map_err(|BadRelation(text)| self.bad(format!("field `{name}`: `{text}` cannot be read")))
    }

    pub fn file(&self) -> Result<DebFile, BadStanza> {
        let field = |name: &str| self.stanza.get(name).ok_or_else(|| self.bad(format!("field `{name}` is missing")));
        let source = self.stanza.get("Source").and_then(|s| s.split_whitespace().next()).unwrap_or(self.name);
        let pool = field("Filename")?.trim_start_matches("./");
        let plain = pool.split('/').all(|part| !matches!(part, "" | "." | ".."))
            && pool.bytes().all(|c| c.is_ascii_graphic() && !b"?#\\".contains(&c));
        if !plain || !is_name(source) {
            return Err(self.bad(format!("`{pool}` of source `{source}` is not a plain path below a mirror")));
        }
        let size = field("Size")?;
        let sha256 = field("SHA256")?;
        Ok(DebFile {
            source: source.to_owned(),
            pool: pool.to_owned(),
            size: size.parse().map_err(|_| self.bad(format!("size `{size}` is not a number")))?,
            sha256: Sha256::from_hex(sha256).map_err(|_| self.bad(format!("SHA256 `{sha256}` is not a hash")))?,
        })
    }

    fn bad(&self, problem: String) -> BadStanza {
        let [package, version, suite] = [self.name, self.version, self.suite].map(str::to_owned);
        BadStanza { package, version, suite, problem }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn index<'a>(suite: &'a str, text: &'a str) -> Index<'a> {
        Index { archive: "debian", suite, text }
    }

    #[test]
    fn the_newest_version_of_all_suites_comes_first() {
        let release = "Package: a\nVersion: 1.9\nArchitecture: amd64\n\nPackage: a\nVersion: 1.10\nArchitecture: all\n";
        let updates =
            "Package: a\nVersion: 1.10~rc1\nArchitecture: amd64\n\nPackage: a\nVersion: 1.9\nArchitecture: amd64\n";
        for indexes in
            [[index("s", release), index("s-updates", updates)], [index("s-updates", updates), index("s", release)]]
        {
            let pool = Pool::new("amd64", &indexes);
            let versions: Vec<_> =
                pool.named("a").iter().map(|id| (pool.get(*id).version, pool.get(*id).suite)).collect();
            assert_eq!(versions, [("1.10", "s"), ("1.10~rc1", "s-updates"), ("1.9", "s")]);
        }
    }

    #[test]
    fn other_architectures_and_damaged_stanzas_are_left_out() {
        let text = "Package: a\nVersion: 1\nArchitecture: arm64\n\nPackage: b\nArchitecture: all\n\n\
            Package: ../c\nVersion: 1\nArchitecture: all\n\nPackage: d\nVersion: 1 2\nArchitecture: all\n\n\
            Package: e\nVersion: 1\nArchitecture: all\n";
        let pool = Pool::new("amd64", &[index("s", text)]);
        assert_eq!(pool.names().collect::<Vec<_>>(), ["e"]);
    }

    #[test]
    fn versions_of_provided_names_count() {
        let text = "Package: a\nVersion: 1\nArchitecture: all\nProvides: v (= 2), w\n\n\
            Package: b\nVersion: 1\nArchitecture: all\nProvides: v\n\n\
            Package: v\nVersion: 3\nArchitecture: all\n";
        let pool = Pool::new("amd64", &[index("s", text)]);
        for (relation, expected) in [
            ("v", vec!["v", "a", "b"]),
            ("v (>= 2)", vec!["v", "a"]),
            ("v (= 2)", vec!["a"]),
            ("v (>> 3)", vec![]),
            ("w", vec!["a"]),
            ("w (>= 1)", vec![]),
            ("a:any (= 1)", vec!["a"]),
        ] {
            let parsed = Relation::parse(relation, "amd64").unwrap().unwrap();
            let found: Vec<_> = pool.candidates(&parsed).iter().map(|id| pool.get(*id).name).collect();
            assert_eq!(found, expected, "{relation}");
        }
    }

    #[test]
    fn files_must_lie_plainly_below_the_mirror() {
        let stanza = |filename: &str, size: &str| {
            let hash = Sha256::of(b"");
            format!(
                "Package: a\nVersion: 1\nArchitecture: all\nSource: src (1)\nFilename: {filename}\nSize: {size}\nSHA256: {hash}\n"
            )
        };
        let file = |text: &str| {
            let pool = Pool::new("amd64", &[index("s", text)]);
            pool.get(pool.named("a")[0]).file()
        };
        let good = file(&stanza("pool/main/a/a_1~x+y_all.deb", "12")).unwrap();
        assert_eq!((good.source.as_str(), good.pool.as_str(), good.size), ("src", "pool/main/a/a_1~x+y_all.deb", 12));
        for filename in ["../a.deb", "/etc/a.deb", "pool//a.deb", "pool/a.deb?x", "pool/a b.deb", "pool/./a.deb"] {
            assert!(file(&stanza(filename, "12")).is_err(), "{filename}");
        }
        assert!(file(&stanza("pool/a.deb", "-1")).is_err());
        assert!(file("Package: a\nVersion: 1\nArchitecture: all\n").is_err());
    }
}
