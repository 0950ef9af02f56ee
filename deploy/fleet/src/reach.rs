//! From a host of the project to a session with its agent.

use std::path::PathBuf;

use cairn_formats::StorePath;
use cairn_formats::time::rfc3339;
use cairn_machine::{MachineSpec, Machines, State};
use cairn_protocol::{PullStatus, Request, Response};
use cairn_recipe::project::Host;
use cairn_store::Store;
use cairn_transport::{Agent, HostKey, Options, Session, Target, TransportError};

use crate::FleetError;
use crate::ahead::Ahead;
use crate::event::{Event, Listener};
use crate::report::{Endpoint, StatusEntry};

/// What working on hosts needs.
pub struct Fleet<'a> {
    pub store: &'a Store,
    /// Where machines of this computer keep their state; opened when a host is one.
    pub machines: PathBuf,
    /// How machines of this computer are made.
    pub machine: MachineSpec,
    pub options: Options,
    /// `user@machine`, for the hosts' records.
    pub operator: String,
    /// What [`Fleet::dial`] has begun.
    pub ahead: Ahead,
}

/// A host with the way to it found out.
#[derive(Debug)]
pub struct Reached {
    pub target: Target,
    /// The address at which the host's services answer.
    pub address: String,
    /// Where sshd listens if it does not yet at the target's port.
    pub port_before: Option<u16>,
}

/// In seconds. `None`: the definition does not say that the host pulls.
fn warn_after(host: &Host) -> Option<u64> {
    host.definition.pull.as_ref().map(|pull| pull.warn_after.as_secs())
}

impl Fleet<'_> {
    /// Finds the way to a host; a machine of this computer is started if `start` says so.
    pub fn reach(&self, host: &Host, start: bool, listener: &Listener) -> Result<Reached, FleetError> {
        if let Some(ssh) = &host.definition.ssh {
            let mut target = Target::new(&host.name, ssh.address.as_str());
            target.user = ssh.user.as_ref().map(ToString::to_string);
            target.port = ssh.port;
            target.identity = ssh.identity.as_ref().map(|identity| PathBuf::from(identity.as_str()));
            target.host_key = ssh.host_key.as_deref().map(HostKey::parse).transpose()?;
            return Ok(Reached { target, address: ssh.address.to_string(), port_before: ssh.port_before });
        }
        if host.definition.machine.is_none() {
            return Err(FleetError::Pulls { host: host.name.clone() });
        }
        let machines = Machines::new(self.machines.clone())?;
        let machine = if start {
            machines.ensure_running(&host.name, &self.machine, &|event| {
                listener(Event::Machine { host: &host.name, text: event.to_string() });
            })?
        } else {
            let found = machines.list()?.into_iter().find(|m| m.name == host.name && m.state == State::Running);
            found.ok_or_else(|| FleetError::NotRunning { host: host.name.clone() })?
        };
        let address = machine.address.to_string();
        let mut target = Target::new(&host.name, &address);
        target.user = Some("root".to_owned());
        target.port = Some(machine.ssh_port);
        target.identity = Some(machine.identity.clone());
        target.host_key = Some(HostKey::parse(&machine.host_key)?);
        Ok(Reached { target, address, port_before: None })
    }

    /// Begins to open sessions for the first [`Fleet::connect`] to each of these hosts, with the agents
    /// that belong to them. A machine that does not run is left for then.
    pub fn dial<'h>(&self, hosts: impl IntoIterator<Item = (&'h Host, StorePath)>) {
        for (host, agent) in hosts {
            if let Ok(reached) = self.reach(host, false, &|_| ()) {
                self.ahead.dial(reached.target, self.program(host, &agent), self.options.clone());
            }
        }
    }

    /// A session with the host's agent, which is brought along if need be. While sshd is about to move,
    /// it is looked for at both ports.
    pub fn connect(&self, host: &Host, reached: &Reached, agent: &StorePath) -> Result<Session, FleetError> {
        let dialled = self.ahead.take(&reached.target, &self.program(host, agent));
        let session = match dialled {
            Some(session) => session.map_err(FleetError::from),
            None => self.connect_to(host, &reached.target, agent),
        };
        match (session, reached.port_before) {
            (Err(FleetError::Transport(TransportError::Ssh { .. })), Some(port)) => {
                let mut target = reached.target.clone();
                target.port = Some(port);
                self.connect_to(host, &target, agent)
            }
            (session, _) => session,
        }
    }

    /// As `connect`, where the definition says that the host is, and nowhere else.
    pub fn connect_to(&self, host: &Host, target: &Target, agent: &StorePath) -> Result<Session, FleetError> {
        Ok(Session::open(target, &self.program(host, agent), &self.options)?)
    }

    fn program(&self, host: &Host, agent: &StorePath) -> Agent {
        Agent {
            store_path: agent.clone(),
            file: self.store.physical(agent).join(cairn_closure::layout::AGENT_PROGRAM),
            platform: host.definition.platform,
        }
    }

    /// What the host runs. A host that cannot be asked gets an entry that says why.
    pub fn status(&self, host: &Host, agent: &StorePath, listener: &Listener) -> StatusEntry {
        let asked = self.reach(host, false, listener).and_then(|reached| {
            let mut session = self.connect(host, &reached, agent)?;
            match session.request(&Request::Status, &mut |_| ())? {
                Response::Status { status } => Ok((reached.address, status)),
                other => Err(unexpected(host, &other)),
            }
        });
        match asked {
            Ok((address, status)) => StatusEntry {
                name: host.name.clone(),
                generation: status.generation.as_ref().map(|g| g.number),
                since: status.since.map(rfc3339),
                health: serde_json::to_value(status.health)
                    .ok()
                    .and_then(|v| v.as_str().map(str::to_owned))
                    .unwrap_or_default(),
                endpoints: (status.endpoints.iter())
                    .map(|e| Endpoint { service: e.service.clone(), url: url(&address, e) })
                    .collect(),
                services: status.services,
                activation: status.activation.map(|a| a.to_string()),
                condition: status.condition,
                pull: status.pull.map(|pull| PullStatus { warn_after: warn_after(host), ..pull }),
                certificate: None,
                error: None,
            },
            Err(error) => StatusEntry {
                name: host.name.clone(),
                generation: None,
                since: None,
                health: match &error {
                    FleetError::NotRunning { .. } => "stopped",
                    FleetError::Pulls { .. } => "pulls",
                    FleetError::Transport(TransportError::Ssh { .. }) => "unreachable",
                    _ => "unknown",
                }
                .to_owned(),
                endpoints: Vec::new(),
                services: Vec::new(),
                activation: None,
                condition: cairn_protocol::Condition::default(),
                pull: None,
                certificate: None,
                error: Some(error.to_string()),
            },
        }
    }
}

/// Of a host that answered another question.
pub(crate) fn unexpected(host: &Host, answer: &impl std::fmt::Debug) -> FleetError {
    FleetError::answer(&host.name, answer)
}

fn url(address: &str, endpoint: &cairn_protocol::Endpoint) -> String {
    let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    format!("{}://{host}:{}{}", endpoint.scheme, endpoint.port, endpoint.path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_kinds_make_urls() {
        let endpoint =
            cairn_protocol::Endpoint { service: "x".into(), scheme: "http".into(), port: 8080, path: "/".into() };
        assert_eq!(url("10.0.0.1", &endpoint), "http://10.0.0.1:8080/");
        assert_eq!(url("fe80::1", &endpoint), "http://[fe80::1]:8080/");
    }
}
