//! The workspace's crates and what they depend on, as `cargo metadata` says.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::build;
use crate::process::cargo;

#[derive(Debug, Deserialize)]
pub struct Graph {
    pub packages: Vec<Package>,
    pub workspace_members: Vec<String>,
    resolve: Resolve,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Package {
    pub id: String,
    pub name: String,
    pub version: String,
    /// An SPDX expression, or an old form of one.
    pub license: Option<String>,
    pub authors: Vec<String>,
    /// None for a crate that lies in a folder.
    pub source: Option<String>,
    pub manifest_path: PathBuf,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Debug, Deserialize)]
struct DependencyKind {
    /// None for a normal one; else `dev` or `build`.
    kind: Option<String>,
}

impl Graph {
    /// Of both platforms that programs are built for, whichever this computer has.
    pub fn read() -> Result<Self> {
        let text = cargo()
            .args(["metadata", "--locked", "--format-version", "1"])
            .args(["--filter-platform", build::INTEL, "--filter-platform", build::ARM])
            .output()?;
        serde_json::from_str(&text).context("cannot parse what `cargo metadata` printed")
    }

    /// The crates of others that are compiled into a program of ours, by name and version.
    pub fn linked(&self, program: &str) -> Result<Vec<&Package>> {
        let packages: HashMap<&str, &Package> = self.packages.iter().map(|p| (p.id.as_str(), p)).collect();
        let nodes: HashMap<&str, &Node> = self.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
        let root = self.packages.iter().find(|package| package.name == program);
        let root = root.with_context(|| format!("this workspace has no package `{program}`"))?;
        let mut seen = BTreeSet::from([root.id.as_str()]);
        let mut next = vec![root.id.as_str()];
        while let Some(id) = next.pop() {
            for dependency in nodes.get(id).into_iter().flat_map(|node| &node.deps) {
                let normal = dependency.dep_kinds.iter().any(|kind| kind.kind.is_none());
                if normal && seen.insert(&dependency.pkg) {
                    next.push(&dependency.pkg);
                }
            }
        }
        let mut linked: Vec<&Package> = seen.iter().filter_map(|id| packages.get(id).copied()).collect();
        linked.retain(|package| package.source.is_some());
        linked.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
        Ok(linked)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_only_tests_and_build_scripts_need_is_not_linked() {
        let package = |name: &str, source: Option<&str>| {
            serde_json::json!({"id": name, "name": name, "version": "1.0.0", "license": "MIT", "authors": [],
                               "source": source, "manifest_path": format!("/{name}/Cargo.toml")})
        };
        let node = |id: &str, deps: &[(&str, &[Option<&str>])]| {
            let dependency = |(pkg, kinds): &(&str, &[Option<&str>])| {
                let kinds: Vec<_> =
                    kinds.iter().map(|kind| serde_json::json!({"kind": kind, "target": null})).collect();
                serde_json::json!({"pkg": pkg, "name": pkg, "dep_kinds": kinds})
            };
            serde_json::json!({"id": id, "deps": deps.iter().map(dependency).collect::<Vec<_>>()})
        };
        let registry = Some("registry+x");
        let graph: Graph = serde_json::from_value(serde_json::json!({
            "packages": [package("program", None), package("library", None), package("z", registry),
                         package("both", registry), package("test", registry), package("script", registry)],
            "workspace_members": ["program", "library"],
            "resolve": {"nodes": [
                node("program", &[("library", &[None]), ("test", &[Some("dev")]), ("both", &[Some("build"), None])]),
                node("library", &[("z", &[None]), ("script", &[Some("build")])]),
                node("z", &[("library", &[None])]),
                node("both", &[]),
            ]},
        }))
        .unwrap();
        let names: Vec<&str> = graph.linked("program").unwrap().iter().map(|package| package.name.as_str()).collect();
        assert_eq!(names, ["both", "z"]);
        assert!(graph.linked("absent").unwrap_err().to_string().contains("no package `absent`"));
    }
}
