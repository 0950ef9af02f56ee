//! Looks at a host before it becomes ours (`deploy bootstrap`), or at any time (`deploy doctor`):
//! each finding says what, why it matters, and the next step. Changes nothing.

mod leftovers;
mod ours;
mod place;
mod pull;
mod system;

use std::path::Path;

use cairn_closure::layout;
use cairn_protocol::{ActivationId, Examination, Examined, Finding};
use cairn_store::Store;

use crate::activation::{self, record::Record};
use crate::error::{AgentError, Result};
use crate::paths::Paths;
use crate::{host_record, install, manifests, systemd};

/// `store` is the host's, if it has one.
pub fn run(paths: &Paths, store: Option<&Store>, request: &Examination) -> Result<Examined> {
    let record = host_record::load(paths)?;
    let committed = manifests::committed(paths);
    let live =
        committed.as_ref().ok().and_then(Option::as_ref).and_then(|(_, closure)| manifests::of(paths, closure).ok());
    let mut findings = system::findings(paths, request.now)?;
    findings.extend(place::findings(paths, request, live.as_ref(), record.is_some())?);
    if record.is_some() {
        findings.extend(ours::findings(paths, store, request)?);
        findings.extend(leftovers::findings(paths, live.as_ref())?);
        findings.extend(pull::findings(paths, request.pull_warn_after));
    }
    Ok(Examined {
        ours: record.is_some(),
        generation: committed.ok().flatten().map(|(number, _)| number),
        findings,
        steps: install::steps(paths, store, &request.agent)?,
    })
}

/// The activation that somebody works at; what is left of one that nobody works at is a finding.
fn busy() -> Result<Option<ActivationId>> {
    match activation::under_way() {
        Some(id) if systemd::is_live(&Record::unit(&id))? => Ok(Some(id)),
        _ => Ok(None),
    }
}

/// Of something that could not be looked at.
fn fault(check: &str, error: &AgentError) -> Finding {
    Finding::wrong(
        check,
        error.to_string(),
        "what cannot be looked at cannot be relied on",
        error.advice().unwrap_or("look at it on the host"),
    )
}

/// As paths are told.
fn told(paths: &Paths, path: &Path) -> String {
    let below = path.strip_prefix(paths.root()).unwrap_or(path);
    Path::new("/").join(below).display().to_string()
}

/// Where the generator's link leads.
pub(crate) fn generator_target() -> std::path::PathBuf {
    Path::new(layout::PROFILE).join("agent")
}
