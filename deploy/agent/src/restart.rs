//! Restarts a service's replicas, one after the other.
//!
//! A replica that others stand beside is taken out of the traffic first: its socket's name is given
//! to something that nobody can connect to, so that whoever asks goes on to the next replica at
//! once; then the connections that wait in its backlog are let in, and it finishes its requests and
//! ends. Those that are ill come first, so that a healthy one only goes while another answers. The
//! first that does not come up again stops the restart.

use std::time::Duration;

use cairn_closure::{Service, UnitName};
use cairn_protocol::{ActivationEvent, Health, RestartRequest, ServiceState};
use cairn_store::Store;

use crate::activation::{self, Holder};
use crate::drain::{self, Listener};
use crate::error::{AgentError, Fault, Result};
use crate::folder::{FileId, Folder};
use crate::health::{self, Check, Via, wait};
use crate::paths::Paths;
use crate::{manifests, services, status, systemd};

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
    let folder = services::instance_folder(paths, &check.service, &service.instance)?;
    let before = pid(&check.unit)?;
    let mut hidden = match (folder, socket) {
        (Some(folder), Some(socket)) => Hidden::hide(folder, socket)?,
        _ => None,
    };
    if let (Some(hidden), Some(pid)) = (&hidden, before) {
        let listener = Listener { pid, socket: hidden.id };
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

/// A socket that no client finds under its name.
struct Hidden {
    folder: Folder,
    name: String,
    moved: String,
    id: FileId,
    give_back: bool,
}

impl Hidden {
    /// `None` if there is no socket.
    fn hide(folder: Folder, name: &str) -> Result<Option<Self>> {
        let Some(id) = folder.socket(name)? else { return Ok(None) };
        let (name, moved) = (name.to_owned(), format!("{}.hidden", name.trim_end_matches(".sock")));
        folder.rename(&name, &moved)?;
        let hidden = Self { folder, name, moved, id, give_back: true };
        // Servers remove their socket when they end, and some stumble when it is gone. A client that
        // connects to a file is refused; one that may not write to it would get another error.
        hidden.folder.create(&hidden.name, 0o666)?;
        Ok(Some(hidden))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = match self.give_back {
            true => self.folder.rename(&self.moved, &self.name),
            false => self.folder.remove(&self.moved),
        };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::io;
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn a_hidden_socket_refuses_and_takes_what_had_come_before() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("1.sock");
        let hide = || Hidden::hide(Folder::trusted(directory.path()).unwrap(), "1.sock").unwrap();
        assert!(hide().is_none());
        let listener = UnixListener::bind(&path).unwrap();
        let _early = UnixStream::connect(&path).unwrap();
        let hidden = hide().unwrap();
        assert_eq!(UnixStream::connect(&path).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        listener.accept().unwrap();
        drop(hidden);
        UnixStream::connect(&path).unwrap();

        let mut hidden = hide().unwrap();
        hidden.give_back = false;
        drop(hidden);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "the placeholder, which the server removes");
    }

    /// The service renames prepared links over its socket's name as soon as the socket is hidden.
    #[test]
    fn a_service_that_plants_links_while_its_socket_is_hidden_reaches_no_file() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        use std::sync::atomic::{AtomicBool, Ordering};

        let directory = tempfile::tempdir().unwrap();
        let own = directory.path().join("own");
        fs::create_dir(&own).unwrap();
        let victim = directory.path().join("victim");
        fs::write(&victim, "root's own").unwrap();
        fs::set_permissions(&victim, fs::Permissions::from_mode(0o600)).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let link = own.join("link");
                    let _ = symlink(&victim, &link).and_then(|()| fs::rename(&link, own.join("1.sock")));
                }
            });
            // Until the service was fast enough some times, and too slow as well.
            let (mut hidden_ones, mut planted) = (0, 0);
            for _ in 0..100_000 {
                let _ = fs::remove_file(own.join("1.sock"));
                let listener = UnixListener::bind(own.join("1.sock"));
                let hidden = Hidden::hide(Folder::trusted(&own).unwrap(), "1.sock");
                if matches!(hidden, Ok(Some(_))) {
                    hidden_ones += 1;
                    planted += u32::from(own.join("1.sock").is_symlink());
                }
                drop((hidden, listener));
                if hidden_ones >= 300 && planted >= 20 {
                    break;
                }
            }
            done.store(true, Ordering::Relaxed);
            assert!(hidden_ones > 0 && planted > 0, "{hidden_ones} sockets were hidden, {planted} links planted then");
        });
        assert_eq!(fs::read_to_string(&victim).unwrap(), "root's own");
        assert_eq!(fs::metadata(&victim).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
