//! What an activation, a copy or a switch that was cut off may have left.

use std::path::{Path, PathBuf};

use cairn_closure::{InstanceId, Manifest, ServiceName};
use cairn_protocol::Finding;

use super::told;
use crate::activation::Lock;
use crate::error::Result;
use crate::paths::Paths;
use crate::{systemd, traces};

pub fn findings(paths: &Paths, live: Option<&Manifest>) -> Result<Vec<Finding>> {
    // Meanwhile the parts of a trial are no leftovers.
    if let Some(id) = super::busy()? {
        let why = "what it works with is not looked at meanwhile";
        return Ok(vec![Finding::note(
            "activation",
            format!("{id} is under way"),
            why,
            "wait for it, or `deploy unlock HOST`",
        )]);
    }
    let mut found = Vec::new();
    let mut tell = |check: &str, paths_found: Vec<PathBuf>, why: &str, next: &str| {
        found.extend(paths_found.iter().map(|path| Finding::wrong(check, told(paths, path), why, next)));
    };
    let switch = "the next `deploy switch HOST` that changes something takes it away; or remove it by hand";
    tell("leftover unit", traces::trial_links(paths), "it goes before the generation's own", switch);
    tell("leftover run directory", run_directories(paths, live), "no service of the generation uses it", switch);
    let mounts =
        traces::mounts(paths)?.into_iter().filter(|mount| live.is_none() || *mount != paths.secrets()).collect();
    tell("leftover mount", mounts, "nothing of the generation mounts there", "`umount` it on the host");
    tell(
        "leftover temporary file",
        traces::temporaries(paths, traces::ON_ITS_WAY),
        "a program that was killed left it",
        "`rm -r` it on the host",
    );
    let roots = traces::stale_roots(paths);
    tell(
        "leftover root",
        roots,
        "it keeps store paths that nobody needs",
        "`rm` it on the host, then `deploy gc HOST`",
    );
    if live.is_none() {
        found.extend(systemd::instances()?.iter().map(|unit| {
            Finding::wrong(
                "leftover unit",
                unit.to_string(),
                "the host has no generation",
                "`systemctl stop` it on the host",
            )
        }));
    }
    found.extend(traces::cut_off(paths).map(|record| {
        let what = format!("{} was cut off while {}", record.id, record.phase.step().text());
        Finding::wrong(
            "activation",
            what,
            "it is neither whole nor undone",
            "the next `deploy switch HOST` settles it first",
        )
    }));
    if let Some((holder, true)) = Lock::look(paths)? {
        let why = "nobody else can switch meanwhile";
        found.push(Finding::note("lock", holder.describe(), why, "`deploy unlock HOST` ends its holder"));
    }
    if found.is_empty() {
        found.push(Finding::good("leftovers", "none"));
    }
    Ok(found)
}

/// Folders of sockets of services and instances that the generation has not.
fn run_directories(paths: &Paths, live: Option<&Manifest>) -> Vec<PathBuf> {
    let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    let mut found = Vec::new();
    for folder in traces::entries(&paths.run_dir()) {
        let Ok(service) = ServiceName::parse(&name(&folder)) else { continue };
        let Some(kept) = live.and_then(|live| live.services.get(&service)) else {
            found.push(folder);
            continue;
        };
        let stray = |path: &PathBuf| {
            let name = name(path);
            InstanceId::parse(&name).is_ok() && name != kept.instance.as_str()
        };
        found.extend(traces::entries(&folder).into_iter().filter(stray));
    }
    found
}
