//! A host that is ours: its generation, boot generator, agent, units, store, adopted files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use cairn_closure::{Manifest, UnitName};
use cairn_formats::StorePath;
use cairn_protocol::{Examination, Finding};
use cairn_store::Store;

use super::{fault, told};
use crate::error::Result;
use crate::paths::Paths;
use crate::{adopted, condition, manifests, process};

/// Of each kind, so that a ruined store does not fill the screen.
const MOST: usize = 20;

pub fn findings(paths: &Paths, store: Option<&Store>, request: &Examination) -> Result<Vec<Finding>> {
    let busy = super::busy()?.is_some();
    let mut found = Vec::new();
    match manifests::committed(paths).and_then(|live| match live {
        Some((number, closure)) => manifests::of(paths, &closure).map(|manifest| Some((number, closure, manifest))),
        None => Ok(None),
    }) {
        Ok(None) => found.push(Finding::good("generation", "none yet")),
        Ok(Some((number, closure, manifest))) => {
            found.push(generation(store, number, &closure)?);
            found.push(generator(paths));
            found.push(agent(&manifest, &request.agent));
            found.extend(drift(paths, &closure, &manifest, busy)?);
        }
        Err(error) => found.push(Finding::wrong(
            "generation",
            error.to_string(),
            "the next boot would start nothing",
            "`deploy generations HOST`, then `deploy rollback HOST --to N` to one that is whole, or `deploy switch HOST`",
        )),
    }
    found.extend(failed());
    if let (Some(store), false) = (store, busy) {
        found.extend(verified(store, request.verify));
    }
    found.extend(adopted_files(paths)?);
    Ok(found)
}

fn generation(store: Option<&Store>, number: u64, closure: &StorePath) -> Result<Finding> {
    if store.map_or(Ok(false), |store| store.is_valid(closure))? {
        return Ok(Finding::good("generation", number.to_string()));
    }
    Ok(Finding::wrong(
        "generation",
        format!("generation {number} leads to {}, which is not valid in the store", closure.absolute()),
        "the next collection may take it away",
        "`deploy switch HOST` brings it again",
    ))
}

fn generator(paths: &Paths) -> Finding {
    let link = paths.generator_link();
    let target = super::generator_target();
    let runs = |path: std::path::PathBuf| {
        fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    let what = match fs::read_link(&link) {
        Ok(to) if to == target && runs(paths.at(&target.to_string_lossy())) => {
            return Finding::good("boot generator", "in its place");
        }
        Ok(to) if to == target => format!("{} leads to no program", told(paths, &link)),
        Ok(to) => format!("{} leads to {} and not to {}", told(paths, &link), to.display(), target.display()),
        Err(_) => format!("{} is missing", told(paths, &link)),
    };
    Finding::wrong(
        "boot generator",
        what,
        "without it nothing of ours starts at the next boot",
        "`deploy bootstrap HOST` puts it back",
    )
}

fn agent(manifest: &Manifest, brought: &StorePath) -> Finding {
    let live = manifest.agent.0.base();
    if manifest.agent.0 == *brought {
        return Finding::good("agent", live);
    }
    Finding::note(
        "agent",
        format!("the generation's is {live}, and this program brings {}", brought.base()),
        "what happens at a boot is the older one's work",
        "the next `deploy switch HOST` brings this one",
    )
}

fn drift(paths: &Paths, closure: &StorePath, manifest: &Manifest, busy: bool) -> Result<Vec<Finding>> {
    let condition = condition::of(paths, Some((closure, manifest)), busy)?;
    let mut found: Vec<Finding> = (condition.drift.into_iter())
        .map(|drift| {
            let why = "the host is otherwise than its generation says";
            let next = "undo it on the host (`systemctl cat UNIT` shows the files), or `deploy restart SERVICE HOST`";
            Finding::wrong(drift.unit, drift.problem, why, next)
        })
        .collect();
    if found.is_empty() {
        found.push(Finding::good("units", "as the generation says"));
    }
    found.extend(condition.reboot.map(|why| {
        Finding::note(
            "reboot",
            why,
            "fixes of the kernel and of libraries wait for it",
            "reboot the host when it suits",
        )
    }));
    Ok(found)
}

/// Units of the host; ours are told as drift.
fn failed() -> Vec<Finding> {
    let arguments = ["--no-ask-password", "--no-legend", "--plain", "--full", "--state=failed", "list-units"];
    let output = match process::run("systemctl", &arguments) {
        Ok(output) => output,
        Err(error) => return vec![fault("failed units", &error)],
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let units = text.lines().filter_map(|line| line.split_whitespace().next());
    let others: Vec<&str> = units.filter(|unit| UnitName::parse(unit).is_err()).collect();
    match others.as_slice() {
        [] => vec![Finding::good("failed units", "none")],
        units => {
            let next = format!("`systemctl status {}` on the host", units.join(" "));
            vec![Finding::note("failed units", units.join(", "), "something of the host itself does not work", next)]
        }
    }
}

fn verified(store: &Store, contents: bool) -> Vec<Finding> {
    let how = if contents { "every file has its hash" } else { "every valid path is there" };
    let faults = match store.verify(contents) {
        Ok(faults) => faults,
        Err(error) => return vec![fault("store", &error.into())],
    };
    if faults.is_empty() {
        return vec![Finding::good("store", how)];
    }
    let more = faults.len().saturating_sub(MOST);
    let mut found: Vec<Finding> = (faults.iter().take(MOST))
        .map(|fault| {
            let why = "services run from the store";
            Finding::wrong(
                "store",
                fault.to_string(),
                why,
                "`deploy gc HOST` takes away what is not registered; `deploy copy HOST` brings the rest again",
            )
        })
        .collect();
    if more > 0 {
        found.push(Finding::note(
            "store",
            format!("{more} more faults"),
            "only the first are told",
            "see to the first ones",
        ));
    }
    found
}

fn adopted_files(paths: &Paths) -> Result<Vec<Finding>> {
    let files = adopted::files(paths)?;
    let damaged: Vec<&str> =
        files.iter().filter(|file| !adopted::is_whole(paths, file)).map(|file| file.path.as_str()).collect();
    if !damaged.is_empty() {
        let what = format!("the copies of {} are not what they were", damaged.join(", "));
        let next = format!("put them back from a backup of the host: {}", told(paths, &paths.adopted()));
        return Ok(vec![Finding::wrong("adopted files", what, "they could not be given back", next)]);
    }
    let list = |count: usize| Finding::good("adopted files", format!("{count}, whole"));
    Ok(if files.is_empty() { Vec::new() } else { vec![list(files.len())] })
}
