//! A session: the conversation with the agent of one host over one connection.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use cairn_protocol::frame::{self, FrameError, Kind};
use cairn_protocol::{Event, Hello, Request, Response, VERSION};

use crate::bootstrap::{self, Opening};
use crate::limits::{Bound, Limits, TimeLimit};
use crate::pipe::Pipe;
use crate::ssh::{self, Agent, Target};
use crate::{SshFault, TransportError};
use crate::{crowd, fault, luggage};

/// How sessions are opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// The `ssh` to run.
    pub ssh: PathBuf,
    /// Time for the TCP connection and the handshake.
    pub connect_timeout: Duration,
    /// How long the host may be silent from then on until the agent speaks: login, sudo, the start.
    pub start_timeout: Duration,
    /// A folder of pinned host keys, for `ssh` to read.
    pub keys: PathBuf,
    /// `ssh` is no part of this program's process group: Ctrl-C is for us, who then end in order.
    pub apart: bool,
    /// What requests may take, and hosts answer.
    pub limits: Limits,
}

impl Options {
    /// The system's `ssh`, with pinned host keys in the folder `keys`.
    pub fn new(keys: PathBuf) -> Self {
        Self {
            ssh: "ssh".into(),
            keys,
            connect_timeout: Duration::from_secs(10),
            start_timeout: Duration::from_secs(60),
            apart: false,
            limits: Limits::default(),
        }
    }
}

/// A conversation with the agent of one host. Dropping it closes the connection; what runs on the
/// host by then (an activation) goes on.
pub struct Session {
    pipe: Pipe,
    hello: Hello,
    bootstrapped: bool,
    bytes_before: u64,
    limits: Limits,
}

impl Session {
    /// Connects to `target` and starts `agent` there, sending it along if the host lacks it.
    pub fn open(target: &Target, agent: &Agent, options: &Options) -> Result<Self, TransportError> {
        crowd::patiently(&target.name, || Self::try_open(target, agent, options))
    }

    fn try_open(target: &Target, agent: &Agent, options: &Options) -> Result<Self, TransportError> {
        let file_error = |source| TransportError::AgentFile { file: agent.file.clone(), source };
        let size = std::fs::metadata(&agent.file).map_err(file_error)?.len();
        let remote = bootstrap::remote_command(&agent.store_path, size);
        let mut command = ssh::conversation(options, target, &remote)?;
        if options.apart {
            command.process_group(0);
        }
        let mut pipe = Pipe::start(command, &target.name)
            .map_err(|source| TransportError::NoSsh { program: options.ssh.clone(), source })?;
        let total = Some(options.limits.opening);
        pipe.limit_time(TimeLimit { silence: Some(options.connect_timeout + options.start_timeout), total });
        let pinned = target.host_key.as_ref().map(ToString::to_string);
        let mut bootstrapped = false;
        loop {
            let (line, noise) = bootstrap::read_opening(&mut pipe.from).map_err(TransportError::Local)?;
            match line {
                Some(Opening::Serving) => break,
                Some(Opening::NeedsAgent { machine, gzip, has }) if !bootstrapped => {
                    if machine != agent.platform.machine() {
                        let (host, agent) = (target.name.clone(), agent.platform.to_string());
                        return Err(TransportError::WrongPlatform { host, machine, agent });
                    }
                    let program = luggage::program(&agent.file, gzip).map_err(file_error)?;
                    // That the host does not take it shows at the next line it prints, with its reason.
                    let _ = send_agent(&mut pipe, &program, has);
                    bootstrapped = true;
                    // What is in the buffers on the way takes its time on a slow line.
                    pipe.limit_time(TimeLimit { silence: Some(options.limits.copy), total });
                }
                _ => {
                    let fault = opening_fault(&mut pipe, &noise, pinned.as_deref());
                    return Err(TransportError::Ssh {
                        host: target.name.clone(),
                        address: target.address.clone(),
                        fault,
                    });
                }
            }
        }
        Self::greet(pipe, bootstrapped, &options.limits)
    }

    /// Runs `command` and speaks with the agent on its standard input and output: the agent of
    /// this machine, or a test's.
    pub fn spawn(command: Command, name: &str) -> Result<Self, TransportError> {
        Self::spawn_within(command, name, &Limits::default())
    }

    /// As [`Session::spawn`], with these limits.
    pub fn spawn_within(command: Command, name: &str, limits: &Limits) -> Result<Self, TransportError> {
        let program = PathBuf::from(command.get_program());
        let mut pipe = Pipe::start(command, name).map_err(|source| TransportError::NoSsh { program, source })?;
        pipe.limit_time(TimeLimit { silence: Some(limits.question), total: Some(limits.opening) });
        let (line, noise) = bootstrap::read_opening(&mut pipe.from).map_err(TransportError::Local)?;
        if line != Some(Opening::Serving) {
            let fault = opening_fault(&mut pipe, &noise, None);
            return Err(TransportError::Ssh { host: name.to_owned(), address: "local".to_owned(), fault });
        }
        Self::greet(pipe, false, limits)
    }

