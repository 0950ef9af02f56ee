//! Base roots: a Debian that nobody adapted to us, installed once and then shared by machines.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use cairn_formats::Sha256;

use crate::error::at;
use crate::event::Event;
use crate::files::remove_dir_all;
use crate::process::{Tool, run};
use crate::record::StateDir;
use crate::tree::Tree;
use crate::{Result, mounts};

/// Part of the key: change it when what we ask of mmdebstrap changes.
const CONTRACT: &str = "1";

/// What a host needs to be reached and to run units.
const PACKAGES: [&str; 7] =
    ["ca-certificates", "dbus", "iproute2", "openssh-server", "sudo", "systemd", "systemd-sysv"];

/// What a machine is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineSpec {
    /// A Debian suite.
    pub suite: String,
    /// Lines as in apt's `sources.list`. If there are none, those files of this computer's apt that
    /// name only this suite (and its updates) are taken, and failing those, mmdebstrap's default.
    pub sources: Vec<String>,
    /// Debian packages besides those that a host needs.
    pub packages: Vec<String>,
}

impl Default for MachineSpec {
    fn default() -> Self {
        Self { suite: "bookworm".to_owned(), sources: Vec::new(), packages: Vec::new() }
    }
}

/// What to tell mmdebstrap, and the name of its result.
struct Plan {
    suite: String,
    packages: Vec<String>,
    sources: Vec<String>,
    key: String,
}

impl Plan {
    fn new(spec: &MachineSpec) -> Self {
        let mut packages: Vec<_> =
            PACKAGES.iter().map(|p| (*p).to_owned()).chain(spec.packages.iter().cloned()).collect();
        packages.sort();
        packages.dedup();
        let (sources, said) = if spec.sources.is_empty() {
            apt_files(Path::new("/etc/apt"), &spec.suite).into_iter().unzip()
        } else {
            (spec.sources.clone(), spec.sources.clone())
        };
        let said = [vec![CONTRACT.to_owned(), spec.suite.clone(), packages.join(",")], said].concat().join("\n");
        let key = format!("{}-{}", spec.suite.replace('/', "-"), &Sha256::of(said.as_bytes()).hex()[..16]);
        Self { suite: spec.suite.clone(), packages, sources, key }
    }
}

/// The base's folder and its name; installs it if there is none yet. The caller holds the lock.
pub(crate) fn ensure(state: &StateDir, spec: &MachineSpec, events: &dyn Fn(Event)) -> Result<(PathBuf, String)> {
    let plan = Plan::new(spec);
    let ready = state.bases().join(&plan.key);
    if ready.is_dir() {
        return Ok((ready, plan.key));
    }
    Tool::Mmdebstrap.require()?;
    events(Event::BuildingBase { suite: plan.suite.clone() });
    let start = Instant::now();
    let partial = state.bases().join(format!("{}.partial", plan.key));
    // An earlier run may have been killed with things still mounted in there.
    mounts::unmount_below(&partial)?;
    remove_dir_all(&partial)?;
    let target = partial.display().to_string();
    let include = format!("--include={}", plan.packages.join(","));
    let mut args = vec!["--quiet", "--variant=minbase", "--format=directory", &include, &plan.suite, &target];
    args.extend(plan.sources.iter().map(String::as_str));
    let result = run(Tool::Mmdebstrap, &args).and_then(|_| neutral(&partial));
    if let Err(error) = result {
        mounts::unmount_below(&partial)?;
        remove_dir_all(&partial)?;
        return Err(error);
    }
    fs::rename(&partial, &ready).map_err(at("create", &ready))?;
    events(Event::BaseBuilt { elapsed: start.elapsed() });
    Ok((ready, plan.key))
}

/// Takes away what machines must not share: the keys that installing the SSH server made.
fn neutral(root: &Path) -> Result<()> {
    let tree = Tree::open(root)?;
    for name in tree.names("etc/ssh")? {
        if let Some(name) = name.to_str().filter(|name| name.starts_with("ssh_host_")) {
            tree.remove(&format!("etc/ssh/{name}"))?;
        }
    }
    Ok(())
}

/// Path and text of apt's files that are about this suite alone.
fn apt_files(etc: &Path, suite: &str) -> Vec<(String, String)> {
    let parts = fs::read_dir(etc.join("sources.list.d")).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<_> = std::iter::once(etc.join("sources.list")).chain(parts).collect();
    files.sort();
    let text = |path: PathBuf| Some((path.to_str()?.to_owned(), fs::read_to_string(&path).ok()?));
    files.into_iter().filter_map(text).filter(|(path, text)| about(path, text, suite)).collect()
}

/// Whether every source in the file is of the suite, its updates or its security suite, and there is one.
fn about(path: &str, text: &str, suite: &str) -> bool {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let suites: Vec<&str> = if path.ends_with(".sources") {
        lines.filter_map(|line| line.strip_prefix("Suites:")).flat_map(str::split_ascii_whitespace).collect()
    } else if path.ends_with(".list") {
        lines.filter_map(one_line_suite).collect()
    } else {
        return false;
    };
    let ours = |found: &&str| found.strip_prefix(suite).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    !suites.is_empty() && suites.iter().all(ours)
}

/// `deb [options] URI SUITE components…`
fn one_line_suite(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("deb ").or_else(|| line.strip_prefix("deb-src "))?.trim_start();
    let rest = match rest.strip_prefix('[') {
        Some(options) => options.split_once(']')?.1,
        None => rest,
    };
    rest.split_ascii_whitespace().nth(1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_apt_files_about_the_suite_are_taken() {
        let good = [
            ("a.list", "deb http://mirror.example/debian bookworm main\n# deb http://mirror.example/x sid main"),
            ("a.list", "deb [arch=amd64 signed-by=/k] http://mirror.example/d bookworm-updates main contrib"),
            ("a.sources", "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\n"),
        ];
        let bad = [
            ("a.list", ""),
            ("a.list", "# deb http://mirror.example/debian bookworm main"),
            ("a.list", "deb http://mirror.example/apt cloud-bookworm main"),
            ("a.list", "deb http://mirror.example/debian bookworm main\ndeb http://mirror.example/debian sid main"),
            ("a.sources", "Types: deb\nURIs: http://mirror.example/node\nSuites: nodistro\n"),
            ("a.sources", "Suites: bookworm trixie\n"),
            ("a.bak", "deb http://mirror.example/debian bookworm main"),
        ];
        for (expected, cases) in [(true, &good[..]), (false, &bad[..])] {
            for (path, text) in cases {
                assert_eq!(about(path, text, "bookworm"), expected, "{path}: {text}");
            }
        }
    }

    #[test]
    fn the_key_follows_what_is_asked_for_and_not_its_order() {
        let line = "deb http://mirror.example/debian bookworm main".to_owned();
        let spec = |packages: &[&str], sources: &[String]| {
            let packages = packages.iter().map(|p| (*p).to_owned()).collect();
            Plan::new(&MachineSpec { sources: sources.to_vec(), packages, ..MachineSpec::default() }).key
        };
        let plain = spec(&[], std::slice::from_ref(&line));
        assert!(plain.starts_with("bookworm-"), "{plain}");
        assert_eq!(plain, spec(&["dbus"], std::slice::from_ref(&line)));
        assert_eq!(spec(&["a", "b"], std::slice::from_ref(&line)), spec(&["b", "a"], std::slice::from_ref(&line)));
        assert_ne!(plain, spec(&["a"], std::slice::from_ref(&line)));
        assert_ne!(plain, spec(&[], &[line.clone(), line]));
    }
}
