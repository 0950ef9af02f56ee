//! The real host: [`Host`] by files, systemd and the store's profile.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use cairn_closure::{InstanceId, Kind, Manifest, Service, ServiceName, System, UnitName, User, layout};
use cairn_formats::StorePath;
use cairn_protocol::{ActivationEvent, Goal, ServiceState, Step};
use cairn_store::{Profile, Store};

use super::host::{Ask, Host, Side};
use super::plan::Plan;
use super::preflight;
use super::record::{Journal, Record};
use crate::drain::{self, Listener};
use crate::error::{AgentError, Fault, Result, file};
use crate::health::{self, wait};
use crate::paths::Paths;
use crate::{adopted, files, generations, maintenance, secrets, services, system, systemd};

/// Between two looks for the confirmation.
const CONFIRM_PAUSE: Duration = Duration::from_millis(20);
/// Lines of a task or check that are kept and shown.
const JOB_LINES: u32 = 200;
/// A failing new instance is not waited for as long as a good old one.
const DRAIN_OF_A_TRIAL: Duration = Duration::from_secs(5);

pub struct RealHost<'a> {
    pub store: &'a Store,
    pub paths: &'a Paths,
    pub record: Record,
    pub journal: Journal,
    /// The service of each unit, for what is told.
    pub owners: BTreeMap<UnitName, ServiceName>,
}

impl RealHost<'_> {
    fn profile(&self) -> Result<Profile> {
        Ok(self.store.profile(layout::PROFILE_NAME)?)
    }

    fn closure(&self, side: Side) -> Option<&StorePath> {
        match side {
            Side::New => Some(&self.record.request.closure),
            Side::Old => self.record.before.as_ref().map(|before| &before.closure),
        }
    }

    fn tell(&self, service: &str, unit: Option<&UnitName>, state: ServiceState, detail: Option<&str>) {
        self.journal.note(ActivationEvent::Service {
            service: service.to_owned(),
            unit: unit.map(ToString::to_string),
            state,
            detail: detail.map(str::to_owned),
        });
    }

    /// The evidence for a failed `systemctl start`: the first unit that is not up.
    fn not_started(&self, units: &[UnitName], error: AgentError) -> AgentError {
        let Ok(states) = systemd::states(units) else {
            return error;
        };
        let Some((unit, state)) = states.iter().find(|(_, state)| !state.is_active()) else {
            return error;
        };
        Fault {
            message: format!("{unit} does not start: it is {} ({})", state.describe(), state.result),
            advice: Some("the unit's last lines say why".to_owned()),
            service: self.owners.get(unit).map(ToString::to_string),
            unit: Some(unit.to_string()),
            log: systemd::last_lines(unit.as_str(), 20),
            ..Fault::default()
        }
        .into()
    }
}

