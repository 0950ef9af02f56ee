//! What each phase does, in terms of [`Host`]. The order within a phase is chosen so that a
//! process that dies in it leaves something that `undo` or `finish` can complete.

use cairn_closure::{Manifest, ServiceName, UnitName};

use super::host::{Ask, Host, Side};
use super::machine::Phase;
use super::plan::{Flip, Plan, Start};
use crate::error::{AgentError, Result};
use crate::health::Via;

pub fn perform<H: Host>(phase: Phase, plan: &Plan, host: &mut H) -> Result<()> {
    match phase {
        Phase::Preflight => host.preflight(plan),
        Phase::Stage => stage(plan, host),
        Phase::Start => start(plan, host),
        Phase::Flip => flip(plan, host),
        Phase::Recheck => recheck(plan, host),
        Phase::Confirm => host.await_confirmation(),
        Phase::Commit => host.commit(),
        Phase::Drain => finish(plan, host),
        Phase::Revert => undo(plan, host),
        Phase::Queued | Phase::Committed | Phase::Refused | Phase::Reverted | Phase::Broken => Ok(()),
    }
}

fn stage<H: Host>(plan: &Plan, host: &mut H) -> Result<()> {
    host.ensure_users(plan)?;
    host.place_secrets(plan)?;
    for (service, instance) in &plan.new_instances {
        if let Some(spec) = plan.new.services.get(service) {
            host.make_directory(service, instance, &spec.user)?;
            host.place_live(&plan.new, service)?;
        }
    }
    for (service, spec) in plan.new.services.iter().filter(|(_, spec)| spec.has_unix_sockets()) {
        host.take_slot(service, &spec.instance)?;
    }
    let new: Vec<UnitName> = [plan.started(), plan.new_sockets.clone(), plan.new_jobs.clone()].concat();
    host.link(Side::New, &new)?;
    // Once the profile is renamed, any reload (an upgrade of the host's packages does one) drops
    // what the old closure's units say, and they would be stopped with the wrong signal.
    let old: Vec<UnitName> = [plan.retired.clone(), plan.retired_sockets.clone(), plan.retired_jobs.clone()].concat();
    host.link(Side::Old, &old)?;
    host.link_system(plan, Side::New)?;
    host.reload()?;
    host.expect_loaded(&new)
}

type Part<H> = fn(&mut H, &Plan, Side) -> Result<()>;

/// The host itself, which services rely on: all of it, in an order in which each finds what it needs.
fn settle<H: Host>(plan: &Plan, side: Side, host: &mut H, faults: &mut Faults) -> Result<()> {
    let parts: [Part<H>; 5] = [H::ensure_people, H::set_kernel, H::place_etc, H::start_system, H::tell_system];
    for part in parts {
        match (part(host, plan, side), side) {
            (Err(fault), Side::New) => return Err(fault),
            (done, _) => faults.note(done),
        }
    }
    Ok(())
}

fn start<H: Host>(plan: &Plan, host: &mut H) -> Result<()> {
    settle(plan, Side::New, host, &mut Faults::default())?;
    // Which may lie on what is mounted now.
    host.ensure_state(plan)?;
    // They may hold the very addresses.
    host.replace_adopted()?;
    host.start(&plan.new_sockets)?;
    clear_the_place(plan, host)?;
    end_stale_readers(plan, host)?;
    // First, since what starts may need it: a database that lets somebody else in.
    for service in &plan.reloads {
        host.place_live(&plan.new, service)?;
        host.tell_to_reload(&plan.new, service)?;
    }
    for group in &plan.starts {
        for start in group.iter().filter(|start| start.takes_over()) {
            host.set_current(&start.service, None)?;
            host.stop(&start.stops)?;
        }
        let units: Vec<UnitName> = group.iter().flat_map(|s| s.units.iter().cloned()).collect();
        host.start(&units)?;
        let asks: Vec<Ask<'_>> = group
            .iter()
            .map(|start| Ask {
                side: Side::New,
                service: &start.service,
                units: Some(&start.units),
                via: Via::Instance,
            })
            .collect();
        host.expect_healthy(plan, &asks)?;
        // A service nobody can reach by now takes its traffic at once: those of the next group may
        // need it to be healthy.
        let fresh = |flip: &&Flip| {
            let mut own = group.iter().filter(|start| start.service == flip.service);
            own.any(|start| flip.from.is_none() || start.takes_over())
        };
        for flip in plan.flips.iter().filter(fresh) {
            host.set_current(&flip.service, flip.to.as_ref())?;
        }
        for start in group.iter().filter(|_| plan.with_tasks) {
            if let Some(task) = &start.task {
                host.run(&start.service, task)?;
            }
        }
    }
    Ok(())
}

