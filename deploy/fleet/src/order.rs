//! In which order hosts are worked on, and that only one works on a fleet.

use std::collections::BTreeMap;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use cairn_formats::StorePath;
use cairn_protocol::{Request, Response};
use cairn_recipe::project::Host;
use cairn_transport::Session;

use crate::reach::unexpected;
use crate::{Fleet, FleetError, Terms};

/// Places in `hosts`, in waves: each wave needs only what the waves before it have brought about.
/// Those that a host names in `after` go before it, as far as they are among `hosts`; of those that
/// could go at once the hosts with tasks go first, since the others rely on what a task does.
pub fn waves(hosts: &[Host]) -> Result<Vec<Vec<usize>>, FleetError> {
    let place: BTreeMap<&str, usize> = hosts.iter().enumerate().map(|(at, host)| (host.name.as_str(), at)).collect();
    let needs = |at: usize| hosts[at].definition.after.iter().filter_map(|name| place.get(name.as_str()).copied());
    let mut waves: Vec<Vec<usize>> = Vec::new();
    let mut left: Vec<usize> = (0..hosts.len()).collect();
    while !left.is_empty() {
        let ready = |at: &usize| needs(*at).all(|needed| !left.contains(&needed));
        let free: Vec<usize> = left.iter().copied().filter(ready).collect();
        if free.is_empty() {
            let names = left.iter().map(|at| hosts[*at].name.clone()).collect();
            return Err(FleetError::Circle { hosts: names });
        }
        let tasks: Vec<usize> = free.iter().copied().filter(|at| hosts[*at].definition.has_tasks()).collect();
        let wave = if tasks.is_empty() { free } else { tasks };
        left.retain(|at| !wave.contains(at));
        waves.push(wave);
    }
    Ok(waves)
}

/// The agent lets go of a fleet's lock when it has not heard of us for so long: a computer that is gone
/// closes no connection.
const SILENCE: Duration = Duration::from_secs(60);
/// How often it hears of us.
const SIGN: Duration = Duration::from_secs(15);

/// The locks of fleets, as long as it lives.
#[must_use]
pub struct Held(Vec<Holding>);

/// A session that has a lock, and shows that we are there.
struct Holding {
    /// Dropped when it is over.
    _over: Sender<()>,
    thread: JoinHandle<()>,
}

impl Holding {
    fn of(mut session: Session) -> Self {
        let (over, end) = channel();
        let thread = std::thread::spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = end.recv_timeout(SIGN) {
                if let Err(error) = session.request(&Request::StillHere, &mut |_| ()) {
                    tracing::warn!(%error, "the fleet's lock is lost");
                    return;
                }
            }
            // The agent's answer to an orderly end is quicker than the loss of a connection.
            session.close();
        });
        Self { _over: over, thread }
    }
}

/// The host that could not be asked for its fleet's lock, or said no.
pub struct NotHeld {
    pub host: String,
    pub error: FleetError,
}

impl Drop for Held {
    fn drop(&mut self) {
        // All are told before any is waited for.
        let threads: Vec<_> = self.0.drain(..).map(|holding| holding.thread).collect();
        for thread in threads {
            if thread.join().is_err() {
                tracing::warn!("a thread that held a fleet's lock has panicked");
            }
        }
    }
}

impl Fleet<'_> {
    /// Takes the lock of each fleet whose tasks may run: it lies on the host that has them, so that
    /// whoever else wants to run them must ask there. `agents` are those of `hosts`.
    pub fn hold(
        &self,
        hosts: &[Host],
        agents: &[StorePath],
        purpose: &str,
        terms: Terms,
    ) -> Result<Held, Box<NotHeld>> {
        let mut held = Held(Vec::new());
        for (host, agent) in hosts.iter().zip(agents).filter(|(host, _)| host.definition.has_tasks()) {
            if let Some(fleet) = &host.fleet {
                let session = self.hold_at(host, fleet, agent, purpose, terms);
                let session = session.map_err(|error| Box::new(NotHeld { host: host.name.clone(), error }))?;
                held.0.push(Holding::of(session));
            }
        }
        Ok(held)
    }

    fn hold_at(
        &self,
        host: &Host,
        fleet: &str,
        agent: &StorePath,
        purpose: &str,
        terms: Terms,
    ) -> Result<Session, FleetError> {
        let reached = self.reach(host, true, terms.listener)?;
        let mut session = self.connect(host, &reached, agent)?;
        let request = Request::HoldFleet {
            fleet: fleet.to_owned(),
            operator: self.operator.clone(),
            purpose: format!("a {purpose} of the fleet `{fleet}`"),
            reason: terms.reason.map(str::to_owned),
            silence: u32::try_from(SILENCE.as_secs()).unwrap_or(u32::MAX),
        };
        match session.request(&request, &mut |_| ())? {
            Response::Held => Ok(session),
            other => Err(unexpected(host, &other)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use cairn_recipe::host::HostDefinition;
    use cairn_recipe::sources::Sources;
    use std::path::Path;

    fn host(name: &str, text: &str) -> Host {
        let sources = Sources::of(Path::new("hosts/x.toml"), &format!("{text}\n[machine]\n"));
        let definition = HostDefinition::of(&sources).unwrap();
        Host { name: name.to_owned(), file: "hosts/x.toml".into(), fleet: None, sources, definition }
    }

    const TASK: &str = "services.migrate = { image = \"api\", kind = \"task\" }";

    fn names(hosts: &[Host]) -> Vec<Vec<&str>> {
        waves(hosts).unwrap().iter().map(|wave| wave.iter().map(|at| hosts[*at].name.as_str()).collect()).collect()
    }

    #[test]
    fn hosts_go_after_those_they_need_and_tasks_go_first() {
        let edge = host("edge", "after = [\"web\"]");
        let web = host("web", &format!("after = [\"data\"]\n{TASK}"));
        let data = host("data", "");
        assert_eq!(names(&[edge.clone(), web.clone(), data.clone()]), [["data"], ["web"], ["edge"]]);
        // One that is not to be switched is not waited for.
        assert_eq!(names(&[edge, web]), [["web"], ["edge"]]);
        assert_eq!(names(&[host("a", ""), host("b", TASK), host("c", "")]), [vec!["b"], vec!["a", "c"]]);
        assert!(names(&[]).is_empty());
    }

    #[test]
    fn a_circle_is_told() {
        let circle = [host("a", "after = [\"b\"]"), host("b", "after = [\"a\"]")];
        let error = waves(&circle).unwrap_err().to_string();
        assert!(error.contains("a, b"), "{error}");
    }
}
