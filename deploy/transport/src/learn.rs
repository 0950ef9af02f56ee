//! Asks a host for its key, for a person to compare and pin. Nobody is logged in: the key comes with
//! the handshake, before any password or key of ours is shown, and by the same way (jump hosts, the
//! user's configuration) that later connections take.

use std::fs;
use std::process::{Command, Stdio};

use crate::fault;
use crate::limits::TimeLimit;
use crate::pipe::Pipe;
use crate::session::Options;
use crate::ssh::{self, HostKey, Target};
use crate::{SshFault, TransportError};

/// What the host at that address shows now: its key, and the key's fingerprint (`SHA256:…`).
pub fn learn_host_key(target: &Target, options: &Options) -> Result<(HostKey, String), TransportError> {
    let folder = tempfile::Builder::new().prefix("cairn-ssh.").tempdir().map_err(TransportError::Local)?;
    let learnt = folder.path().join("known_hosts");
    let mut command = Command::new(&options.ssh);
    command.env("LC_ALL", "C").args(ssh::learning(target, &learnt, options.connect_timeout));
    let no_ssh = |source| TransportError::NoSsh { program: options.ssh.clone(), source };
    let mut pipe = Pipe::start(command, &target.name).map_err(no_ssh)?;
    let limit = options.connect_timeout + options.start_timeout;
    pipe.limit_time(TimeLimit { silence: Some(limit), total: Some(options.limits.question) });
    pipe.skip_output();
    let (status, stderr) = pipe.end();
    let text = fs::read_to_string(&learnt).unwrap_or_default();
    let Some((_, key)) = text.lines().next().and_then(|line| line.split_once(' ')) else {
        let fault = match pipe.fired() {
            Some(fired) => SshFault::of(fired),
            None => fault::classify(status.and_then(|status| status.code()), &stderr, None),
        };
        return Err(TransportError::Ssh { host: target.name.clone(), address: target.address.clone(), fault });
    };
    Ok((HostKey::parse(key)?, fingerprint(&learnt)?))
}

/// As `ssh-keygen -l` prints it: bits, fingerprint, comment, kind.
fn fingerprint(file: &std::path::Path) -> Result<String, TransportError> {
    let output = Command::new("ssh-keygen").arg("-lf").arg(file).stdin(Stdio::null()).output();
    let output = output.map_err(|source| TransportError::NoSsh { program: "ssh-keygen".into(), source })?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let word = text.split_ascii_whitespace().find(|word| word.starts_with("SHA256:"));
    word.map(str::to_owned).ok_or_else(|| TransportError::HostKeyForm { value: text.trim().to_owned() })
}