/// Where only one process may be, what an earlier activation could not stop would be a second one.
fn clear_the_place<H: Host>(plan: &Plan, host: &mut H) -> Result<()> {
    let manifests = || plan.old.iter().chain([&plan.new]);
    let alone: Vec<&ServiceName> = plan.starts.iter().flatten().filter(|s| s.alone).map(|s| &s.service).collect();
    if alone.is_empty() {
        return Ok(());
    }
    for service in &alone {
        let Some(instance) = host.current(service) else { continue };
        let mut known = manifests().filter_map(|manifest| manifest.services.get(*service));
        if !known.any(|service| service.instance == instance) {
            host.set_current(service, None)?;
        }
    }
    let mut leftovers = host.strays(None)?;
    leftovers.retain(|unit| {
        let one_of_them = unit.service().is_some_and(|service| alone.contains(&&service));
        one_of_them && !manifests().any(|manifest| manifest.all_units().contains(unit))
    });
    host.stop(&leftovers)
}

/// An instance that an earlier activation could not stop, and that is wanted again, would go on with
/// the configuration that it has read then.
fn end_stale_readers<H: Host>(plan: &Plan, host: &mut H) -> Result<()> {
    for start in plan.starts.iter().flatten() {
        let Some(service) = plan.new.services.get(&start.service).filter(|service| service.reload.is_some()) else {
            continue;
        };
        let is_kept =
            plan.old.iter().any(|old| old.services.get(&start.service).is_some_and(|s| s.instance == service.instance));
        if !is_kept && host.current(&start.service).as_ref() == Some(&service.instance) {
            host.set_current(&start.service, None)?;
        }
        host.stop(&start.units)?;
    }
    Ok(())
}

fn flip<H: Host>(plan: &Plan, host: &mut H) -> Result<()> {
    for flip in plan.flips.iter().filter(|flip| flip.to.is_some()) {
        host.set_current(&flip.service, flip.to.as_ref())?;
    }
    Ok(())
}

/// Asks what changed, by the way that traffic takes, and the entry points, which may depend on
/// it. A service that is neither may be ill for reasons of its own; that must not keep its cure,
/// or anything else, from being deployed.
fn recheck<H: Host>(plan: &Plan, host: &mut H) -> Result<()> {
    let changed = plan.changed();
    let asks: Vec<Ask<'_>> = plan
        .new
        .services
        .iter()
        .filter(|(name, service)| changed.contains(name) || !service.sockets.is_empty())
        .map(|(name, _)| Ask { side: Side::New, service: name, units: None, via: Via::Current })
        .collect();
    host.expect_healthy(plan, &asks)?;
    if plan.checks.is_empty() {
        return Ok(());
    }
    host.let_checks_through(plan, true)?;
    let checked = plan.checks.iter().try_for_each(|(service, unit)| host.run(service, unit));
    checked.and(host.let_checks_through(plan, false))
}

/// After the commit: the old instances end, and what the generator emits takes over.
fn finish<H: Host>(plan: &Plan, host: &mut H) -> Result<()> {
    let mut faults = Faults::default();
    // An instance that still has traffic must not be stopped.
    for flip in &plan.flips {
        host.set_current(&flip.service, flip.to.as_ref())?;
    }
    // Sockets first: a connection would start the service again.
    faults.note(host.stop(&plan.retired_sockets));
    faults.note(host.drain(plan, Side::Old, &plan.retired));
    leave_only(Some(&plan.new), host, &mut faults);
    // As after a boot: when the host goes down, whoever answers stops before those that it asks.
    let milestones: Vec<UnitName> = plan.new.milestones().cloned().collect();
    faults.note(host.mark(&milestones));
    faults.note(host.give_back_adopted(Side::New));
    faults.first()
}

