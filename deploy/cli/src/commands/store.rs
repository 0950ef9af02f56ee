//! `deploy store`: looking after the store.

use anyhow::Result;
use serde::Serialize;

use crate::arguments::StoreAction;
use crate::context::Context;
use crate::display::size;

#[derive(Serialize)]
struct Verified {
    faults: Vec<String>,
}

#[derive(Serialize)]
struct Collected {
    paths: usize,
    bytes: u64,
    dry_run: bool,
    /// Leftovers that could not be removed, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<String>,
}

#[derive(Serialize)]
struct Place {
    root: String,
}

pub fn run(context: &Context, action: &StoreAction) -> Result<u8> {
    let store = context.store()?;
    match action {
        StoreAction::Verify { check_contents } => {
            let faults: Vec<String> = store.verify(*check_contents)?.iter().map(ToString::to_string).collect();
            let code = u8::from(!faults.is_empty());
            let report = Verified { faults };
            context.display.result(&report, || match report.faults.as_slice() {
                [] => "the store is whole".to_owned(),
                faults => faults.join("\n"),
            })?;
            Ok(code)
        }
        StoreAction::Gc { dry_run } => {
            let report = store.collect_garbage(*dry_run)?;
            report.problems.iter().for_each(|problem| context.display.warn(problem));
            let collected = Collected {
                paths: report.deleted.len(),
                bytes: report.bytes,
                dry_run: *dry_run,
                problems: report.problems,
            };
            context.display.result(&collected, || {
                let verb = if *dry_run { "would delete" } else { "deleted" };
                format!("{verb} {} store paths, {}", collected.paths, size(collected.bytes))
            })?;
            Ok(0)
        }
        StoreAction::Path => {
            let place = Place { root: store.root().display().to_string() };
            context.display.result(&place, || place.root.clone())?;
            Ok(0)
        }
    }
}
