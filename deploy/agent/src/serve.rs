//! The conversation with a client: requests in, events and responses out.
//!
//! The agent says hello first and unasked. A connection that breaks ends this process and nothing
//! else: an activation runs in a transient unit of its own, whose event file is only read here.

use std::cell::{Cell, OnceCell};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use cairn_closure::HostName;
use cairn_formats::{Platform, StorePath};
use cairn_protocol::frame::{self, FrameError, Kind};
use cairn_protocol::{
    ActivationEvent, ActivationId, ActivationRequest, AdoptRequest, Event, Failure, FailureKind, Generation, Goal,
    Hello, HostSummary, Outcome, PREAMBLE, Request, Response, RestartReport, RestartRequest, Stamped, Step, SwitchEnd,
    VERSION,
};
use cairn_store::Store;
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::activation::Holder;
use crate::error::AgentError;
use crate::paths::Paths;
use crate::{
    activation, adopted, arrive, collect, examine, generations, history, host_record, install, logs, maintenance,
    output, private, reading, receive, restart, secrets, status, uninstall, unlock,
};

/// A store of no more paths is announced in full; 5,000 names take 0.3 MiB.
const ANNOUNCED: usize = 5_000;

/// Why a conversation ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("{0}")]
    Connection(#[from] FrameError),
    #[error("cannot open the store: {0}")]
    Store(#[from] cairn_store::StoreError),
    #[error("{0}")]
    Agent(#[from] AgentError),
}

/// Serves the host below `root` on standard input and output until the client is done. One that
/// `arrived` over the connection takes its place in the store, if there is one.
pub fn serve(root: &Path, arrived: bool) -> Result<(), ServeError> {
    private::correct(&Paths::new(root));
    let patience = Cell::new(None);
    let stdin = io::stdin();
    let from = BufReader::with_capacity(64 << 10, Patient { from: stdin.as_fd(), patience: &patience });
    let to = BufWriter::with_capacity(64 << 10, io::stdout().lock());
    converse(&Paths::new(root), arrived, &patience, from, to)
}

/// Standard input, past the buffer of the standard library; waits for the client no longer than that.
struct Patient<'a> {
    from: BorrowedFd<'a>,
    patience: &'a Cell<Option<Duration>>,
}

impl Read for Patient<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(patience) = self.patience.get() {
            let limit = Timespec::try_from(patience).map_err(io::Error::other)?;
            let mut ready = [PollFd::from_borrowed_fd(self.from, PollFlags::IN)];
            if rustix::event::poll(&mut ready, Some(&limit))? == 0 {
                let why = format!("the client has not been heard of for {} s", patience.as_secs());
                return Err(io::Error::new(io::ErrorKind::TimedOut, why));
            }
        }
        Ok(rustix::io::read(self.from, buffer)?)
    }
}

/// The host's store, made when something first needs it: who only looks at a host leaves nothing.
struct Opened {
    paths: Paths,
    arrived: bool,
    store: OnceCell<Store>,
}

impl Opened {
    fn new(paths: &Paths, arrived: bool) -> Result<Self, ServeError> {
        let opened = Self { paths: paths.clone(), arrived, store: OnceCell::new() };
        if paths.has_store() {
            opened.get()?;
        }
        Ok(opened)
    }

    fn get(&self) -> Result<&Store, ServeError> {
        if let Some(store) = self.store.get() {
            return Ok(store);
        }
        host_record::note(&self.paths)?;
        let store = Store::open(self.paths.root())?;
        if self.arrived
            && let Err(error) = arrive::settle(&store)
        {
            // It serves all the same, and comes again next time.
            output::warn(&format!("cairn-agent: it has no place in the store: {error}"));
        }
        Ok(self.store.get_or_init(|| store))
    }
}

