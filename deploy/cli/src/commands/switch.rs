//! `deploy switch`: builds what hosts should run and makes it live on them.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use cairn_fleet::{FleetError, HostReport, NotHeld, Plan, Plans, Terms, exit_code};
use cairn_formats::StorePath;
use cairn_protocol::Source;
use cairn_recipe::Project;
use cairn_recipe::project::Host;
use cairn_store::Store;
use serde::Serialize;

use crate::arguments::SwitchOptions;
use crate::context::Context;
use crate::display;
use crate::secrets::Secrets;
use crate::source;

#[derive(Serialize)]
pub struct Report {
    pub hosts: Vec<HostReport>,
}

pub fn run(context: &Context, options: &SwitchOptions) -> Result<u8> {
    let project = context.project()?;
    let store = context.store()?;
    let Wanted { hosts, closures, source, expected } = wanted(context, options, &project, &store)?;

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
    let listener = |event: cairn_fleet::Event| progress.on(&event);
    let terms = Terms {
        reason: options.message.as_deref(),
        source: source.as_ref(),
        expected: expected.as_ref(),
        seal: Some(&seal),
        confirm_within: options.confirm_within,
        listener: &listener,
    };
    let switch = |host: &Host, closure: &StorePath| fleet.switch(host, closure, &agree, terms);
    let waves = cairn_fleet::waves(&hosts)?;
    let agents =
        closures.iter().map(|closure| cairn_fleet::agent_of(&store, closure)).collect::<Result<Vec<_>, _>>()?;
    let held = if options.dry_run { Ok(None) } else { fleet.hold(&hosts, &agents, "switch", terms).map(Some) };
    let _held = match held {
        Ok(held) => held,
        Err(error) => return finish(context, not_held(&hosts, *error)),
    };
    let mut reports: Vec<HostReport> = Vec::new();
    for wave in waves {
        let failed = reports.iter().find(|report| !report.outcome.is_success()).map(|failed| failed.name.clone());
        match failed {
            Some(because) if !options.dry_run => {
                reports.extend(wave.iter().map(|&at| HostReport::skipped(&hosts[at].name, &because)));
            }
            // Questions are asked one after another; without questions a wave goes at once.
            _ => reports.extend(in_parallel(&wave, !options.yes, |at| switch(&hosts[at], &closures[at]))),
        }
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

/// What is to be made live, and where.
struct Wanted {
    hosts: Vec<Host>,
    closures: Vec<StorePath>,
    source: Option<Source>,
    /// Of a plan: the generations that it was made against.
    expected: Option<BTreeMap<String, Option<u64>>>,
}

/// Built now, or as a plan has it.
fn wanted(context: &Context, options: &SwitchOptions, project: &Project, store: &Store) -> Result<Wanted> {
    let Some(file) = &options.plan else {
        let hosts = context.hosts(project, &options.hosts)?;
        let source = source::of(&project.root, &context.display);
        let build = |host| Ok(context.build_host(project, store, host)?.path);
        let closures = hosts.iter().map(build).collect::<Result<Vec<_>>>()?;
        return Ok(Wanted { hosts, closures, source, expected: None });
    };
    let plans = Plans::read(file)?;
    for kept in &plans.hosts {
        if !store.is_valid(&kept.closure)? {
            bail!(
                "{}: the plan's closure {} is gone from the store {}: nothing was changed\n  help: make the plan again with `deploy plan {} --out FILE`",
                kept.host,
                kept.closure.absolute(),
                store.root().display(),
                kept.host
            );
        }
    }
    let hosts = plans.hosts.iter().map(|kept| Ok(project.host(&kept.host)?)).collect::<Result<Vec<_>>>()?;
    let closures = plans.hosts.iter().map(|kept| kept.closure.clone()).collect();
    Ok(Wanted { hosts, closures, expected: Some(plans.expected()), source: plans.source })
}

/// When a fleet could not be held: nothing was done on any host.
pub fn not_held(hosts: &[Host], not_held: NotHeld) -> Vec<HostReport> {
    let NotHeld { host, error } = not_held;
    let locked = error.is_locked();
    let mut first = Some(error);
    let mut report = |name: &String| match first.take_if(|_| *name == host) {
        Some(error) => HostReport::failed(name, error),
        None if locked => HostReport::failed(name, FleetError::Elsewhere { host: name.clone(), at: host.clone() }),
        None => HostReport::skipped(name, &host),
    };
    hosts.iter().map(|host| report(&host.name)).collect()
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

/// Works on each of these hosts (places in a list), at once or in order; gives reports in order.
pub fn in_parallel(hosts: &[usize], one_by_one: bool, work: impl Fn(usize) -> HostReport + Sync) -> Vec<HostReport> {
    if one_by_one {
        return hosts.iter().map(|host| work(*host)).collect();
    }
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = hosts.iter().map(|host| scope.spawn(move || work(*host))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}
