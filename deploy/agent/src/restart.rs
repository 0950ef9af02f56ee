//! Restarts a service's replicas, one after the other.
//!
//! A replica that others stand beside is taken out of the traffic first: its socket's name is given
//! to something that nobody can connect to, so that whoever asks goes on to the next replica at
//! once; then the connections that wait in its backlog are let in, and it finishes its requests and
//! ends. Those that are ill come first, so that a healthy one only goes while another answers. The
//! first that does not come up again stops the restart.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use cairn_closure::{Service, UnitName};
use cairn_protocol::{ActivationEvent, Health, RestartRequest, ServiceState};
use cairn_store::Store;

use crate::activation::{self, Holder};
use crate::drain::{self, Listener};
use crate::error::{AgentError, Fault, Result, file};
use crate::health::{self, Check, Via, wait};
use crate::paths::Paths;
use crate::{manifests, status, systemd};

const LOG_LINES: u32 = 20;

/// Tells what happens; false when nobody listens any more.
pub type Tell<'a> = dyn FnMut(ActivationEvent) -> bool + 'a;

/// Gives the units that were restarted, and what stopped it.
pub fn run(
    store: &Store,
    request: &RestartRequest,
    tell: &mut Tell<'_>,
) -> Result<(Vec<UnitName>, Option<AgentError>)> {
    let paths = Paths::new(store.root());
    let reason = request.reason.clone();
    let holder = Holder { reason, ..Holder::now(&request.operator, &format!("a restart of {}", request.service)) };
    let _lock = activation::lock(store, &paths, &holder)?;
    let (manifest, name) = manifests::live_service(&paths, &request.service)?;
    let service = &manifest.services[&name];
    if !service.kind.is_service() {
        return Err(Fault::new(format!("{name} does not run all the time, so there is nothing to restart"))
            .advice("tasks and checks run in a switch, and a timer by the clock")
            .into());
    }
    let checks = health::checks(&paths, &name, service, Via::Instance, |_| true);
    let (well, ill) = checks.iter().try_fold((Vec::new(), Vec::new()), |(mut well, mut ill), check| {
        if is_well(check)? {
            well.push(check)
        } else {
            ill.push(check)
        }
        Ok::<_, AgentError>((well, ill))
    })?;
    let mut restarted = Vec::new();
    for check in ill.iter().chain(&well) {
        let others: Vec<&Check> = checks.iter().filter(|other| other.unit != check.unit).collect();
        let mut tell = |state: ServiceState, detail: Option<String>| {
            let (service, unit) = (name.to_string(), Some(check.unit.to_string()));
            tell(ActivationEvent::Service { service, unit, state, detail })
        };
        if let Err(error) = one(&paths, service, check, &others, well.contains(check), &mut tell) {
            return Ok((restarted, Some(error)));
        }
        restarted.push(check.unit.clone());
    }
    Ok((restarted, None))
}

fn is_well(check: &Check) -> Result<bool> {
    let states = systemd::states(std::slice::from_ref(&check.unit))?;
    let state = states.get(&check.unit).cloned().unwrap_or_default();
    Ok(status::replica(check, &state).health == Health::Healthy)
}