/// Serves one client, for whom it waits as `patience` says.
fn converse(
    paths: &Paths,
    arrived: bool,
    patience: &Cell<Option<Duration>>,
    mut from: impl Read,
    mut to: impl Write,
) -> Result<(), ServeError> {
    let store = &Opened::new(paths, arrived)?;
    let hello = hello(paths, store.store.get())?;
    to.write_all(PREAMBLE.as_bytes()).map_err(FrameError::from)?;
    frame::write_message(&mut to, Kind::Hello, &hello)?;
    let mut server =
        Server { store, announced: hello.valid, from: &mut from, to: &mut to, fleets: Vec::new(), patience };
    loop {
        let request = match frame::read_message::<Request>(server.from, Kind::Request) {
            Ok(request) => request,
            Err(FrameError::Ended) => return Ok(()),
            Err(error) => {
                let failure = Failure::new(cairn_protocol::FailureKind::Malformed, error.to_string());
                let _ = server.respond(&Response::Failed { failure });
                return Err(error.into());
            }
        };
        match server.answer(request) {
            Ok(response) => server.respond(&response)?,
            Err(Stop::Failed(failure)) => server.respond(&Response::Failed { failure: *failure })?,
            Err(Stop::Broken(failure)) => {
                // The client may be in the middle of sending: it reads this when it cannot go on.
                return Ok(server.respond(&Response::Failed { failure: *failure })?);
            }
            Err(Stop::Connection(error)) => return Err(error.into()),
        }
    }
}

/// Why a request has no good answer.
enum Stop {
    /// The session goes on.
    Failed(Box<Failure>),
    /// The session cannot go on.
    Broken(Box<Failure>),
    Connection(FrameError),
}

impl From<AgentError> for Stop {
    fn from(error: AgentError) -> Self {
        Self::Failed(Box::new(error.into()))
    }
}

impl From<ServeError> for Stop {
    fn from(error: ServeError) -> Self {
        match error {
            ServeError::Connection(error) => Self::Connection(error),
            ServeError::Store(error) => error.into(),
            ServeError::Agent(error) => error.into(),
        }
    }
}

impl From<cairn_store::StoreError> for Stop {
    fn from(error: cairn_store::StoreError) -> Self {
        Self::Failed(Box::new(Failure::other(error.to_string())))
    }
}

impl From<FrameError> for Stop {
    fn from(error: FrameError) -> Self {
        Self::Connection(error)
    }
}

struct Server<'a, R, W> {
    store: &'a Opened,
    announced: Vec<StorePath>,
    from: &'a mut R,
    to: &'a mut W,
    /// Held for the client; they fall when it goes.
    fleets: Vec<activation::Lock>,
    patience: &'a Cell<Option<Duration>>,
}

