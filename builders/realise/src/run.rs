//! One step: in the sandbox, into the store, into the cache.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

use cairn_formats::StorePath;
use cairn_recipe::step::{Request, Step, recipe_hash};
use cairn_recipe::{Graph, Node, NodeId, Work};
use cairn_sandbox::{BUILD_DIR, Input, Sandbox, last_bytes};
use cairn_store::BuildDir;

use crate::evaluate::{evaluate, resolve};
use crate::{Difference, Event, Listener, RealiseError, Realiser};

/// Resolved inputs by label.
type Inputs = BTreeMap<String, Vec<StorePath>>;

/// So much of the end of what a step writes is kept: its error, which comes last.
const KEPT_BYTES: usize = 64 << 10;

/// `computed` is called when the rest is for the disk.
pub fn step(
    realiser: &Realiser,
    node: &Node,
    step: &Step,
    inputs: &Inputs,
    listener: &Listener,
    computed: &dyn Fn(),
) -> Result<StorePath, RealiseError> {
    let key = recipe_hash(node.name.as_str(), step, inputs);
    // An input may have come out as it was before, and then this step has been run before, too.
    if let Some(path) = realiser.store.realisation(&key)? {
        return Ok(path);
    }
    let start = Instant::now();
    listener(Event::StepStarted { name: node.name.as_str() });
    let scratch = realiser.store.build_dir()?;
    let out = build(realiser, &scratch, node, step, inputs, listener)?;
    let candidates = inputs.values().flatten().cloned().collect();
    let output = realiser.store.read_output(&out, &node.name, &candidates)?;
    computed();
    let info = realiser.store.settle(output)?;
    realiser.store.set_realisation(&key, &info.path)?;
    listener(Event::StepFinished { name: node.name.as_str(), took: start.elapsed(), path: &info.path });
    Ok(info.path)
}

/// Runs the builder in a sandbox; gives the output's place in `scratch`.
fn build(
    realiser: &Realiser,
    scratch: &BuildDir,
    node: &Node,
    step: &Step,
    inputs: &Inputs,
    listener: &Listener,
) -> Result<std::path::PathBuf, RealiseError> {
    let (root, build) = (scratch.path().join("root"), scratch.path().join("build"));
    for dir in [&root, &build] {
        fs::create_dir(dir).map_err(|source| RealiseError::Scratch { path: dir.clone(), source })?;
    }
    let request = Request {
        step: step.clone(),
        inputs: (inputs.iter())
            .map(|(l, paths)| (l.clone(), paths.iter().map(StorePath::absolute).collect()))
            .collect(),
        out: format!("{BUILD_DIR}/out"),
    };
    let visible: std::collections::BTreeSet<&StorePath> = inputs.values().flatten().collect();
    let sandbox = Sandbox {
        root,
        build: build.clone(),
        inputs: (visible.into_iter())
            .map(|path| Input { from: realiser.store.physical(path), to: path.absolute().into() })
            .collect(),
        nested: matches!(step, Step::Verify(_)),
        weak: realiser.confinement.is_weak(&realiser.builder, listener)?,
        timeout: realiser.confinement.timeout(),
        arguments: vec!["run".to_owned()],
        stdin: serde_json::to_string(&request).expect("string keys only"),
    };
    let description = serde_json::to_string(&sandbox)
        .map_err(|e| RealiseError::Step { task: task(node), message: format!("the store's root is not UTF-8: {e}") })?;

    let fail = |source| RealiseError::Builder { program: realiser.builder.clone(), source };
    let child = Command::new(&realiser.builder)
        .arg("enter")
        .stdin(Stdio::piped())
        // An output is a file. Nothing is taken from here.
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(fail)?;
    let (status, said) = converse(child, &description).map_err(fail)?;
    let out = build.join("out");
    if status.success() && fs::symlink_metadata(&out).is_ok() {
        return Ok(out);
    }
    Err(RealiseError::Step { task: task(node), message: message(&status, &said) })
}

