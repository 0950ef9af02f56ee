//! One host through a switch or a rollback.
//!
//! Copy, then a trial on the host, then a *fresh* connection that confirms it: a generation that
//! breaks the way to the host cannot be confirmed and goes back by itself.

use std::time::Instant;

use cairn_closure::Secret;
use cairn_formats::StorePath;
use cairn_protocol::{
    ActivationId, ActivationRequest, Generation, Goal, Outcome as Ended, Request, Response, RollbackTarget,
    SealedSecret, Stamped, SwitchEnd,
};
use cairn_recipe::project::Host;
use cairn_transport::{CopyProgress, Session, copy_closure};

use crate::plan::{Plan, agent_of, manifest_of};
use crate::report::{HostReport, Outcome};
use crate::{Fleet, FleetError, Reached};

/// What happens meanwhile.
#[derive(Debug)]
pub enum Event<'a> {
    /// A machine of this computer is being brought up.
    Machine {
        host: &'a str,
        text: String,
    },
    Connected {
        host: &'a str,
        bootstrapped: bool,
    },
    Copying {
        host: &'a str,
        bytes: u64,
    },
    Copied {
        host: &'a str,
        bytes: u64,
        files: u64,
    },
    /// Sealed secrets that the host lacks are sent.
    Secrets {
        host: &'a str,
        count: usize,
    },
    Activation {
        host: &'a str,
        line: &'a Stamped,
    },
}

pub type Listener<'a> = dyn Fn(Event<'_>) + Sync + 'a;

/// Decides, with the plan in view, whether a host is changed. `false` leaves it as it is.
pub type Confirmation<'a> = dyn Fn(&Plan) -> bool + Sync + 'a;

/// Seals secrets to the key that a host answers with, so that only it can read them.
pub type Sealer<'a> = dyn Fn(&Host, Option<&str>, &[Secret]) -> Result<Vec<SealedSecret>, String> + Sync + 'a;

/// What holds for one run on a host, whatever it does there.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    /// Why, for the host's records.
    pub reason: Option<&'a str>,
    /// Gives a host the secrets that it lacks; going back, it has them.
    pub seal: Option<&'a Sealer<'a>>,
    /// Seconds for the confirmation over a fresh connection.
    pub confirm_within: u32,
    pub listener: &'a Listener<'a>,
}