impl<R: Read, W: Write> Server<'_, R, W> {
    fn respond(&mut self, response: &Response) -> Result<(), FrameError> {
        frame::write_message(self.to, Kind::Response, response)
    }

    fn answer(&mut self, request: Request) -> Result<Response, Stop> {
        match request {
            Request::Missing { paths } => self.missing(paths),
            Request::Copy(request) => {
                let copied = receive::receive(self.store.get()?, &request, &self.announced, self.from, self.to);
                match copied {
                    Ok(result) => Ok(Response::Copied(result)),
                    Err(stopped) if stopped.in_sync => Err(Stop::Failed(Box::new(stopped.error.into()))),
                    Err(stopped) => Err(Stop::Broken(Box::new(stopped.error.into()))),
                }
            }
            Request::KeepSecrets { secrets } => {
                // What the host was is noted before anything of ours lies there.
                self.store.get()?;
                secrets::keep(&self.store.paths, &secrets)?;
                Ok(Response::Kept)
            }
            Request::HoldFleet { fleet, operator, purpose, reason, silence } => {
                let fleet = HostName::parse(&fleet)
                    .map_err(|e| Stop::Failed(Box::new(Failure::new(FailureKind::Malformed, e.to_string()))))?;
                let holder = Holder { reason, ..Holder::now(&operator, &purpose) };
                self.store.get()?;
                let lock = activation::Lock::take_fleet(&self.store.paths, &fleet, &holder)?;
                self.fleets.push(lock);
                self.patience.set(Some(Duration::from_secs(silence.into())));
                Ok(Response::Held)
            }
            Request::StillHere => Ok(Response::Held),
            Request::Switch(request) => self.activate(&request),
            Request::Rollback { to, operator, reason, confirm_within } => {
                let target = generations::rollback_target(self.store.get()?, to)?;
                let goal = Goal::Rollback { to: target.number };
                self.activate(&ActivationRequest {
                    closure: target.closure,
                    goal,
                    operator,
                    reason,
                    confirm_within,
                    source: None,
                    expected: None,
                    retention: None,
                })
            }
            Request::Confirm { id, operator } => {
                activation::confirm(&id, &operator)?;
                self.follow(id, Until::Ended)
            }
            Request::Follow { id } => self.follow(id, Until::Waiting),
            Request::Revert { id } => {
                activation::give_up(&id)?;
                self.follow(id, Until::Ended)
            }
            Request::Generations => Ok(Response::Generations { generations: generations::list(self.store.get()?)? }),
            Request::Status => Ok(Response::Status { status: status::report(self.store.get()?)? }),
            Request::History { limit } => Ok(Response::History { attempts: history::list(self.store.get()?, limit)? }),
            Request::Read(wanted) => Ok(Response::Read { texts: reading::read(self.store.get()?, &wanted)? }),
            Request::Pin { number, pinned, operator } => Ok(Response::Generations {
                generations: generations::pin(self.store.get()?, number, pinned, &operator)?,
            }),
            Request::Collect { retention, dry_run, operator } => {
                Ok(Response::Collected(collect::on_request(self.store.get()?, retention, dry_run, &operator)?))
            }
            Request::Lock => Ok(Response::Lock { holder: unlock::look(&self.store.paths)? }),
            Request::Unlock { operator } => match unlock::end(&self.store.paths, &operator)? {
                Some(id) => self.follow(id, Until::Ended),
                None => Ok(Response::Unlocked),
            },
            Request::Logs(request) => {
                for line in logs::lines(&self.store.paths, &request)? {
                    frame::write_message(self.to, Kind::Event, &Event::Log(line?))?;
                }
                Ok(Response::Logged)
            }
            Request::Restart(request) => self.restart(&request),
            Request::Maintenance(request) => {
                let services = maintenance::answer(&self.store.paths, &request)?;
                Ok(Response::Maintenance { services })
            }
            Request::Examine(request) => {
                Ok(Response::Examined(examine::run(&self.store.paths, self.store.store.get(), &request)?))
            }
            Request::Install { agent, operator } => {
                Ok(Response::Installed { steps: install::run(self.store.get()?, &agent, &operator)? })
            }
            Request::Adopt(request) => self.adopt(&request),
            Request::Uninstall(request) => {
                Ok(Response::Uninstalled(uninstall::run(&self.store.paths, self.store.store.get(), &request)?))
            }
        }
    }

    fn adopt(&self, request: &AdoptRequest) -> Result<Response, Stop> {
        let paths = &self.store.paths;
        if request.paths.is_empty() && request.units.is_empty() {
            return Ok(Response::Adopted(adopted::list(paths)?));
        }
        let holder = Holder::now(&request.operator, "an adoption");
        let _lock = activation::lock(self.store.get()?, paths, &holder)?;
        Ok(Response::Adopted(adopted::adopt(paths, request)?))
    }

    /// Goes on to the end of a replica when the client is gone.
    fn restart(&mut self, request: &RestartRequest) -> Result<Response, Stop> {
        let to = &mut *self.to;
        let (restarted, stopped) = restart::run(self.store.get()?, request, &mut |event| {
            let line = Stamped { at: activation::record::milliseconds(), event };
            frame::write_message(to, Kind::Event, &Event::Progress { line }).is_ok()
        })?;
        let restarted = restarted.iter().map(ToString::to_string).collect();
        let problem = stopped.map(|error| error.into_problem(Step::Start));
        Ok(Response::Restarted(RestartReport { restarted, problem }))
    }

    fn missing(&self, paths: Vec<StorePath>) -> Result<Response, Stop> {
        let mut missing = Vec::new();
        for path in paths {
            if !self.store.get()?.is_valid(&path)? {
                missing.push(path);
            }
        }
        Ok(Response::Missing { paths: missing })
    }

    fn activate(&mut self, request: &ActivationRequest) -> Result<Response, Stop> {
        let started = activation::start(self.store.get()?, request)?;
        if let Some(generation) = started.unchanged {
            let end = SwitchEnd::Ended(Outcome::Unchanged { generation });
            return Ok(Response::Switch { id: started.id, end });
        }
        self.follow(started.id, Until::Waiting)
    }

    /// Forwards events until the activation has ended or, if so asked, waits for confirmation.
    fn follow(&mut self, id: ActivationId, until: Until) -> Result<Response, Stop> {
        for line in activation::events(&id)? {
            let line = line?;
            let end = match &line.event {
                ActivationEvent::Ended { outcome } => Some(SwitchEnd::Ended(outcome.clone())),
                ActivationEvent::AwaitingConfirmation { seconds } if until == Until::Waiting => {
                    Some(SwitchEnd::AwaitingConfirmation { seconds: *seconds })
                }
                _ => None,
            };
            let event = Event::Activation { id: id.clone(), line };
            frame::write_message(self.to, Kind::Event, &event)?;
            if let Some(end) = end {
                return Ok(Response::Switch { id, end });
            }
        }
        let message = format!("the events of activation {id} end without an outcome");
        let failure = Failure::other(message).advice("`deploy status HOST` shows what is live");
        Err(Stop::Failed(Box::new(failure)))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    Waiting,
    Ended,
}