    fn greet(mut pipe: Pipe, bootstrapped: bool, limits: &Limits) -> Result<Self, TransportError> {
        let hello = frame::read_message::<Hello>(&mut pipe.from, Kind::Hello);
        let hello = hello.map_err(|e| pipe.lost("the agent started", &e))?;
        if hello.version != VERSION {
            return Err(TransportError::Version { host: pipe.host.clone(), ours: VERSION, theirs: hello.version });
        }
        pipe.limit_time(TimeLimit::default());
        let bytes_before = pipe.bytes_sent();
        Ok(Self { pipe, hello, bootstrapped, bytes_before, limits: limits.clone() })
    }

    /// The host's name in the project.
    pub fn host(&self) -> &str {
        &self.pipe.host
    }

    /// What the agent said first.
    pub const fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Whether the agent had to be sent.
    pub const fn bootstrapped(&self) -> bool {
        self.bootstrapped
    }

    /// Process id of the `ssh` below.
    pub fn process(&self) -> u32 {
        self.pipe.process()
    }

    /// Bytes written to the host since the agent spoke: after our compression, before that of SSH.
    pub fn bytes_sent(&self) -> u64 {
        self.pipe.bytes_sent().saturating_sub(self.bytes_before)
    }

    /// Asks and waits for the response; events on the way are passed to `on_event`. A response
    /// that reports a failure is an error, and so is a host that goes beyond the [`Limits`] of the
    /// request. The time that `on_event` takes is not the host's.
    pub fn request(&mut self, request: &Request, on_event: &mut dyn FnMut(Event)) -> Result<Response, TransportError> {
        let bound = self.limits.of(request);
        let before = self.pipe.limit_time(bound.time);
        let during = format!("it worked on the request `{}`", bound.request);
        let response = self.send(request).and_then(|()| self.response(&during, &bound, on_event));
        self.pipe.limit_time(before);
        response
    }

    /// What a copy may take.
    pub(crate) const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// From here on the session is lost when one of these limits is reached.
    pub(crate) fn limit_time(&mut self, limit: TimeLimit) {
        self.pipe.limit_time(limit);
    }

    /// Asks and does not wait.
    pub(crate) fn send(&mut self, request: &Request) -> Result<(), TransportError> {
        let sent = match self.pipe.writer() {
            Ok(mut to) => frame::write_message(&mut to, Kind::Request, request),
            Err(e) => Err(e.into()),
        };
        sent.map_err(|e| self.broken_write("a request was sent", &e))
    }

