//! One host through a switch or a rollback.
//!
//! Copy, then a trial on the host, then a *fresh* connection that confirms it: a generation that
//! breaks the way to the host cannot be confirmed and goes back by itself.

use std::collections::BTreeMap;
use std::time::Instant;

use cairn_closure::Secret;
use cairn_formats::StorePath;
use cairn_protocol::{
    ActivationId, ActivationRequest, Expected, Generation, Goal, Outcome as Ended, Request, Response, RollbackTarget,
    SealedSecret, Source, SwitchEnd,
};
use cairn_recipe::project::Host;
use cairn_transport::{CopyProgress, Session, copy_closure};

use crate::ask::retention;
use crate::event::{Event, Listener};
use crate::plan::{Plan, agent_of, manifest_of};
use crate::reach::unexpected;
use crate::report::{HostReport, Outcome};
use crate::{Fleet, FleetError, Reached};

/// Decides, with the plan in view, whether a host is changed. `false` leaves it as it is.
pub type Confirmation<'a> = dyn Fn(&Plan) -> bool + Sync + 'a;

/// Seals secrets to the key that a host answers with, so that only it can read them.
pub type Sealer<'a> = dyn Fn(&Host, Option<&str>, &[Secret]) -> Result<Vec<SealedSecret>, String> + Sync + 'a;

/// What holds for one run on a host, whatever it does there.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    /// Why, for the host's records.
    pub reason: Option<&'a str>,
    /// What the closures were built from, for the host's records.
    pub source: Option<&'a Source>,
    /// Host → the generation that must be live on it, of a plan that is kept.
    pub expected: Option<&'a BTreeMap<String, Option<u64>>>,
    /// Gives a host the secrets that it lacks; going back, it has them.
    pub seal: Option<&'a Sealer<'a>>,
    /// Seconds for the confirmation over a fresh connection.
    pub confirm_within: u32,
    pub listener: &'a Listener<'a>,
}

/// How far a host got, for the report.
#[derive(Default)]
pub(crate) struct Course {
    /// A session was opened.
    met: bool,
    pub previous: Option<u64>,
    pub bytes_sent: u64,
}