fn hello(paths: &Paths, store: Option<&Store>) -> Result<Hello, ServeError> {
    let generations = store.map_or(Ok(Vec::new()), generations::list)?;
    let current = generations.iter().find(|generation| generation.current).cloned();
    let announced = store.map(|store| announced(store, current.as_ref(), &generations)).transpose()?;
    // There is nothing where there is no store.
    let (valid, all_valid) = announced.unwrap_or((Vec::new(), true));
    let store_dir = paths.at("/nix/store");
    let nearest = store_dir.ancestors().find(|folder| folder.is_dir()).unwrap_or(paths.root());
    Ok(Hello {
        version: VERSION,
        agent: env!("CARGO_PKG_VERSION").to_owned(),
        platform: Platform::native(),
        free_bytes: receive::free_bytes(nearest),
        current,
        valid,
        all_valid,
        secrets: secrets::kept(paths),
        host_key: secrets::public_key(paths),
        host: host_summary(),
    })
}

/// The paths to announce, those of the current generation first, and whether these are all.
fn announced(
    store: &Store,
    current: Option<&Generation>,
    generations: &[Generation],
) -> Result<(Vec<StorePath>, bool), ServeError> {
    let mut paths = match current {
        Some(current) => store.closure(std::slice::from_ref(&current.closure))?,
        None => Vec::new(),
    };
    let all = store.valid_paths()?;
    let all_valid = all.len() <= ANNOUNCED;
    let others = if all_valid {
        all
    } else {
        let roots: Vec<StorePath> = generations.iter().map(|generation| generation.closure.clone()).collect();
        store.closure(&roots)?
    };
    let known: std::collections::HashSet<StorePath> = paths.iter().cloned().collect();
    paths.extend(others.into_iter().filter(|path| !known.contains(path)));
    Ok((paths, all_valid))
}

fn host_summary() -> HostSummary {
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    let uptime = read("/proc/uptime");
    HostSummary {
        hostname: read("/proc/sys/kernel/hostname").trim().to_owned(),
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        systemd: Path::new("/run/systemd/system").is_dir(),
        uptime_seconds: uptime.split('.').next().and_then(|seconds| seconds.parse().ok()).unwrap_or(0),
        activation: activation::under_way(),
    }
}

/// Removes the private directory that the bootstrap script put this program in, and only such a
/// directory: a program in the store stays where it is.
pub fn remove_self(program: &Path) {
    let Some(dir) = program.parent() else { return };
    if dir.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"cairn-agent.")) {
        let _ = std::fs::remove_file(program);
        let _ = std::fs::remove_dir(dir);
    }
}
