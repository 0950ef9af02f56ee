//! Whether the crates that we depend on are what `deny.toml` allows. Needs no network.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use spdx::{Expression, ParseMode};

use super::graph::{Graph, Package};
use super::notices;
use super::rules::Rules;
use crate::root;

/// All crates: those of tests and build scripts run on developers' computers.
pub fn run() -> Result<()> {
    let text = |name: &str| fs::read_to_string(root().join(name)).with_context(|| format!("cannot read {name}"));
    let rules = Rules::parse(&text("deny.toml")?)?;
    let graph = Graph::read()?;
    let mut faults = licences(&graph, &rules)?;
    faults.extend(bans(&graph, &rules));
    faults.extend(sources(&text("Cargo.lock")?, &graph, &rules)?);
    faults.extend(arithmetic(&text("Cargo.toml")?)?);
    faults.extend(notices::outdated(&graph)?);
    for line in duplicates(&graph)? {
        println!("two versions are linked: {line}");
    }
    for advisory in &rules.advisories.ignore {
        println!("accepted: {}: {}", advisory.id, advisory.reason);
    }
    if faults.is_empty() {
        println!("{} crates keep the rules of deny.toml", graph.packages.len());
        return Ok(());
    }
    bail!("the dependencies break the rules of deny.toml:\n  {}", faults.join("\n  "))
}

fn licences(graph: &Graph, rules: &Rules) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for Package { name, version, license, .. } in &graph.packages {
        let Some(license) = license else {
            faults.push(format!("{name} {version} names no licence: ask its authors, or depend on another crate"));
            continue;
        };
        let expression = Expression::parse_mode(license, ParseMode::LAX)
            .with_context(|| format!("cannot parse the licence {license:?} of {name} {version}"))?;
        if !expression.evaluate(|needed| rules.licenses.allow.contains(&needed.to_string())) {
            faults.push(format!(
                "{name} {version} is under {license:?}, which licenses.allow does not allow: depend on another crate, \
                 or have the licence accepted there"
            ));
        }
    }
    Ok(faults)
}

fn bans(graph: &Graph, rules: &Rules) -> Vec<String> {
    let banned = |package: &Package| rules.bans.deny.iter().find(|ban| ban.name == package.name);
    let describe = |package: &Package| Some(format!("{} is banned: {}", package.name, banned(package)?.reason));
    let faults: BTreeSet<String> = graph.packages.iter().filter_map(describe).collect();
    faults.into_iter().collect()
}

#[derive(Deserialize)]
struct LockFile {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    source: Option<String>,
    checksum: Option<String>,
}

/// Of every crate in the lock file, those for other platforms among them.
fn sources(lock: &str, graph: &Graph, rules: &Rules) -> Result<Vec<String>> {
    let lock: LockFile = toml::from_str(lock).context("cannot parse Cargo.lock")?;
    let members: BTreeSet<&str> =
        graph.packages.iter().filter(|p| graph.workspace_members.contains(&p.id)).map(|p| p.name.as_str()).collect();
    let fault = |Locked { name, version, source, checksum }: &Locked| match source.as_deref() {
        None if members.contains(name.as_str()) => None,
        None => {
            Some(format!("{name} {version} comes from a folder outside of this workspace: depend on a release of it"))
        }
        Some(source) => {
            let registry = source.strip_prefix("registry+").or_else(|| source.strip_prefix("sparse+"));
            if !registry.is_some_and(|registry| rules.sources.allow_registry.iter().any(|allowed| allowed == registry))
            {
                Some(format!(
                    "{name} {version} comes from {source}, which sources.allow-registry does not name: depend on a release of it"
                ))
            } else if checksum.is_none() {
                Some(format!(
                    "{name} {version} has no checksum in Cargo.lock: remove its entry and run `cargo update -p {name}`"
                ))
            } else {
                None
            }
        }
    };
    Ok(lock.package.iter().filter_map(fault).collect())
}

/// Our own parsers read hostile input in the programs that are released: an overflow must stop them
/// there as it does in tests.
fn arithmetic(manifest: &str) -> Result<Option<String>> {
    let manifest: toml::Table = toml::from_str(manifest).context("cannot parse Cargo.toml")?;
    let release = manifest.get("profile").and_then(|profiles| profiles.get("release"));
    let checked = |profile: &toml::Value| profile.get("overflow-checks").and_then(toml::Value::as_bool);
    let ours_off = release
        .and_then(|release| release.get("package"))
        .and_then(toml::Value::as_table)
        .is_some_and(|packages| packages.iter().any(|(name, of)| name != "*" && checked(of) == Some(false)));
    let on = release.and_then(checked) == Some(true);
    Ok((!on || ours_off)
        .then(|| "Cargo.toml: [profile.release] needs `overflow-checks = true` for our crates".to_owned()))
}