impl Fleet<'_> {
    /// Makes `closure` live on the host.
    pub fn switch(&self, host: &Host, closure: &StorePath, agree: &Confirmation, terms: Terms) -> HostReport {
        let start = Instant::now();
        let mut course = Course::default();
        let ended = self.try_switch(host, closure, agree, terms, &mut course);
        report(host, start, course, Outcome::Switched, ended)
    }

    /// Makes an earlier generation live again.
    pub fn rollback(&self, host: &Host, agent: &StorePath, to: RollbackTarget, terms: Terms) -> HostReport {
        let start = Instant::now();
        let mut course = Course::default();
        let ended = self.meet(host, false, agent, terms.listener, &mut course).and_then(|(reached, session)| {
            let request = Request::Rollback {
                to,
                operator: self.operator.clone(),
                reason: terms.reason.map(str::to_owned),
                confirm_within: terms.confirm_within,
            };
            self.activate(host, &reached, agent, session, &request, terms.listener)
        });
        report(host, start, course, Outcome::RolledBack, ended)
    }

    /// Brings `closure` to the host and leaves what runs there alone.
    pub fn copy(&self, host: &Host, closure: &StorePath, listener: &Listener) -> HostReport {
        let start = Instant::now();
        let mut course = Course::default();
        let copied = agent_of(self.store, closure).and_then(|agent| {
            let (_, mut session) = self.meet(host, true, &agent, listener, &mut course)?;
            let paths = self.store.closure(std::slice::from_ref(closure))?;
            self.send(host, &mut session, &paths, listener, &mut course)?;
            session.close();
            Ok(())
        });
        let generation = course.previous;
        match copied {
            Ok(()) => course.report(host, start, Outcome::Copied, generation, None),
            Err(error) => course.failed(host, start, error),
        }
    }

    fn try_switch(
        &self,
        host: &Host,
        closure: &StorePath,
        agree: &Confirmation,
        terms: Terms,
        course: &mut Course,
    ) -> Result<Ended, FleetError> {
        let agent = agent_of(self.store, closure)?;
        let (reached, mut session) = self.meet(host, true, &agent, terms.listener, course)?;
        let current = session.hello().current.clone();
        let expected = terms.expected.and_then(|hosts| hosts.get(&host.name)).map(|at| Expected { generation: *at });
        if let Some(Expected { generation: planned }) = expected.filter(|e| e.generation != course.previous) {
            return Err(FleetError::MovedOn { host: host.name.clone(), planned, live: course.previous });
        }
        let wanted = self.lacking(&session, closure)?;
        let is_live = |g: &Generation| g.closure == *closure && session.hello().host.activation.is_none();
        if let Some(current) = current.filter(|g| is_live(g) && wanted.is_empty()) {
            return Ok(Ended::Unchanged { generation: current.number });
        }
        let paths = self.store.closure(std::slice::from_ref(closure))?;
        let plan = Plan::new(self.store, &host.name, session.hello(), closure, &paths)?;
        if !agree(&plan) {
            return Err(FleetError::Declined { host: host.name.clone() });
        }
        // Before anything is sent: without them there is nothing to switch to.
        let secrets = seal(host, &session, &wanted, terms)?;
        self.send(host, &mut session, &paths, terms.listener, course)?;
        if !secrets.is_empty() {
            (terms.listener)(Event::Secrets { host: &host.name, count: secrets.len() });
            match session.request(&Request::KeepSecrets { secrets }, &mut |_| ())? {
                Response::Kept => {}
                other => return Err(unexpected(host, &other)),
            }
        }
        let request = Request::Switch(ActivationRequest {
            closure: closure.clone(),
            goal: Goal::Switch,
            operator: self.operator.clone(),
            reason: terms.reason.map(str::to_owned),
            confirm_within: terms.confirm_within,
            source: terms.source.cloned(),
            expected,
            retention: Some(retention(host)),
        });
        self.activate(host, &reached, &agent, session, &request, terms.listener)
    }

    /// The closure's secrets that the host does not keep, or cannot open.
    fn lacking(&self, session: &Session, closure: &StorePath) -> Result<Vec<Secret>, FleetError> {
        let wanted = manifest_of(self.store, closure)?;
        let kept = &session.hello().secrets;
        Ok(wanted.secrets().into_iter().filter(|secret| !kept.contains(&secret.file_name())).cloned().collect())
    }

    /// A session with the host's agent; a machine of this computer is started if `start` says so.
    fn meet(
        &self,
        host: &Host,
        start: bool,
        agent: &StorePath,
        listener: &Listener,
        course: &mut Course,
    ) -> Result<(Reached, Session), FleetError> {
        let reached = self.reach(host, start, listener)?;
        let session = self.connect(host, &reached, agent)?;
        listener(Event::Connected { host: &host.name, bootstrapped: session.bootstrapped() });
        course.met = true;
        course.previous = session.hello().current.as_ref().map(|g| g.number);
        Ok((reached, session))
    }

    fn send(
        &self,
        host: &Host,
        session: &mut Session,
        paths: &[StorePath],
        listener: &Listener,
        course: &mut Course,
    ) -> Result<(), FleetError> {
        let copied = copy_closure(session, self.store, paths, &Copying { host: &host.name, listener })?;
        course.bytes_sent = copied.bytes_sent;
        listener(Event::Copied { host: &host.name, bytes: copied.bytes_sent, files: copied.files_sent });
        Ok(())
    }

    /// Asks for an activation and sees it through to its end.
    fn activate(
        &self,
        host: &Host,
        reached: &Reached,
        agent: &StorePath,
        mut session: Session,
        request: &Request,
        listener: &Listener,
    ) -> Result<Ended, FleetError> {
        let mut seen = 0;
        let (id, end) = self.ask(host, &mut session, request, &mut seen, listener)?;
        session.close();
        if let SwitchEnd::Ended(outcome) = end {
            return Ok(outcome);
        }
        // A host that is still where it was before cannot be confirmed.
        let mut fresh = self.connect_to(host, &reached.target, agent)?;
        let confirm = Request::Confirm { id, operator: self.operator.clone() };
        match self.ask(host, &mut fresh, &confirm, &mut seen, listener)? {
            (_, SwitchEnd::Ended(outcome)) => Ok(outcome),
            (id, other) => Err(unexpected(host, &(id, other))),
        }
    }

    /// The host tells an activation's events from the start each time; the first `seen` of them
    /// were passed on before.
    fn ask(
        &self,
        host: &Host,
        session: &mut Session,
        request: &Request,
        seen: &mut usize,
        listener: &Listener,
    ) -> Result<(ActivationId, SwitchEnd), FleetError> {
        let mut told = 0;
        let response = session.request(request, &mut |event| {
            if let cairn_protocol::Event::Activation { line, .. } = &event {
                told += 1;
                if told > *seen {
                    listener(Event::Activation { host: &host.name, line });
                }
            }
        })?;
        *seen = told;
        match response {
            Response::Switch { id, end } => Ok((id, end)),
            other => Err(unexpected(host, &other)),
        }
    }
}