    /// Waits for the response to what was sent.
    pub(crate) fn response(
        &mut self,
        during: &str,
        bound: &Bound,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<Response, TransportError> {
        let (mut events, mut bytes, mut payload) = (0, 0, Vec::new());
        loop {
            let read = frame::read_into(&mut self.pipe.from, &mut payload);
            bytes += payload.len() as u64;
            if read.is_ok() && bytes > bound.bytes {
                return Err(self.too_much(bound, format!("{} bytes", bound.bytes)));
            }
            match read.and_then(|kind| Incoming::parse(kind, &payload)) {
                Ok(Incoming::Event(_)) if events == bound.events => {
                    let what = if bound.request == "logs" { "lines" } else { "events" };
                    return Err(self.too_much(bound, format!("{events} {what}")));
                }
                Ok(Incoming::Event(event)) => {
                    events += 1;
                    self.pipe.pausing(|| on_event(event));
                }
                Ok(Incoming::Response(Response::Failed { failure })) => {
                    return Err(self.refused(failure));
                }
                Ok(Incoming::Response(response)) => return Ok(response),
                Err(error) => return Err(self.pipe.lost(during, &error)),
            }
        }
    }

    /// Closes the connection to a host that sends more than it may.
    fn too_much(&mut self, bound: &Bound, limit: String) -> TransportError {
        self.pipe.abort();
        TransportError::TooMuch { host: self.pipe.host.clone(), request: bound.request, limit, advice: bound.advice }
    }

    /// Reads the data stream that answers what was sent, unless a response comes in its place.
    pub(crate) fn data<T>(
        &mut self,
        during: &str,
        read: impl FnOnce(&mut dyn Read) -> io::Result<T>,
    ) -> Result<T, TransportError> {
        let mut first = Vec::new();
        match frame::read_into(&mut self.pipe.from, &mut first) {
            Ok(Kind::Data) => {}
            Ok(kind) => {
                return Err(match Incoming::parse(kind, &first) {
                    Ok(Incoming::Response(Response::Failed { failure })) => self.refused(failure),
                    Ok(Incoming::Response(other)) => self.unexpected(&other),
                    Ok(Incoming::Event(event)) => self.protocol(format!("an event in place of data: {event:?}")),
                    Err(error) => self.pipe.lost(during, &error),
                });
            }
            Err(error) => return Err(self.pipe.lost(during, &error)),
        }
        let mut data = frame::DataReader::resume(&mut self.pipe.from, first);
        // Behind the answer must be the stream's end, which is not looked for through an endless one.
        let value = read(&mut data).and_then(|value| match data.read(&mut [0])? {
            0 => Ok(value),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "more data than the answer has")),
        });
        value.map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => self.protocol(error.to_string()),
            _ => self.pipe.lost(during, &FrameError::Broken(error)),
        })
    }

    /// Writes a data stream.
    pub(crate) fn write_data<T>(
        &mut self,
        during: &str,
        write: impl FnOnce(&mut dyn Write) -> Result<T, WriteFault>,
    ) -> Result<T, TransportError> {
        let written = self.pipe.writer().map_err(WriteFault::Connection).and_then(|to| {
            let mut data = frame::DataWriter::new(to);
            let value = write(&mut data)?;
            data.finish().map_err(WriteFault::Connection)?;
            Ok(value)
        });
        written.map_err(|fault| match fault {
            WriteFault::Connection(e) => self.broken_write(during, &FrameError::Broken(e)),
            WriteFault::Other(e) => e,
        })
    }

    /// After a failed write: the agent may have said why before it closed the connection.
    fn broken_write(&mut self, during: &str, error: &FrameError) -> TransportError {
        if matches!(error, FrameError::Broken(_)) {
            let bound = self.limits.of(&Request::StillHere);
            self.pipe.limit_time(bound.time);
            match self.response(during, &bound, &mut |_| ()) {
                Err(said) => return said,
                Ok(response) => return self.unexpected(&response),
            }
        }
        self.pipe.lost(during, error)
    }

    fn refused(&self, failure: cairn_protocol::Failure) -> TransportError {
        TransportError::Refused { host: self.pipe.host.clone(), failure: Box::new(failure) }
    }

    /// A response of another kind than the request asks for.
    pub(crate) fn unexpected(&self, response: &Response) -> TransportError {
        self.protocol(format!("an answer to another question: {response:?}"))
    }

    fn protocol(&self, detail: String) -> TransportError {
        TransportError::Protocol { host: self.pipe.host.clone(), detail: detail.chars().take(200).collect() }
    }

    /// Ends the conversation and waits for the connection to close.
    pub fn close(mut self) {
        self.pipe.end();
    }
}

/// Why a data stream could not be written: the connection, or what feeds the stream.
pub(crate) enum WriteFault {
    Connection(io::Error),
    Other(TransportError),
}

impl From<io::Error> for WriteFault {
    fn from(error: io::Error) -> Self {
        Self::Connection(error)
    }
}

enum Incoming {
    Event(Event),
    Response(Response),
}

impl Incoming {
    fn parse(kind: Kind, payload: &[u8]) -> Result<Self, FrameError> {
        match kind {
            Kind::Event => frame::parse(kind, payload).map(Self::Event),
            Kind::Response => frame::parse(kind, payload).map(Self::Response),
            got => Err(FrameError::Unexpected { expected: Kind::Response, got }),
        }
    }
}

/// Sends what the host lacks of it.
fn send_agent(pipe: &mut Pipe, program: &[u8], has: usize) -> io::Result<()> {
    let (rest, after) = program.get(has..).map_or((program, 0), |rest| (rest, has));
    let to = pipe.writer()?;
    to.write_all(bootstrap::announcement(rest.len(), after).as_bytes())?;
    to.write_all(rest)?;
    to.flush()
}

/// Why the stream ended before the agent spoke.
fn opening_fault(pipe: &mut Pipe, noise: &str, pinned: Option<&str>) -> SshFault {
    let (status, stderr) = pipe.end();
    if let Some(fired) = pipe.fired() {
        return SshFault::of(fired);
    }
    match fault::classify(status.and_then(|s| s.code()), &stderr, pinned) {
        SshFault::Other { status, detail } if detail.is_empty() && !noise.is_empty() => {
            let last = noise.lines().last().unwrap_or_default().chars().take(200).collect();
            SshFault::Other { status, detail: last }
        }
        fault => fault,
    }
}
