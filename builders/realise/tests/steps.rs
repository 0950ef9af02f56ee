//! What the realiser does with a builder that misbehaves: a script in the real one's place.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Mutex;
use std::time::Duration;

use cairn_fetch::{FetchError, Fetcher};
use cairn_realise::{Confinement, Event, Locate, Realiser};
use cairn_recipe::Graph;
use cairn_recipe::graph::Source;
use cairn_recipe::step::Step;
use cairn_store::Store;
use serde_json::Value;
use tempfile::TempDir;

struct Nowhere;

impl Locate for Nowhere {
    fn locate(&self, source: &Source) -> Result<Vec<String>, FetchError> {
        unreachable!("nothing is fetched, and {} neither", source.file)
    }
}

/// Realises steps of these names, one after the other; the error of each, and the warnings.
fn realise(script: &str, steps: &[&str], confinement: &Confinement) -> (TempDir, Vec<String>, Vec<String>) {
    let scratch = tempfile::tempdir().unwrap();
    let builder = scratch.path().join("builder");
    let head = format!("#!/bin/sh\nDIR={}\n", scratch.path().display());
    fs::write(&builder, head + script).unwrap();
    fs::set_permissions(&builder, Permissions::from_mode(0o755)).unwrap();
    let store = Store::open(&scratch.path().join("root")).unwrap();
    let fetcher = Fetcher::new(&scratch.path().join("downloads")).unwrap();
    let realiser = Realiser { store: &store, fetcher: &fetcher, locate: &Nowhere, builder, confinement, jobs: 1 };
    let warnings = Mutex::new(Vec::new());
    let mut errors = Vec::new();
    for name in steps {
        let mut graph = Graph::default();
        let target = graph.run(name, Step::Rootfs {}, BTreeMap::new());
        let result = realiser.realise(&graph, target, &|event| {
            if let Event::WeakSandbox { reason } = event {
                warnings.lock().unwrap().push(reason.to_owned());
            }
        });
        errors.push(result.unwrap_err().to_string());
    }
    (scratch, errors, warnings.into_inner().unwrap())
}

#[test]
fn endless_output_fills_no_memory() {
    // 400 MB on either output, then the builder's own words.
    let script = "cat > /dev/null\nyes | head -c 400000000 >&2\nyes | head -c 400000000\n\
                  echo '{\"error\": \"the reason\"}' >&2\nexit 1\n";
    let (_scratch, errors, _) = realise(script, &["flood"], &Confinement::default());
    assert!(errors[0].ends_with("the reason"), "{errors:?}");
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")).unwrap();
    let peak: u64 = peak.parse().unwrap();
    assert!(peak < 200_000, "{peak} kB");
}

#[test]
fn a_builder_that_says_nothing_is_quoted_at_its_end() {
    let script = "cat > /dev/null\nseq 1 100000 >&2\nexit 3\n";
    let (_scratch, errors, _) = realise(script, &["quiet"], &Confinement::default());
    assert!(errors[0].contains("exit status: 3") && errors[0].ends_with("\n99999\n100000"), "{errors:?}");
    assert!(errors[0].lines().count() < 25, "{errors:?}");
}

const DESCRIBED: &str =
    "[ \"$1\" = probe ] && { echo EPERM: refused >&2; exit $PROBED; }\ncat > $DIR/$(date +%N).json\nexit 70\n";

fn described(scratch: &TempDir) -> Vec<Value> {
    let files = fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|ext| ext == "json"))
        .map(|path| serde_json::from_slice(&fs::read(path).unwrap()).unwrap())
        .collect()
}

#[test]
fn a_weak_sandbox_must_be_allowed_and_is_named_once() {
    let timeout = Duration::from_secs(7);
    for (allowed, probed, weak) in [(true, 70, true), (true, 0, false), (false, 70, false)] {
        let script = DESCRIBED.replace("$PROBED", &probed.to_string());
        let (scratch, _, warnings) = realise(&script, &["one", "two"], &Confinement::new(allowed, timeout));
        let wanted: &[&str] = if weak { &["EPERM: refused"] } else { &[] };
        assert_eq!(warnings, wanted);
        let described = described(&scratch);
        assert_eq!(described.len(), 2);
        assert!(described.iter().all(|sandbox| sandbox["weak"] == weak && sandbox["timeout"] == 7000), "{described:?}");
    }
}
