//! `deploy switch`: builds what hosts should run and makes it live on them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};
use cairn_closure::Secret;
use cairn_fleet::{Fleet, FleetError, HostReport, NotHeld, OnHosts, Plan, Plans, Run, Terms, exit_code};
use cairn_formats::StorePath;
use cairn_notify::Announcer;
use cairn_protocol::{SealedSecret, Source};
use cairn_recipe::Project;
use cairn_recipe::project::Host;
use cairn_secrets::{SecretName, Way};
use cairn_store::Store;
use serde::Serialize;

use crate::arguments::SwitchOptions;
use crate::context::Context;
use crate::host_keys::HostKeys;
use crate::secrets::{self, Secrets};
use crate::{display, interrupt, news, source, terminal};

#[derive(Serialize)]
pub struct Report {
    pub hosts: Vec<HostReport>,
}

pub fn run(context: &Context, options: &SwitchOptions) -> Result<u8> {
    let project = context.project()?;
    let store = context.store()?;
    let fleet = context.fleet_apart(&store)?;
    let Wanted { hosts, closures, source, expected } = wanted(context, options, &project, &fleet)?;
    let mut said = options.rollout.entry(&options.reach);
    if !options.yes {
        // Questions are asked one after another.
        said.parallel = 1.try_into().ok();
    }
    let run = Run::new(&hosts, &said, options.reach.skip_unreachable)?;
    let outline = outline(&run);
    let run = match options.dry_run {
        // A plan is shown whatever the other hosts say.
        true => Run::of_all(&hosts, cairn_fleet::waves(&hosts)?, Some(1)),
        false => run,
    };
    let agents =
        closures.iter().map(|closure| cairn_fleet::agent_of(&store, closure)).collect::<Result<Vec<_>, _>>()?;

    let news = match options.dry_run {
        true => news::nobody(),
        false => {
            let (source, message, events) = (source.as_ref(), options.message.as_deref(), options.events.as_deref());
            let run = news::Run { command: "switch", hosts: &hosts, source, message, events };
            news::announcer(context, &project, &run)?
        }
    };
    let secrets = Secrets::of(&project)?;
    let host_keys = HostKeys::new(&project, Way::Switch, &hosts, &options.accept_recipient)?;
    let progress = context.display.hosts();
    let seal = |host: &Host, key: Option<&str>, wanted: &[_]| {
        seal(&secrets, &host_keys, host, key, wanted, &|note| progress.aside(|| context.display.note(note)))
            .map_err(|error| format!("{error:#}"))
    };
    let unanswered = AtomicBool::new(false);
    let ask = |plan: &Plan| {
        context.display.note(display::plan(plan).trim_end());
        if let Some(unsent) = hosts.iter().find_map(|host| host_keys.unsent(host, &wanted_by(&store, host, plan)?)) {
            context.display.warn(&unsent);
        }
        if options.dry_run || options.yes {
            return options.yes && !options.dry_run;
        }
        context.display.ask(&format!("Switch {}?", plan.host)).unwrap_or_else(|| {
            unanswered.store(true, Ordering::Relaxed);
            false
        })
    };
    let agree = |plan: &Plan| {
        let agreed = progress.aside(|| ask(plan));
        if agreed {
            news.agreed();
            for (host, names) in hosts.iter().filter_map(|host| Some((host, wanted_by(&store, host, plan)?))) {
                if let Err(error) = host_keys.agreed(host, &names) {
                    // They are asked about again.
                    progress.aside(|| context.display.warn(&format!("{error:#}")));
                }
            }
        }
        agreed
    };
    let listener = |event: cairn_fleet::Event| {
        news.on(&event);
        progress.on(&event);
    };
    let terms = Terms {
        reason: options.message.as_deref(),
        source: source.as_ref(),
        expected: expected.as_ref(),
        seal: Some(&seal),
        confirm_within: options.confirm_within,
        listener: &listener,
    };
    tell_of_pulls(context, &hosts);
    interrupt::listen(news::interrupted(&news, progress.speaker()))?;
    news.started();
    if options.yes {
        news.agreed();
    }
    let held = if options.dry_run { Ok(None) } else { fleet.hold(&hosts, &agents, "switch", terms).map(Some) };
    let _held = match held {
        Ok(held) => held,
        Err(error) => return conclude(context, &news, not_held(&hosts, *error), false),
    };
    if let Some(outline) = outline {
        context.display.note(&outline);
    }
    let begin = |at: usize| fleet.switch(&hosts[at], &closures[at], &agree, terms);
    let actions =
        OnHosts { fleet: &fleet, hosts: &hosts, agents: &agents, terms, begin: &begin, interrupted: &interrupt::came };
    let reports = run.carry_out(&actions);
    progress.clear();
    if unanswered.into_inner() {
        news.ended(&reports, 1);
        news::finish(&context.display, &news);
        bail!(
            "nothing was switched: there is no terminal to ask on\n  help: add --yes to switch without asking, or --dry-run to see the plan"
        );
    }
    if options.dry_run && reports.iter().all(|r| matches!(r.failure, None | Some(FleetError::Declined { .. }))) {
        return Ok(0);
    }
    conclude(context, &news, reports, options.reach.skip_unreachable)
}

