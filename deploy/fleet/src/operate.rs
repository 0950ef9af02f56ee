//! Operating hosts that run a generation: their logs, restarts, maintenance, and a way in for people.

use std::process::Command;
use std::time::Instant;

use cairn_formats::StorePath;
use cairn_protocol::{LogLine, LogRequest, Maintained, MaintenanceRequest, Request, Response, RestartRequest, Until};
use cairn_recipe::project::Host;
use cairn_transport::{Session, copy_closure};

use crate::event::Event;
use crate::reach::unexpected;
use crate::report::{HostReport, Outcome};
use crate::switch::Course;
use crate::{Fleet, FleetError, Terms};

impl Fleet<'_> {
    /// A session with a host that runs already.
    fn session(&self, host: &Host, agent: &StorePath) -> Result<Session, FleetError> {
        let reached = self.reach(host, false, &|_| ())?;
        self.connect(host, &reached, agent)
    }

    /// Tells `on_line` each line, in the host's order.
    pub fn logs(
        &self,
        host: &Host,
        agent: &StorePath,
        request: LogRequest,
        on_line: &mut dyn FnMut(LogLine),
    ) -> Result<(), FleetError> {
        let mut session = self.session(host, agent)?;
        let response = session.request(&Request::Logs(request), &mut |event| {
            if let cairn_protocol::Event::Log(line) = event {
                on_line(line);
            }
        })?;
        match response {
            Response::Logged => Ok(()),
            other => Err(unexpected(host, &other)),
        }
    }

    /// Restarts a service's replicas, one after the other.
    pub fn restart(&self, host: &Host, agent: &StorePath, service: &str, terms: Terms) -> HostReport {
        let start = Instant::now();
        let mut course = Course::default();
        let request = Request::Restart(RestartRequest {
            service: service.to_owned(),
            operator: self.operator.clone(),
            reason: terms.reason.map(str::to_owned),
        });
        let restarted = self.session(host, agent).and_then(|mut session| {
            course.previous = session.hello().current.as_ref().map(|generation| generation.number);
            let response = session.request(&request, &mut |event| {
                if let cairn_protocol::Event::Progress { line } = &event {
                    (terms.listener)(Event::Activation { host: &host.name, line });
                }
            })?;
            match response {
                Response::Restarted(report) => match report.problem {
                    None => Ok(()),
                    Some(problem) => Err(FleetError::Refused { host: host.name.clone(), problem: Box::new(problem) }),
                },
                other => Err(unexpected(host, &other)),
            }
        });
        let generation = course.previous;
        let (outcome, failure) = match restarted {
            Ok(()) => (Outcome::Restarted, None),
            Err(error) => (Outcome::of(&error), Some(error)),
        };
        course.report(host, start, outcome, generation, failure)
    }

    /// How the services stand that honour maintenance, after it was switched as `set` says.
    pub fn maintenance(
        &self,
        host: &Host,
        agent: &StorePath,
        service: Option<&str>,
        set: Option<bool>,
        reason: Option<&str>,
        until: Option<Until>,
    ) -> Result<Vec<Maintained>, FleetError> {
        let request = Request::Maintenance(MaintenanceRequest {
            service: service.map(str::to_owned),
            set,
            operator: self.operator.clone(),
            reason: reason.map(str::to_owned),
            until,
        });
        match self.session(host, agent)?.request(&request, &mut |_| ())? {
            Response::Maintenance { services } => Ok(services),
            other => Err(unexpected(host, &other)),
        }
    }

    /// `ssh` for a person: with a terminal if `terminal` says so; a login shell without `remote`.
    pub fn ssh(&self, host: &Host, terminal: bool, remote: Option<&str>) -> Result<Command, FleetError> {
        let reached = self.reach(host, false, &|_| ())?;
        Ok(cairn_transport::interactive(&self.options, &reached.target, terminal, remote)?)
    }

    /// `ssh` for one command of ours on this program's standard streams: nothing is forwarded.
    pub fn attended(&self, host: &Host, terminal: bool, remote: &str) -> Result<Command, FleetError> {
        let reached = self.reach(host, false, &|_| ())?;
        Ok(cairn_transport::attended(&self.options, &reached.target, terminal, remote)?)
    }

    /// Brings the agent into the host's store, where a command line can name it. Nothing keeps it there
    /// but its use by a generation; that of the live one mostly is the same.
    pub fn place_agent(&self, host: &Host, agent: &StorePath) -> Result<(), FleetError> {
        let mut session = self.session(host, agent)?;
        if !session.hello().valid.contains(agent) {
            let paths = self.store.closure(std::slice::from_ref(agent))?;
            copy_closure(&mut session, self.store, &paths, &())?;
        }
        session.close();
        Ok(())
    }
}