/// Encrypted so that the host alone can read them.
fn seal(host: &Host, session: &Session, secrets: &[Secret], terms: Terms) -> Result<Vec<SealedSecret>, FleetError> {
    match terms.seal {
        Some(seal) if !secrets.is_empty() => seal(host, session.hello().host_key.as_deref(), secrets)
            .map_err(|message| FleetError::Secrets { host: host.name.clone(), message }),
        _ => Ok(Vec::new()),
    }
}

struct Copying<'a> {
    host: &'a str,
    listener: &'a Listener<'a>,
}

impl CopyProgress for Copying<'_> {
    fn sent(&self, bytes: u64) {
        (self.listener)(Event::Copying { host: self.host, bytes });
    }
}

fn report(
    host: &Host,
    start: Instant,
    course: Course,
    success: Outcome,
    ended: Result<Ended, FleetError>,
) -> HostReport {
    let name = host.name.clone();
    let boxed = Box::new;
    let ended = match ended {
        Ok(ended) => ended,
        Err(error) => return course.failed(host, start, error),
    };
    let (outcome, generation, failure) = match ended {
        Ended::Committed { generation, .. } => (success, Some(generation), None),
        Ended::Unchanged { generation } => (Outcome::Unchanged, Some(generation), None),
        Ended::Refused { problem } => (
            Outcome::Failed,
            course.previous,
            Some(FleetError::Refused { host: name.clone(), problem: boxed(problem) }),
        ),
        Ended::Reverted { generation, problem } => {
            let error = FleetError::Reverted { host: name.clone(), generation, problem: boxed(problem) };
            (Outcome::Reverted, generation, Some(error))
        }
        Ended::Broken { problem } => {
            (Outcome::Broken, None, Some(FleetError::Broken { host: name.clone(), problem: boxed(problem) }))
        }
    };
    course.report(host, start, outcome, generation, failure)
}

impl Course {
    fn failed(self, host: &Host, start: Instant, error: FleetError) -> HostReport {
        let outcome = match Outcome::of(&error) {
            // On the way back to it, after work had begun.
            Outcome::Unreachable if self.met => Outcome::Failed,
            outcome => outcome,
        };
        let generation = self.previous;
        self.report(host, start, outcome, generation, Some(error))
    }

    pub fn report(
        self,
        host: &Host,
        start: Instant,
        outcome: Outcome,
        generation: Option<u64>,
        failure: Option<FleetError>,
    ) -> HostReport {
        HostReport {
            name: host.name.clone(),
            outcome,
            generation,
            previous: self.previous,
            changed: matches!(outcome, Outcome::Switched | Outcome::RolledBack),
            bytes_sent: self.bytes_sent,
            seconds: start.elapsed().as_secs_f64(),
            error: failure.as_ref().map(ToString::to_string),
            log: failure.as_ref().and_then(FleetError::problem).map(|p| p.log.clone()).unwrap_or_default(),
            failure,
        }
    }
}
