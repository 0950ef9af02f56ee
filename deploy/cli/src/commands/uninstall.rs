//! `deploy uninstall`: gives a host back. The state of services goes only if that is asked for.

use anyhow::{Result, bail};
use cairn_fleet::FleetError;
use cairn_formats::printable;
use cairn_protocol::Uninstalled;
use serde::Serialize;

use crate::arguments::UninstallOptions;
use crate::context::Context;
use crate::display;

/// Somebody else holds the host.
const LOCKED: u8 = 5;

#[derive(Serialize)]
struct Report {
    host: String,
    #[serde(flatten)]
    parts: Uninstalled,
    /// Whether it was done.
    done: bool,
}

pub fn run(context: &Context, options: &UninstallOptions) -> Result<u8> {
    let project = context.project()?;
    let host = project.host(&options.host)?;
    let store = context.store()?;
    let agent = context.agent(&project, &store, host.definition.platform)?;
    let fleet = context.fleet(&store)?;
    let reason = options.message.as_deref();
    let asked = |dry_run: bool, delete_data: bool| fleet.uninstall(&host, &agent, dry_run, delete_data, reason);
    let mut report = Report { host: host.name.clone(), parts: asked(true, options.delete_data)?, done: false };
    if report.parts.removed.is_empty() {
        context
            .display
            .result(&report, || format!("{}: nothing of ours is there\n{}", host.name, kept(&report.parts)))?;
        return Ok(0);
    }
    context.display.note(&text(&report, "would be removed", "would be given back"));
    let mut delete_data = options.delete_data;
    if !options.yes {
        match context.display.ask("Give the host back?") {
            Some(true) => {}
            Some(false) => return Ok(1),
            None => bail!(
                "there is no terminal to ask on; nothing was changed\n  help: `--yes` does it without asking; the state of services goes only with --delete-data"
            ),
        }
        let has_data = report.parts.kept.iter().any(|kept| kept.starts_with(cairn_closure::layout::STATE_DIR));
        if has_data && !options.keep_data {
            delete_data =
                context.display.ask("Delete the state of services as well? It cannot be had back.") == Some(true);
        }
    }
    report.parts = match asked(false, delete_data) {
        Ok(parts) => parts,
        Err(error) => return failed(error),
    };
    report.done = true;
    context.display.result(&report, || text(&report, "removed", "given back"))?;
    Ok(0)
}

fn failed(error: FleetError) -> Result<u8> {
    if error.is_locked() {
        display::failure(&error);
        return Ok(LOCKED);
    }
    Err(error.into())
}

fn text(report: &Report, removed: &str, given_back: &str) -> String {
    let mut text = format!("{}: {removed}:\n", report.host);
    text.extend(
        report.parts.removed.iter().map(|part| format!("  - {} {}\n", part.kind.word(), printable::line(&part.name))),
    );
    if !report.parts.given_back.is_empty() {
        text.push_str(&format!("{given_back}:\n"));
        text.extend(report.parts.given_back.iter().map(|name| format!("  - {}\n", printable::line(name))));
    }
    text + &kept(&report.parts)
}

fn kept(parts: &Uninstalled) -> String {
    if parts.kept.is_empty() {
        return String::new();
    }
    let lines: String = parts.kept.iter().map(|kept| format!("  - {}\n", printable::line(kept))).collect();
    format!("stays:\n{lines}")
}
