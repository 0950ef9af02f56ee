//! Hosts that existed before us: looked at, made ours, adopted from, given back.

use std::time::{SystemTime, UNIX_EPOCH};

use cairn_closure::Manifest;
use cairn_formats::StorePath;
use cairn_protocol::{
    AdoptRequest, Adopted, Examination, Examined, Finding, Request, Response, UninstallRequest, Uninstalled,
};
use cairn_recipe::project::Host;
use cairn_transport::{HostKey, copy_closure, learn_host_key};

use crate::reach::unexpected;
use crate::{Fleet, FleetError, Listener};

/// What the services of a definition want of the host.
pub fn examination(wanted: Option<&Manifest>, agent: &StorePath, verify: bool) -> Examination {
    let services = || wanted.iter().flat_map(|manifest| &manifest.services);
    let addresses = services().flat_map(|(name, service)| {
        let held = service.sockets.iter().map(|socket| socket.address).chain(service.own.iter().copied());
        held.map(|address| (name.to_string(), address))
    });
    let mut users: Vec<u32> = services().map(|(_, service)| service.user.uid).collect();
    let mut groups: Vec<u32> = services().map(|(_, service)| service.user.gid).collect();
    for ids in [&mut users, &mut groups] {
        ids.sort_unstable();
        ids.dedup();
    }
    Examination {
        addresses: addresses.collect(),
        users,
        groups,
        agent: agent.clone(),
        now: 0,
        verify,
        pull_warn_after: None,
    }
}

impl Fleet<'_> {
    /// Looks at the host, and whether it lets us in a second time.
    pub fn examine(
        &self,
        host: &Host,
        request: &Examination,
        start: bool,
        listener: &Listener,
    ) -> Result<Examined, FleetError> {
        let reached = self.reach(host, start, listener)?;
        let mut session = self.connect(host, &reached, &request.agent)?;
        // As late as can be: the way there counts as a difference of clocks.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let response = session.request(&Request::Examine(Examination { now, ..request.clone() }), &mut |_| ())?;
        session.close();
        let mut examined = match response {
            Response::Examined(examined) => examined,
            other => return Err(unexpected(host, &other)),
        };
        let check = "fresh connection";
        examined.findings.insert(
            0,
            match self.connect(host, &reached, &request.agent) {
                Ok(session) => {
                    session.close();
                    Finding::good(check, "the host lets us in again and again")
                }
                Err(error) => Finding::wrong(
                    check,
                    error.to_string(),
                    "a switch is confirmed over a fresh connection, else it goes back",
                    "look at the host's sshd: MaxStartups, a firewall that counts connections",
                ),
            },
        );
        Ok(examined)
    }

    /// Makes the host ours: the agent into its store, then what belongs around it.
    pub fn install(&self, host: &Host, agent: &StorePath, listener: &Listener) -> Result<Vec<String>, FleetError> {
        let reached = self.reach(host, true, listener)?;
        let mut session = self.connect(host, &reached, agent)?;
        let paths = self.store.closure(std::slice::from_ref(agent))?;
        copy_closure(&mut session, self.store, &paths, &())?;
        let request = Request::Install { agent: agent.clone(), operator: self.operator.clone() };
        let response = session.request(&request, &mut |_| ())?;
        session.close();
        match response {
            Response::Installed { steps } => Ok(steps),
            other => Err(unexpected(host, &other)),
        }
    }

    /// Adopts files and units; without any, says what is adopted.
    pub fn adopt(
        &self,
        host: &Host,
        agent: &StorePath,
        paths: &[String],
        units: &[String],
    ) -> Result<Adopted, FleetError> {
        let (paths, units, operator) = (paths.to_vec(), units.to_vec(), self.operator.clone());
        match self.ask_once(host, agent, &Request::Adopt(AdoptRequest { paths, units, operator }), &|_| ())? {
            Response::Adopted(adopted) => Ok(adopted),
            other => Err(unexpected(host, &other)),
        }
    }

    /// Gives the host back, or only says what that would do.
    pub fn uninstall(
        &self,
        host: &Host,
        agent: &StorePath,
        dry_run: bool,
        delete_data: bool,
        reason: Option<&str>,
    ) -> Result<Uninstalled, FleetError> {
        let operator = self.operator.clone();
        let request = UninstallRequest { dry_run, delete_data, operator, reason: reason.map(str::to_owned) };
        match self.ask_once(host, agent, &Request::Uninstall(request), &|_| ())? {
            Response::Uninstalled(report) => Ok(report),
            other => Err(unexpected(host, &other)),
        }
    }

    /// The key that the host shows now, with its fingerprint.
    pub fn learn_host_key(&self, host: &Host) -> Result<(HostKey, String), FleetError> {
        let reached = self.reach(host, false, &|_| ())?;
        Ok(learn_host_key(&reached.target, &self.options)?)
    }
}