/// The same crate twice in one program: time to compile, and two places for one fault.
fn duplicates(graph: &Graph) -> Result<Vec<String>> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for program in notices::PROGRAMS {
        for package in graph.linked(program.package)? {
            versions.entry(&package.name).or_default().insert(&package.version);
        }
    }
    let line = |(name, versions): (&str, BTreeSet<&str>)| {
        (versions.len() > 1).then(|| format!("{name} {}", versions.into_iter().collect::<Vec<_>>().join(", ")))
    };
    Ok(versions.into_iter().filter_map(line).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const RULES: &str = r#"
        [licenses]
        allow = ["MIT", "Apache-2.0", "ISC"]
        [bans]
        deny = [{ crate = "openssl", reason = "rustls is here already" }]
        [sources]
        allow-registry = ["https://github.com/rust-lang/crates.io-index"]
    "#;

    fn graph(packages: &[(&str, Option<&str>)]) -> Graph {
        let package = |(name, license): &(&str, Option<&str>)| {
            serde_json::json!({"id": name, "name": name, "version": "1.2.3", "license": license, "authors": [],
                               "source": null, "manifest_path": "/x/Cargo.toml"})
        };
        let packages: Vec<_> = packages.iter().map(package).collect();
        serde_json::from_value(
            serde_json::json!({"packages": packages, "workspace_members": ["ours"], "resolve": {"nodes": []}}),
        )
        .unwrap()
    }

    #[test]
    fn a_licence_must_be_allowed_in_every_part_that_is_not_a_choice() {
        let rules = Rules::parse(RULES).unwrap();
        for (license, good) in [
            (Some("MIT"), true),
            (Some("MIT OR GPL-3.0-only"), true),
            (Some("MIT/GPL-2.0"), true),
            (Some("(MIT OR GPL-3.0-only) AND ISC"), true),
            (Some("Apache-2.0 WITH LLVM-exception OR MIT"), true),
            (Some("Apache-2.0 WITH LLVM-exception"), false),
            (Some("MIT AND GPL-3.0-only"), false),
            (Some("AGPL-3.0-only"), false),
            (None, false),
        ] {
            let faults = licences(&graph(&[("x", license)]), &rules).unwrap();
            assert_eq!(faults.is_empty(), good, "{license:?}: {faults:?}");
            assert!(faults.iter().all(|fault| fault.starts_with("x 1.2.3 ")), "{faults:?}");
        }
        assert!(
            licences(&graph(&[("x", Some("My own"))]), &rules).unwrap_err().to_string().contains("\"My own\" of x")
        );
    }

    #[test]
    fn a_banned_crate_is_named_with_the_reason() {
        let rules = Rules::parse(RULES).unwrap();
        let faults = bans(&graph(&[("openssl", Some("MIT")), ("openssl-probe", Some("MIT"))]), &rules);
        assert_eq!(faults, ["openssl is banned: rustls is here already"]);
    }

    #[test]
    fn every_crate_comes_from_the_registry_and_has_a_checksum() {
        let rules = Rules::parse(RULES).unwrap();
        let graph = graph(&[("ours", Some("MIT"))]);
        let registry = "registry+https://github.com/rust-lang/crates.io-index";
        for (name, more, expected) in [
            ("ours", String::new(), None),
            ("theirs", String::new(), Some("comes from a folder outside")),
            ("a", format!("source = {registry:?}\nchecksum = \"00\""), None),
            ("a", format!("source = {registry:?}"), Some("has no checksum")),
            ("a", "source = \"registry+https://other.example/index\"".to_owned(), Some("https://other.example/index")),
            ("a", "source = \"git+https://example/a#0123\"".to_owned(), Some("git+https://example/a#0123")),
        ] {
            let lock = format!("[[package]]\nname = {name:?}\nversion = \"1.0.0\"\n{more}\n");
            let faults = sources(&lock, &graph, &rules).unwrap();
            assert_eq!(faults.len(), usize::from(expected.is_some()), "{lock}: {faults:?}");
            assert!(faults.iter().all(|fault| fault.contains(expected.unwrap_or_default())), "{faults:?}");
        }
    }

    #[test]
    fn release_builds_of_our_crates_check_arithmetic() {
        for (manifest, good) in [
            (
                "[profile.release]\noverflow-checks = true\n[profile.release.package.\"*\"]\noverflow-checks = false",
                true,
            ),
            (
                "[profile.release]\noverflow-checks = true\n[profile.release.package.cairn-oci]\noverflow-checks = false",
                false,
            ),
            ("[profile.release]\nlto = true", false),
            ("", false),
        ] {
            assert_eq!(arithmetic(manifest).unwrap().is_none(), good, "{manifest}");
        }
    }

    #[test]
    fn a_rule_that_nothing_checks_is_an_error() {
        for text in ["[licences]\nallow = []", "[bans]\ndeny = []\nskip = []", "[advisories]\nignore = [\"RUSTSEC-1\"]"]
        {
            assert!(Rules::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_dependencies_of_this_workspace_keep_the_rules() {
        run().unwrap();
    }
}