/// Sends the description and waits for the end, which the process that makes the sandbox brings
/// about when the step's time is over. Gives the end of what was said.
fn converse(mut child: Child, description: &str) -> io::Result<(ExitStatus, Vec<u8>)> {
    if let Some(mut stdin) = child.stdin.take() {
        // If the builder ends early, its own message says why.
        let _ = stdin.write_all(description.as_bytes());
    }
    let said = child.stderr.take().map_or(Ok(Vec::new()), |stderr| last_bytes(stderr, KEPT_BYTES));
    if said.is_err() {
        child.kill()?;
    }
    Ok((child.wait()?, said?))
}

/// What a node does, as an error begins with it.
pub fn task(node: &Node) -> String {
    node.task.clone().unwrap_or_else(|| format!("building {}", node.name))
}

/// The builder's own words: the last line it wrote is `{"error": …}`.
fn message(status: &ExitStatus, stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let said = text.lines().rev().find_map(|line| {
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        value.get("error")?.as_str().map(str::to_owned)
    });
    said.unwrap_or_else(|| {
        let lines: Vec<&str> = text.trim_end().lines().collect();
        let tail = lines[lines.len().saturating_sub(20)..].join("\n");
        format!("the builder ended with {status} and left no output\n{tail}").trim_end().to_owned()
    })
}

/// Runs each step behind `target` again and compares its output with the one in the store.
pub fn check(
    realiser: &Realiser,
    graph: &Graph,
    target: NodeId,
    listener: &Listener,
) -> Result<Vec<Difference>, RealiseError> {
    let evaluated = evaluate(realiser, graph)?;
    let mut reachable = std::collections::BTreeSet::from([target]);
    let mut open = vec![target];
    while let Some(id) = open.pop() {
        open.extend(graph.node(id).work.inputs().filter(|input| reachable.insert(*input)));
    }
    let mut differences = Vec::new();
    for id in reachable {
        let node = graph.node(id);
        let Work::Run { step, inputs } = &node.work else { continue };
        let (Some(inputs), Some(first)) = (resolve(inputs, |id| evaluated.path(id).cloned()), evaluated.path(id))
        else {
            continue;
        };
        let start = Instant::now();
        listener(Event::StepStarted { name: node.name.as_str() });
        let scratch = realiser.store.build_dir()?;
        let out = build(realiser, &scratch, node, step, &inputs, listener)?;
        let files = differing(&realiser.store.physical(first), &out)?;
        listener(Event::StepFinished { name: node.name.as_str(), took: start.elapsed(), path: first });
        if !files.is_empty() {
            differences.push(Difference { name: node.name.to_string(), first: first.clone(), files });
        }
    }
    Ok(differences)
}

/// Files that are not the same in two trees, in content or executable bit, as `a/b (reason)`.
fn differing(first: &Path, second: &Path) -> Result<Vec<String>, RealiseError> {
    if cairn_store::tree::hash(first)?.0 == cairn_store::tree::hash(second)?.0 {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    let mut open = vec![std::path::PathBuf::new()];
    while let Some(below) = open.pop() {
        let (a, b) = (first.join(&below), second.join(&below));
        let is_dir = |p: &Path| fs::symlink_metadata(p).is_ok_and(|m| m.is_dir());
        if is_dir(&a) && is_dir(&b) {
            let mut names = std::collections::BTreeSet::new();
            for dir in [&a, &b] {
                let fail = |source| RealiseError::Source { path: dir.clone(), source };
                for entry in fs::read_dir(dir).map_err(fail)? {
                    names.insert(entry.map_err(fail)?.file_name());
                }
            }
            open.extend(names.into_iter().rev().map(|name| below.join(name)));
            continue;
        }
        let exists = |p: &Path| fs::symlink_metadata(p).is_ok();
        let reason = match (exists(&a), exists(&b)) {
            (true, false) => "missing the second time",
            (false, true) => "only made the second time",
            _ if cairn_store::tree::hash(&a)?.0 != cairn_store::tree::hash(&b)?.0 => "other content",
            _ => continue,
        };
        files.push(format!("{} ({reason})", below.display()));
    }
    Ok(files)
}