fn one(
    paths: &Paths,
    service: &Service,
    check: &Check,
    others: &[&Check],
    well: bool,
    tell: &mut dyn FnMut(ServiceState, Option<String>) -> bool,
) -> Result<()> {
    if well && !others.is_empty() && !any(others)? {
        return Err(Fault {
            message: format!(
                "{} is left as it is: no other replica of {} answers meanwhile",
                check.unit, check.service
            ),
            advice: Some("`deploy logs` says what the others lack; restart again when one of them is well".to_owned()),
            service: Some(check.service.to_string()),
            unit: Some(check.unit.to_string()),
            ..Fault::default()
        }
        .into());
    }
    let nobody_listens = || Fault::new(format!("{} is left as it is: the connection is lost", check.unit));
    if !tell(ServiceState::Draining, None) {
        return Err(nobody_listens().into());
    }
    let replica = service.replicas.iter().find(|replica| replica.unit == check.unit);
    let socket = replica.and_then(|replica| replica.socket.as_ref()).filter(|_| !others.is_empty());
    let socket = socket.map(|socket| paths.instance_dir(&check.service, &service.instance).join(socket));
    let before = pid(&check.unit)?;
    let mut hidden = socket.map(Hidden::hide).transpose()?.flatten();
    if let (Some(hidden), Some(pid)) = (&hidden, before) {
        let listener = Listener { pid, socket: hidden.moved.clone() };
        drain::wait_until_empty(&[listener], service.drain.duration().max(Duration::from_secs(1)));
    }
    let restarted = systemd::restart(std::slice::from_ref(&check.unit));
    if let Some(hidden) = &mut hidden {
        // If it still runs as before, it gets its name back.
        hidden.give_back = restarted.is_err() && before.is_some() && pid(&check.unit).ok() == Some(before);
    }
    drop(hidden);
    restarted.map_err(|error| not_started(check, &error))?;
    // What it is told by now changes nothing: it is waited for in any case.
    tell(ServiceState::Started, None);
    wait::wait(std::slice::from_ref(check), |_, answer| {
        tell(ServiceState::Healthy, Some(answer.to_owned()));
    })
}

fn any(checks: &[&Check]) -> Result<bool> {
    for check in checks {
        if is_well(check)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn pid(unit: &UnitName) -> Result<Option<i32>> {
    Ok(systemd::states(std::slice::from_ref(unit))?.get(unit).and_then(|state| state.main_pid))
}

fn not_started(check: &Check, error: &AgentError) -> AgentError {
    let states = systemd::states(std::slice::from_ref(&check.unit)).unwrap_or_default();
    let how = states.get(&check.unit).map_or_else(String::new, |s| format!(": it is {} ({})", s.describe(), s.result));
    Fault {
        message: format!("{} does not start again{how}", check.unit),
        advice: Some("the unit's last lines say why".to_owned()),
        service: Some(check.service.to_string()),
        unit: Some(check.unit.to_string()),
        log: systemd::last_lines(check.unit.as_str(), LOG_LINES),
        health: Some(error.to_string()),
    }
    .into()
}

/// A socket that nobody finds under its name.
struct Hidden {
    socket: PathBuf,
    moved: PathBuf,
    give_back: bool,
}

impl Hidden {
    /// `None` if there is no socket.
    fn hide(socket: PathBuf) -> Result<Option<Self>> {
        let moved = socket.with_extension("hidden");
        match fs::rename(&socket, &moved) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(file("cannot rename", &socket))?,
        }
        let hidden = Self { socket, moved, give_back: true };
        // Servers remove their socket when they end, and some stumble when it is gone. Who connects
        // to a file is refused; who may not write to it would be told something else.
        let placed = fs::write(&hidden.socket, "");
        let placed = placed.and_then(|()| fs::set_permissions(&hidden.socket, Permissions::from_mode(0o666)));
        placed.map_err(file("cannot write", &hidden.socket))?;
        Ok(Some(hidden))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = if self.give_back { fs::rename(&self.moved, &self.socket) } else { fs::remove_file(&self.moved) };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn a_hidden_socket_refuses_and_takes_what_had_come_before() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("1.sock");
        assert!(Hidden::hide(path.clone()).unwrap().is_none());
        let listener = UnixListener::bind(&path).unwrap();
        let _early = UnixStream::connect(&path).unwrap();
        let hidden = Hidden::hide(path.clone()).unwrap().unwrap();
        assert_eq!(UnixStream::connect(&path).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        listener.accept().unwrap();
        drop(hidden);
        UnixStream::connect(&path).unwrap();

        let mut hidden = Hidden::hide(path.clone()).unwrap().unwrap();
        hidden.give_back = false;
        drop(hidden);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "the placeholder, which the server removes");
    }
}
