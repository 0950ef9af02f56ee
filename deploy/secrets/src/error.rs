//! What can go wrong, with file, value and what to do. No variant carries a secret.

use std::io;
use std::path::{Path, PathBuf};

use crate::accepted::NewReader;
use crate::name::SecretName;
use crate::open::OpenError;

/// What helps when a file holds another secret than its name says.
pub(crate) const MISPLACED: &str = "take the file from version control as it was; after a secret was renamed, or a file was written by hand or by an earlier version, set the value anew: `age -d -i YOUR-KEY FILE | deploy secrets set NAME`";

pub type Result<T, E = SecretsError> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },

    #[error(
        "{name:?} cannot be a secret's name\n  help: use 1 to 64 lower-case letters, digits and single hyphens, a letter first"
    )]
    Name { name: String },

    #[error("{}", faults.join("\n"))]
    Index { faults: Vec<String> },

    #[error("this project has no secrets: {} does not exist\n  help: run `deploy secrets init`", file.display())]
    NoIndex { file: PathBuf },

    #[error("{}: there is no secret `{name}`{}\n  help: declare it there as [secrets.{name}], or name the hosts that may read it: `deploy secrets set {name} --host HOST`", file.display(), near.as_ref().map(|n| format!("; did you mean `{n}`?")).unwrap_or_default())]
    Unknown { file: PathBuf, name: SecretName, near: Option<String> },

    #[error("secret `{name}` has no value: {} does not exist\n  help: run `{}`", file.display(), set_command(name, *generated))]
    NoValue { name: SecretName, file: PathBuf, generated: bool },

    #[error("secret `{name}` is made, not typed: {} says `generate = \"{generate}\"`\n  help: make a new value with `deploy secrets set {name} --generate`, or take `generate` out", file.display())]
    Generated { name: SecretName, file: PathBuf, generate: String },

    #[error("{}: secret `{name}` is declared already\n  help: change its `hosts` there, run `deploy secrets rekey {name}`, and leave `--host` out", file.display())]
    Declared { name: SecretName, file: PathBuf },

    #[error("secret `{name}`: {why}")]
    BadValue { name: SecretName, why: &'static str },

    #[error("{}: nobody could read the secret `{name}`: there are no operators\n  help: run `deploy secrets init`, which adds you", file.display())]
    NoOperators { name: SecretName, file: PathBuf },

    #[error("cannot encrypt `{name}`: {reason}")]
    Seal { name: SecretName, reason: String },

    #[error("no identity to decrypt `{name}` with; looked for {}\n  help: name yours with `--identity FILE` or DEPLOY_IDENTITY, or make one with `deploy secrets init`", looked.join(", "))]
    NoIdentity { name: SecretName, looked: Vec<String> },

    #[error("{}: {source}{}", file.display(), open_help(name, source, tried))]
    Open { name: SecretName, file: PathBuf, tried: Vec<String>, source: OpenError },

    #[error("{}: this is not the file of `{name}`: {problem}\n  help: {MISPLACED}", file.display())]
    Misplaced { name: SecretName, file: PathBuf, problem: String },

    #[error("{}: the secrets belong to another project than the last time on this computer: `vault` is {}, and was {before}\n  help: find out who changed that line: with it, files of another project can stand in place of this one's. If it is meant, take `vault` out of {}", index.display(), now.as_deref().unwrap_or("missing"), record.display())]
    OtherVault { index: PathBuf, now: Option<String>, before: String, record: PathBuf },

    #[error("{}: {reason}", file.display())]
    Identity { file: PathBuf, reason: String },

    #[error("{} may be read by others (mode {mode:03o}), and it is a private key\n  help: run `chmod 600 {}`", file.display(), file.display())]
    Exposed { file: PathBuf, mode: u32 },

    #[error(
        "there is no folder for an operator's identity: HOME is not set\n  help: name a file with `--identity FILE`"
    )]
    NoHome,

    #[error("{host:?} cannot be a host's name: use letters, digits, `.`, `_` and `-`, at most 64")]
    HostName { host: String },

    #[error("host `{host}` may not read the secret `{name}`\n  help: add it to [secrets.{name}] hosts in {} and run `deploy secrets rekey {name}`", file.display())]
    NotForHost { host: String, name: SecretName, file: PathBuf },

    #[error("host `{host}` answers with another key than {} names: {answers} instead of {known}\n  help: if the host was made anew, replace the key in [hosts] and run `deploy secrets rekey`; if not, find out who answers", file.display())]
    OtherHostKey { host: String, file: PathBuf, known: String, answers: String },

    #[error("secret `{name}` cannot be given to host `{host}`: nobody here can decrypt it (looked for {}), and the file is not encrypted to the host's own key\n  help: name an operator's identity with `--identity FILE` or DEPLOY_IDENTITY; or let an operator put the key below at [hosts] {host} in {} and run `deploy secrets rekey {name}`\n  {key}", looked.join(", "), file.display())]
    Unreadable { name: SecretName, host: String, looked: Vec<String>, file: PathBuf, key: String },

    #[error("{}: the record of accepted keys cannot be used: {reason}\n  help: remove the file; the next command records the keys anew, and prints them", file.display())]
    Accepted { file: PathBuf, reason: String },

    #[error("nothing was written: these readers are new since the last time on this computer:\n{}\n  help: compare each key with its owner; then `--yes` accepts them (they are recorded in {})", lines(new), record.display())]
    NewReaders { new: Vec<NewReader>, record: PathBuf },

    #[error("nothing was written: the new readers were not accepted\n  help: take them out of {}, and run the command again", file.display())]
    Declined { file: PathBuf },

    #[error("{}: {problem}, so it was not made by deploy here\n  help: values for machines of this computer lie in {}: remove what the repository put there, and run the command again", path.display(), dir.display())]
    NotLocal { path: PathBuf, problem: &'static str, dir: PathBuf },

    #[error("{}: the local value of `{name}` cannot be decrypted any more\n  help: remove the file; another value is made, and services that kept the old one must be set up anew", file.display())]
    LocalLost { name: SecretName, file: PathBuf },

    #[error("this needs a terminal, to ask {what} without showing it\n  help: {help}")]
    NoTerminal { what: String, help: &'static str },

    #[error("interrupted; nothing was changed")]
    Interrupted,

    #[error(
        "there is no file system in RAM for the editor's file: neither /dev/shm nor XDG_RUNTIME_DIR is one\n  help: use `deploy secrets set {name}` instead"
    )]
    NoRam { name: SecretName },

    #[error(
        "the editor `{editor}` {why}; nothing was changed\n  help: set VISUAL or EDITOR to an editor that waits until the file is closed"
    )]
    Editor { editor: String, why: String },
}

fn lines(readers: &[NewReader]) -> String {
    readers.iter().map(|reader| format!("  {reader}")).collect::<Vec<_>>().join("\n")
}

fn set_command(name: &SecretName, generated: bool) -> String {
    format!("deploy secrets set {name}{}", if generated { " --generate" } else { "" })
}

fn open_help(name: &SecretName, source: &OpenError, tried: &[String]) -> String {
    match source {
        OpenError::NotARecipient => format!(
            "; tried {}\n  help: ask an operator to add your public key to [operators] and to run `deploy secrets rekey {name}`",
            tried.join(", ")
        ),
        OpenError::Damaged | OpenError::TooLong => {
            format!("\n  help: take the file from version control again, or run `deploy secrets set {name}`")
        }
        OpenError::HostKey { .. } => String::new(),
        OpenError::OtherSecret { .. } => format!("\n  help: {MISPLACED}"),
    }
}

/// Names the file and what was tried with it.
pub(crate) fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SecretsError {
    move |source| SecretsError::Io { action, path: path.to_owned(), source }
}
