//! `deploy switch`: builds what hosts should run and makes it live on them.

use anyhow::{Result, bail};
use cairn_fleet::{FleetError, HostReport, Plan, Terms, exit_code};
use cairn_formats::StorePath;
use cairn_recipe::project::Host;
use serde::Serialize;

use crate::arguments::SwitchOptions;
use crate::context::Context;
use crate::display;
use crate::secrets::Secrets;

#[derive(Serialize)]
pub struct Report {
    pub hosts: Vec<HostReport>,
}

pub fn run(context: &Context, options: &SwitchOptions) -> Result<u8> {
    let project = context.project()?;
    let hosts = context.hosts(&project, &options.hosts)?;
    let store = context.store()?;
    let closures =
        hosts.iter().map(|host| Ok(context.build_host(&project, &store, host)?.path)).collect::<Result<Vec<_>>>()?;

    let secrets = Secrets::of(&project)?;
    let seal = |host: &Host, key: Option<&str>, wanted: &[_]| {
        secrets.seal(host, key, wanted).map_err(|error| format!("{error:#}"))
    };
    let fleet = context.fleet(&store)?;
    let progress = context.display.hosts();
    let unanswered = std::sync::atomic::AtomicBool::new(false);
    let agree = |plan: &Plan| {
        context.display.note(display::plan(plan).trim_end());
        if options.dry_run || options.yes {
            return options.yes && !options.dry_run;
        }
        context.display.ask(&format!("Switch {}?", plan.host)).unwrap_or_else(|| {
            unanswered.store(true, std::sync::atomic::Ordering::Relaxed);
            false
        })
    };
    let switch = |host: &Host, closure: &StorePath| {
        let listener = |event: cairn_fleet::Event| progress.on(&event);
        let terms = Terms {
            reason: options.message.as_deref(),
            seal: Some(&seal),
            confirm_within: options.confirm_within,
            listener: &listener,
        };
        fleet.switch(host, closure, &agree, terms)
    };
    // Hosts with tasks go first: what a task brings about, such as tables, the others rely on.
    // Questions are asked one after another; without questions all others go at once.
    let pairs = || hosts.iter().cloned().zip(closures.iter().cloned());
    let (first, then): (Vec<_>, Vec<_>) = pairs().partition(|(host, _)| host.definition.has_tasks());
    let mut reports = in_turn(first, !options.yes, &switch);
    match reports.iter().find(|report| !report.outcome.is_success()) {
        Some(failed) if !options.dry_run => {
            let because = failed.name.clone();
            reports.extend(then.iter().map(|(host, _)| HostReport::skipped(&host.name, &because)));
        }
        _ => reports.extend(in_turn(then, !options.yes, &switch)),
    }
    reports.sort_by_key(|report| hosts.iter().position(|host| host.name == report.name));
    if unanswered.into_inner() {
        bail!(
            "nothing was switched: there is no terminal to ask on\n  help: add --yes to switch without asking, or --dry-run to see the plan"
        );
    }
    if options.dry_run && reports.iter().all(|r| matches!(r.failure, None | Some(FleetError::Refused { .. }))) {
        return Ok(0);
    }
    finish(context, reports)
}

/// Prints what became of each host; gives the exit code.
pub fn finish(context: &Context, reports: Vec<HostReport>) -> Result<u8> {
    for report in &reports {
        if let Some(error) = &report.failure {
            eprintln!("error: {error}");
            if let Some(problem) = error.problem() {
                eprint!("{}", display::problem(problem));
            }
        }
    }
    let code = exit_code(&reports);
    let report = Report { hosts: reports };
    context.display.result(&report, || text(&report))?;
    Ok(code)
}

fn text(report: &Report) -> String {
    let mut lines = String::new();
    for host in &report.hosts {
        let generation = host.generation.map_or("no generation".to_owned(), |g| format!("generation {g}"));
        let outcome = serde_json::to_value(host.outcome).ok();
        let outcome = outcome.as_ref().and_then(|v| v.as_str()).unwrap_or_default();
        let sent =
            if host.bytes_sent > 0 { format!(", {} sent", display::size(host.bytes_sent)) } else { String::new() };
        lines.push_str(&format!("{}: {outcome}, {generation}{sent}, {:.1} s\n", host.name, host.seconds));
    }
    lines
}

fn in_turn(
    pairs: Vec<(Host, StorePath)>,
    one_by_one: bool,
    switch: &(impl Fn(&Host, &StorePath) -> HostReport + Sync),
) -> Vec<HostReport> {
    let (hosts, closures): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    in_parallel(&hosts, &closures, one_by_one, switch)
}

/// Works on each host with its companion value, at once or in order; gives reports in order.
pub fn in_parallel<T: Sync>(
    hosts: &[Host],
    companions: &[T],
    one_by_one: bool,
    work: impl Fn(&Host, &T) -> HostReport + Sync,
) -> Vec<HostReport> {
    let pairs = hosts.iter().zip(companions);
    if one_by_one {
        return pairs.map(|(host, companion)| work(host, companion)).collect();
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = pairs.map(|(host, companion)| scope.spawn(|| work(host, companion))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}
