//! One question to a host.

use cairn_formats::StorePath;
use cairn_protocol::{Request, Response, Retention};
use cairn_recipe::project::Host;

use crate::{Event, Fleet, FleetError, Listener};

impl Fleet<'_> {
    /// Asks the host's agent over a session of its own. A machine that is stopped is not started.
    pub fn ask_once(
        &self,
        host: &Host,
        agent: &StorePath,
        request: &Request,
        listener: &Listener,
    ) -> Result<Response, FleetError> {
        let reached = self.reach(host, false, listener)?;
        let mut session = self.connect(host, &reached, agent)?;
        let response = session.request(request, &mut |event| {
            if let cairn_protocol::Event::Activation { line, .. } = &event {
                listener(Event::Activation { host: &host.name, line });
            }
        })?;
        session.close();
        Ok(response)
    }
}

/// What stays on the host of the generations before the live one.
pub fn retention(host: &Host) -> Retention {
    let section = &host.definition.generations;
    Retention { keep: section.keep, keep_for: section.keep_for.map(|age| age.as_secs()) }
}