/// How far a host got, for the report.
#[derive(Default)]
pub(crate) struct Course {
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
        let ended = self.reach(host, false, terms.listener).and_then(|reached| {
            let session = self.connect(host, &reached, agent)?;
            course.previous = session.hello().current.as_ref().map(|g| g.number);
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
        let copied = self.open(host, closure, listener, &mut course).and_then(|mut opened| {
            let paths = self.store.closure(std::slice::from_ref(closure))?;
            self.send(host, &mut opened.session, &paths, listener, &mut course)?;
            opened.session.close();
            Ok(())
        });
        let (outcome, failure) = match copied {
            Ok(()) => (Outcome::Copied, None),
            Err(error) => (Outcome::of(&error), Some(error)),
        };
        let generation = course.previous;
        course.report(host, start, outcome, generation, failure)
    }

    fn try_switch(
        &self,
        host: &Host,
        closure: &StorePath,
        agree: &Confirmation,
        terms: Terms,
        course: &mut Course,
    ) -> Result<Ended, FleetError> {
        let Opened { agent, reached, mut session } = self.open(host, closure, terms.listener, course)?;
        let current = session.hello().current.clone();
        let wanted = self.lacking(&session, closure)?;
        let is_live = |g: &Generation| g.closure == *closure && session.hello().host.activation.is_none();
        if let Some(current) = current.filter(|g| is_live(g) && wanted.is_empty()) {
            return Ok(Ended::Unchanged { generation: current.number });
        }
        let paths = self.store.closure(std::slice::from_ref(closure))?;
        let plan = Plan::new(self.store, &host.name, session.hello(), closure, &paths)?;
        if !agree(&plan) {
            let problem = cairn_protocol::Problem {
                step: cairn_protocol::Step::Preflight,
                message: "not switched: the plan was not agreed to".to_owned(),
                advice: None,
                service: None,
                unit: None,
                log: Vec::new(),
                health: None,
            };
            return Ok(Ended::Refused { problem });
        }
        // Before anything is sent: without them there is nothing to switch to.
        let secrets = seal(host, &session, &wanted, terms)?;
        self.send(host, &mut session, &paths, terms.listener, course)?;
        if !secrets.is_empty() {
            (terms.listener)(Event::Secrets { host: &host.name, count: secrets.len() });
            match session.request(&Request::KeepSecrets { secrets }, &mut |_| ())? {
                Response::Kept => {}
                other => return Err(FleetError::Answer { host: host.name.clone(), answer: format!("{other:?}") }),
            }
        }
        let request = Request::Switch(ActivationRequest {
            closure: closure.clone(),
            goal: Goal::Switch,
            operator: self.operator.clone(),
            reason: terms.reason.map(str::to_owned),
            confirm_within: terms.confirm_within,
        });
        self.activate(host, &reached, &agent, session, &request, terms.listener)
    }

    /// The closure's secrets that the host does not keep, or cannot open.
    fn lacking(&self, session: &Session, closure: &StorePath) -> Result<Vec<Secret>, FleetError> {
        let wanted = manifest_of(self.store, closure)?;
        let kept = &session.hello().secrets;
        Ok(wanted.secrets().into_iter().filter(|secret| !kept.contains(&secret.file_name())).cloned().collect())
    }

    /// A session with the agent of `closure`, on a host that is started if it is a machine.
    fn open(
        &self,
        host: &Host,
        closure: &StorePath,
        listener: &Listener,
        course: &mut Course,
    ) -> Result<Opened, FleetError> {
        let agent = agent_of(self.store, closure)?;
        let reached = self.reach(host, true, listener)?;
        let session = self.connect(host, &reached, &agent)?;
        listener(Event::Connected { host: &host.name, bootstrapped: session.bootstrapped() });
        course.previous = session.hello().current.as_ref().map(|g| g.number);
        Ok(Opened { agent, reached, session })
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
        let mut fresh = self.connect(host, reached, agent)?;
        let confirm = Request::Confirm { id, operator: self.operator.clone() };
        match self.ask(host, &mut fresh, &confirm, &mut seen, listener)? {
            (_, SwitchEnd::Ended(outcome)) => Ok(outcome),
            (id, other) => Err(FleetError::Answer { host: host.name.clone(), answer: format!("{id}: {other:?}") }),
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
            other => Err(FleetError::Answer { host: host.name.clone(), answer: format!("{other:?}") }),
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

struct Opened {
    agent: StorePath,
    reached: Reached,
    session: Session,
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
    let (outcome, generation, failure) = match ended {
        Ok(Ended::Committed { generation, .. }) => (success, Some(generation), None),
        Ok(Ended::Unchanged { generation }) => (Outcome::Unchanged, Some(generation), None),
        Ok(Ended::Refused { problem }) => (
            Outcome::Failed,
            course.previous,
            Some(FleetError::Refused { host: name.clone(), problem: boxed(problem) }),
        ),
        Ok(Ended::Reverted { generation, problem }) => {
            let error = FleetError::Reverted { host: name.clone(), generation, problem: boxed(problem) };
            (Outcome::Reverted, generation, Some(error))
        }
        Ok(Ended::Broken { problem }) => {
            (Outcome::Broken, None, Some(FleetError::Broken { host: name.clone(), problem: boxed(problem) }))
        }
        Err(error) => (Outcome::of(&error), course.previous, Some(error)),
    };
    course.report(host, start, outcome, generation, failure)
}

impl Course {
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