/// Before the commit: everything is as it was.
fn undo<H: Host>(plan: &Plan, host: &mut H) -> Result<()> {
    let mut faults = Faults::default();
    // The process may have died while they ran.
    faults.note(host.let_checks_through(plan, false));
    faults.note(host.link_system(plan, Side::Old));
    faults.note(host.reload());
    settle(plan, Side::Old, host, &mut faults)?;
    for (service, old) in plan.reloads.iter().flat_map(|service| plan.old.iter().map(move |old| (service, old))) {
        faults.note(host.place_live(old, service));
        faults.note(host.tell_to_reload(old, service));
    }
    // What took over gives back. Both cannot run, so what does not stop keeps its place for now.
    let mut held: Vec<&Start> = Vec::new();
    for start in plan.takeovers() {
        let new = plan.new.services.get(&start.service).map(|service| &service.instance);
        if host.current(&start.service).as_ref() == new {
            host.set_current(&start.service, None)?;
        }
        if give_back(plan, start, host).is_err() {
            held.push(start);
        }
    }
    // The other old instances were not stopped, but one may have ended by itself meanwhile.
    let took_over = |service: &ServiceName| plan.takeovers().any(|start| start.service == *service);
    let others: Vec<UnitName> =
        plan.retired.iter().filter(|unit| !unit.service().is_some_and(|s| took_over(&s))).cloned().collect();
    faults.note(host.start(&plan.retired_sockets));
    faults.note(host.start(&others));
    // An instance that still has traffic must not be stopped.
    for flip in plan.flips.iter().filter(|flip| !took_over(&flip.service)) {
        host.set_current(&flip.service, flip.from.as_ref())?;
    }
    faults.note(host.stop(&plan.new_sockets));
    faults.note(host.drain(plan, Side::New, &plan.started()));
    leave_only(plan.old.as_ref(), host, &mut faults);
    faults.note(host.give_back_adopted(Side::Old));
    // By now it was stopped as a stray as well.
    held.retain(|start| {
        let back = give_back(plan, start, host);
        let stays = back.is_err();
        faults.note(back);
        stays
    });
    let changed = plan.changed();
    let asks: Vec<Ask<'_>> = plan
        .old
        .iter()
        .flat_map(|old| old.services.keys())
        .filter(|name| changed.contains(name) && !held.iter().any(|start| start.service == **name))
        .map(|service| Ask { side: Side::Old, service, units: None, via: Via::Current })
        .collect();
    if !asks.is_empty() {
        faults.note(host.expect_healthy(plan, &asks));
    }
    faults.note(host.forget_uncommitted());
    faults.first()
}

/// Stops the new version of a service and starts the old one in its place.
fn give_back<H: Host>(plan: &Plan, start: &Start, host: &mut H) -> Result<()> {
    host.stop(&start.units)?;
    host.start(&start.stops)?;
    let mut flips = plan.flips.iter().filter(|flip| flip.service == start.service);
    flips.try_for_each(|flip| host.set_current(&flip.service, flip.from.as_ref()))
}

/// Stops and removes what is not of `keep`, by what is found rather than by what was done: so it
/// also takes away what an earlier activation could not.
fn leave_only<H: Host>(keep: Option<&Manifest>, host: &mut H, faults: &mut Faults) {
    match host.strays(keep) {
        Ok(strays) => faults.note(host.stop(&strays)),
        Err(fault) => faults.note(Err(fault)),
    }
    faults.note(host.sweep_system(keep));
    faults.note(host.unlink_all());
    faults.note(host.reload());
    faults.note(host.sweep_people(keep));
    faults.note(host.sweep_directories(keep));
    faults.note(host.sweep_secrets(keep));
}

/// Cleaning up goes on after a fault, since every part that is done is better than none, and
/// tells the first.
#[derive(Default)]
struct Faults(Option<AgentError>);

impl Faults {
    fn note(&mut self, result: Result<()>) {
        if let Err(fault) = result {
            self.0.get_or_insert(fault);
        }
    }

    fn first(self) -> Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}