/// The secrets of a plan, if it is the host's.
fn wanted_by(store: &Store, host: &Host, plan: &Plan) -> Option<Vec<SecretName>> {
    // If its manifest cannot be read the switch fails, and says why.
    let manifest = (host.name == plan.host).then(|| cairn_fleet::manifest_of(store, &plan.closure).ok())??;
    let wanted: Vec<Secret> = manifest.secrets().into_iter().cloned().collect();
    secrets::names(&wanted).ok()
}

/// Seals to the key that the host answers with, if that is the one of the last time, or is accepted.
fn seal(
    secrets: &Secrets,
    host_keys: &HostKeys,
    host: &Host,
    key: Option<&str>,
    wanted: &[Secret],
    note: &dyn Fn(&str),
) -> Result<Vec<SealedSecret>> {
    let names = secrets::names(wanted)?;
    if let Some(news) = key.map(|key| host_keys.check(host, key, &names)).transpose()?.flatten() {
        note(&news);
    }
    let sealed = secrets.seal(host, key, wanted)?;
    key.map_or(Ok(()), |key| host_keys.used(host, key, &names, secrets.vault_id()))?;
    Ok(sealed)
}

/// Of a host that pulls, the pointer has the last word.
pub fn tell_of_pulls(context: &Context, hosts: &[Host]) {
    for (name, pull) in hosts.iter().filter_map(|host| Some((&host.name, host.definition.pull.as_ref()?))) {
        context.display.note(&format!(
            "{name} pulls from {}: at its next look it goes to what the pointer there names; \
             `deploy publish {name}` moves the pointer",
            pull.cache
        ));
    }
}

/// The order in which hosts go, if there is one.
fn outline(run: &Run) -> Option<String> {
    let portions = run.outline();
    if portions.len() < 2 {
        return None;
    }
    let last = portions.len() - 1;
    let line = |(at, (hosts, wait)): (usize, &(Vec<&str>, std::time::Duration))| {
        let watched = match wait.is_zero() || at == last {
            true => String::new(),
            false => format!(", watched for {} s", wait.as_secs_f64().ceil()),
        };
        format!("\n  {}. {}{watched}", at + 1, hosts.join(", "))
    };
    Some(format!("in this order:{}", portions.iter().enumerate().map(line).collect::<String>()))
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
fn wanted(context: &Context, options: &SwitchOptions, project: &Project, fleet: &Fleet) -> Result<Wanted> {
    let store = fleet.store;
    let Some(file) = &options.plan else {
        let hosts = context.hosts(project, &options.hosts)?;
        // While somebody is asked about one host, the others are not to be kept waiting.
        let soon = if options.yes { hosts.len() } else { 1 };
        context.dial(project, fleet, hosts.iter().take(soon))?;
        let source = source::of(&project.root, &context.display);
        let closures = context.build_hosts(project, store, &hosts)?;
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

/// Prints what became of each host, and tells those who want to know; gives the exit code.
pub fn conclude(context: &Context, news: &Announcer, reports: Vec<HostReport>, skip_unreachable: bool) -> Result<u8> {
    news.ended(&reports, exit_code(&reports, skip_unreachable));
    let code = finish(context, reports, skip_unreachable);
    news::finish(&context.display, news);
    code
}

/// Prints what became of each host; gives the exit code.
pub fn finish(context: &Context, reports: Vec<HostReport>, skip_unreachable: bool) -> Result<u8> {
    for report in &reports {
        if let Some(error) = &report.failure {
            display::failure(error);
            if let Some(problem) = error.problem() {
                terminal::say(display::problem(problem).trim_end());
            }
        }
    }
    let code = exit_code(&reports, skip_unreachable);
    let report = Report { hosts: reports };
    context.display.result(&report, || display::summary(&report.hosts))?;
    Ok(code)
}