impl Host for RealHost<'_> {
    fn preflight(&mut self, plan: &Plan) -> Result<()> {
        let changed = plan.changed();
        for name in plan.new.services.keys().filter(|n| !changed.contains(n)) {
            self.tell(name.as_str(), None, ServiceState::Unchanged, None);
        }
        if !plan.with_tasks {
            for name in between(plan) {
                let text =
                    format!("{name} is another version there and is not run on the way back: what it changed stays");
                self.journal.note(ActivationEvent::Note { text });
            }
        }
        preflight::check(self.paths, plan)
    }

    fn place_secrets(&mut self, plan: &Plan) -> Result<()> {
        secrets::place(self.paths, &plan.new)
    }

    fn sweep_secrets(&mut self, keep: Option<&Manifest>) -> Result<()> {
        secrets::sweep(self.paths, keep)
    }

    fn ensure_state(&mut self, plan: &Plan) -> Result<()> {
        services::state::ensure(self.paths, &plan.new)
    }

    fn ensure_users(&mut self, plan: &Plan) -> Result<()> {
        services::users::ensure(&plan.new)
    }

    fn make_directory(&mut self, service: &ServiceName, instance: &InstanceId, user: &User) -> Result<()> {
        services::make_directory(self.paths, service, instance, user)
    }

    fn take_slot(&mut self, service: &ServiceName, instance: &InstanceId) -> Result<()> {
        services::slots::take(self.paths, service, instance)
    }

    fn place_live(&mut self, manifest: &Manifest, service: &ServiceName) -> Result<()> {
        services::live::place(self.paths, manifest, service)?;
        maintenance::place(self.paths, manifest, service)
    }

    fn tell_to_reload(&mut self, manifest: &Manifest, service: &ServiceName) -> Result<()> {
        let Some(found) = manifest.services.get(service) else { return Ok(()) };
        let Some(reload) = &found.reload else { return Ok(()) };
        let units: Vec<UnitName> = found.replicas.iter().map(|replica| replica.unit.clone()).collect();
        systemd::signal(&units, reload.signal.name())?;
        self.tell(service.as_str(), None, ServiceState::Reloaded, None);
        Ok(())
    }

    fn sweep_directories(&mut self, keep: Option<&Manifest>) -> Result<()> {
        services::sweep_directories(self.paths, keep)
    }

    fn link(&mut self, side: Side, units: &[UnitName]) -> Result<()> {
        let Some(closure) = self.closure(side) else {
            return Ok(());
        };
        let from = self.paths.store_path(closure).join("units");
        for unit in units {
            files::point(&self.paths.runtime_unit(unit), &from.join(unit.as_str()))?;
        }
        Ok(())
    }

    fn unlink_all(&mut self) -> Result<()> {
        let directory = self.paths.runtime_units();
        let entries = fs::read_dir(&directory).map_err(file("cannot list", &directory))?;
        for entry in entries.flatten() {
            let ours = entry.file_name().to_str().is_some_and(|n| UnitName::parse(n).is_ok());
            let link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            if (ours && link) || system::units::is_ours(&entry.path()) {
                files::remove(&entry.path())?;
            }
        }
        Ok(())
    }

    fn reload(&mut self) -> Result<()> {
        systemd::reload()
    }

    fn expect_loaded(&mut self, units: &[UnitName]) -> Result<()> {
        for (unit, state) in systemd::states(units)? {
            if state.load != "loaded" {
                return Err(Fault {
                    message: format!("systemd does not take {unit}: {} {}", state.load, state.load_error),
                    advice: Some("this is a fault of the rendered unit; please report it".to_owned()),
                    unit: Some(unit.to_string()),
                    log: systemd::last_lines(unit.as_str(), 20),
                    ..Fault::default()
                }
                .into());
            }
        }
        Ok(())
    }

    fn replace_adopted(&mut self) -> Result<()> {
        let claims = self.record.request.goal.adds_a_generation();
        adopted::units::stop(self.paths, self.record.number(), claims)
    }

    fn give_back_adopted(&mut self, side: Side) -> Result<()> {
        match side {
            Side::New => adopted::units::start(self.paths, Some(self.record.number()), None),
            Side::Old => {
                let before = self.record.before.as_ref().map(|before| before.generation);
                adopted::units::start(self.paths, before, Some(self.record.last_number))
            }
        }
    }

    fn start(&mut self, units: &[UnitName]) -> Result<()> {
        for unit in units {
            if let Some(owner) = self.owners.get(unit) {
                self.tell(owner.as_str(), Some(unit), ServiceState::Starting, None);
            }
        }
        systemd::start(units).map_err(|error| self.not_started(units, error))
    }

    fn stop(&mut self, units: &[UnitName]) -> Result<()> {
        systemd::stop(units)
    }

    fn mark(&mut self, milestones: &[UnitName]) -> Result<()> {
        systemd::start_alone(milestones)
    }

    fn let_checks_through(&mut self, plan: &Plan, through: bool) -> Result<()> {
        for service in maintenance::let_checks_through(self.paths, &plan.new, through)? {
            if through {
                let text = format!("{service} is in maintenance, and lets checks of this host through");
                self.journal.note(ActivationEvent::Note { text });
            }
        }
        Ok(())
    }

    fn run(&mut self, service: &ServiceName, unit: &UnitName) -> Result<()> {
        self.tell(service.as_str(), Some(unit), ServiceState::Running, None);
        let since = systemd::now();
        let ended = systemd::start(std::slice::from_ref(unit));
        let said = systemd::lines_since(unit.as_str(), &since, JOB_LINES);
        for line in &said {
            self.journal.note(ActivationEvent::Output { service: service.to_string(), line: line.clone() });
        }
        ended.map_err(|_| {
            let state = systemd::states(std::slice::from_ref(unit)).ok().and_then(|mut s| s.remove(unit));
            let how = state.map_or_else(String::new, |state| format!(" ({})", state.result));
            // It would stay listed as failed, though nothing of it is left.
            let _ = systemd::stop(std::slice::from_ref(unit));
            AgentError::from(Fault {
                message: format!("{service} failed{how}"),
                advice: Some("its last lines say why".to_owned()),
                service: Some(service.to_string()),
                unit: Some(unit.to_string()),
                log: said,
                ..Fault::default()
            })
        })?;
        self.tell(service.as_str(), Some(unit), ServiceState::Done, None);
        Ok(())
    }

    fn strays(&mut self, keep: Option<&Manifest>) -> Result<Vec<UnitName>> {
        let kept = keep.map(Manifest::all_units).unwrap_or_default();
        let found = systemd::instances()?;
        Ok(found.into_iter().filter(|unit| !kept.contains(unit)).collect())
    }

    fn expect_healthy(&mut self, plan: &Plan, asks: &[Ask<'_>]) -> Result<()> {
        let mut checks = Vec::new();
        for ask in asks {
            let manifest = match ask.side {
                Side::New => Some(&plan.new),
                Side::Old => plan.old.as_ref(),
            };
            let Some(service) = manifest.and_then(|m| m.services.get(ask.service)) else {
                continue;
            };
            let wanted = |unit: &UnitName| ask.units.is_none_or(|units| units.contains(unit));
            checks.extend(health::checks(self.paths, ask.service, service, ask.via, wanted));
        }
        self.journal.note(ActivationEvent::Step { step: Step::Health });
        wait::wait(&checks, |check, answer| {
            self.tell(check.service.as_str(), Some(&check.unit), ServiceState::Healthy, Some(answer));
        })
    }

    fn current(&self, service: &ServiceName) -> Option<InstanceId> {
        services::current(self.paths, service)
    }

    fn set_current(&mut self, service: &ServiceName, instance: Option<&InstanceId>) -> Result<()> {
        services::set_current(self.paths, service, instance)
    }

    fn drain(&mut self, plan: &Plan, side: Side, units: &[UnitName]) -> Result<()> {
        let (manifest, most) = match side {
            Side::New => (Some(&plan.new), DRAIN_OF_A_TRIAL),
            Side::Old => (plan.old.as_ref(), Duration::MAX),
        };
        let Some(manifest) = manifest else {
            return Ok(());
        };
        let states = systemd::states(units)?;
        let mut limit = Duration::ZERO;
        let mut listeners = Vec::new();
        for (name, service) in &manifest.services {
            for replica in service.replicas.iter().filter(|r| units.contains(&r.unit)) {
                let pid = states.get(&replica.unit).and_then(|state| state.main_pid);
                let folder = services::instance_folder(self.paths, name, &service.instance)?;
                let socket = match (folder, &replica.socket) {
                    (Some(folder), Some(socket)) => folder.socket(socket)?,
                    _ => None,
                };
                if let (Some(pid), Some(socket)) = (pid, socket) {
                    listeners.push(Listener { pid, socket });
                    limit = limit.max(service.drain.duration());
                    self.tell(name.as_str(), Some(&replica.unit), ServiceState::Draining, None);
                }
            }
        }
        if !drain::wait_until_empty(&listeners, limit.min(most)) {
            self.journal.note(ActivationEvent::Note {
                text: "connections still wait to be accepted by instances that are stopped now".to_owned(),
            });
        }
        Ok(())
    }

    fn link_system(&mut self, plan: &Plan, side: Side) -> Result<()> {
        let [here, there] = sides(plan, side);
        if let Some(closure) = self.closure(side) {
            system::units::link(self.paths, closure, &here, &there)?;
        }
        match (side, self.closure(Side::Old)) {
            (Side::New, Some(old)) => system::units::link_retiring(self.paths, old, &there, &here),
            _ => Ok(()),
        }
    }

    fn ensure_people(&mut self, plan: &Plan, side: Side) -> Result<()> {
        let [here, _] = sides(plan, side);
        // People and links outlive a power loss, unlike all else of a trial.
        if side == Side::New && !here.is_empty() {
            crate::generator::install_for_trial(self.paths, &plan.new.agent)?;
        }
        system::people::ensure(self.paths, &here)
    }

    fn set_kernel(&mut self, plan: &Plan, side: Side) -> Result<()> {
        system::kernel::apply(self.paths, &sides(plan, side)[0])
    }

    fn place_etc(&mut self, plan: &Plan, side: Side) -> Result<()> {
        system::etc::place(self.paths, self.closure(side), &sides(plan, side)[0])
    }

    fn start_system(&mut self, plan: &Plan, side: Side) -> Result<()> {
        let [here, there] = sides(plan, side);
        system::units::start(&here, &there, side == Side::Old)
    }

    fn tell_system(&mut self, plan: &Plan, side: Side) -> Result<()> {
        let [here, there] = sides(plan, side);
        let (reload, restart) = here.listeners(&there);
        let mut say = |text| self.journal.note(ActivationEvent::Note { text });
        system::units::tell(&reload, &restart, side == Side::Old, &mut say)
    }

    fn sweep_system(&mut self, keep: Option<&Manifest>) -> Result<()> {
        system::units::sweep(self.paths, &of(keep))
    }

    fn sweep_people(&mut self, keep: Option<&Manifest>) -> Result<()> {
        system::people::sweep(self.paths, &of(keep))?;
        system::etc::sweep(self.paths)
    }

    fn await_confirmation(&mut self) -> Result<()> {
        let seconds = self.record.request.confirm_within;
        if seconds == 0 {
            return Ok(());
        }
        let directory = self.paths.activation(&self.record.id);
        self.journal.write(ActivationEvent::AwaitingConfirmation { seconds })?;
        let deadline = Instant::now() + Duration::from_secs(seconds.into());
        loop {
            if let Ok(by) = fs::read_to_string(directory.join("confirm")) {
                let by = Some(by.trim().to_owned()).filter(|by| !by.is_empty());
                return self.journal.write(ActivationEvent::Confirmed { by });
            }
            if directory.join("cancel").exists() {
                return Err(Fault::new("it was given up before it was confirmed").into());
            }
            if Instant::now() >= deadline {
                return Err(Fault::new(format!("nobody confirmed over a fresh connection within {seconds} s"))
                    .advice("check that new SSH connections to the host work with the new closure live")
                    .into());
            }
            thread::sleep(CONFIRM_PAUSE);
        }
    }

    fn commit(&mut self) -> Result<()> {
        // Before the rename: without a generation the link leads nowhere, and systemd ignores it.
        crate::generator::install(self.paths)?;
        let profile = self.profile()?;
        let number = match self.record.request.goal {
            Goal::Switch => profile.add(&self.record.request.closure)?.number,
            Goal::Rollback { to } => to,
        };
        if self.record.request.goal.adds_a_generation() {
            generations::write_note(self.paths, number, &self.record)?;
        }
        profile.switch_to(number)?;
        Ok(())
    }

    fn is_committed(&self) -> Result<bool> {
        let current = self.profile()?.current()?;
        Ok(self.record.is_committed_by(current.as_ref().map(|g| (g.number, &g.path))))
    }

    fn forget_uncommitted(&mut self) -> Result<()> {
        generations::forget_uncommitted(self.store, &self.record)
    }
}

fn of(manifest: Option<&Manifest>) -> System {
    manifest.map(|manifest| manifest.system.clone()).unwrap_or_default()
}

/// The host itself as this side has it, and as the other one does.
fn sides(plan: &Plan, side: Side) -> [System; 2] {
    let [new, old] = [of(Some(&plan.new)), of(plan.old.as_ref())];
    match side {
        Side::New => [new, old],
        Side::Old => [old, new],
    }
}

/// Tasks that run otherwise in the closure to go back to.
fn between(plan: &Plan) -> Vec<ServiceName> {
    let before = plan.old.iter().flat_map(|old| &old.services);
    let tasks = before.filter(|(_, service)| matches!(service.kind, Kind::Task {}));
    let differs = |(name, service): &(&ServiceName, &Service)| {
        plan.new.services.get(*name).is_none_or(|new| new.instance != service.instance)
    };
    tasks.filter(differs).map(|(name, _)| name.clone()).collect()
}
