//! What can go wrong while Debian packages are locked.

use std::io;
use std::path::PathBuf;

use cairn_fetch::FetchError;

use super::deb::DebFault;
use super::packages::BadStanza;
use super::relation::BadRelation;
use super::release::ReleaseFault;
use super::resolver::ResolveError;
use super::scripts::UnknownScript;
use crate::memory::ChangedFiles;

#[derive(Debug, thiserror::Error)]
pub enum DebianError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("suite `{suite}` is not a name of a suite, such as `bookworm` or `bookworm-security`")]
    SuiteName { suite: String },
    #[error("debian.packages: {source}\n  help: write `name`, `name (>= 1.2)` or `name (= 1.2)`")]
    Requirement { source: BadRelation },
    #[error(
        "no keyring to verify suite {suite} with; looked for {}\n  help: install the package debian-archive-keyring, or name a file with `keyring` under [debian]",
        list(searched)
    )]
    NoKeyring { suite: String, searched: Vec<PathBuf> },
    #[error("the keyring {} cannot be used: {problem}\n  help: it must hold OpenPGP public keys, binary or armoured", path.display())]
    Keyring { path: PathBuf, problem: String },
    #[error(
        "the InRelease file of suite {suite} is not well signed: {problem}\n  help: the mirror serves something else than Debian's; nothing of it was used. Try another mirror"
    )]
    Frame { suite: String, problem: String },
    #[error(
        "the InRelease file of suite {suite} has no good signature{}\n  keyring: {}\n  help: nothing of it was used. If the archive has changed its keys, update the package debian-archive-keyring; else the mirror was tampered with",
        faults.iter().map(|f| format!("\n  - {f}")).collect::<String>(), list(keyrings)
    )]
    Signature { suite: String, keyrings: Vec<PathBuf>, faults: Vec<String> },
    #[error(
        "{url} is not Debian's archive: the InRelease file of suite {suite} has the Origin `{origin}` and the Label `{label}`; nothing of it was used\n  help: name Debian's mirror under [mirrors] in deploy.toml; for another archive name its keys with `keyring` under [debian]"
    )]
    Foreign { suite: String, url: String, origin: String, label: String },
    #[error(
        "{url} is not signed by a key of Debian: apt verifies it with {}, and Debian's keyring has no key that signed suite {suite}; nothing of it was used\n  help: name Debian's mirror under [mirrors] in deploy.toml, or install the package debian-archive-keyring; if you trust that key to sign a whole distribution, name its file with `keyring` under [debian]",
        list(keyrings)
    )]
    ForeignKey { suite: String, url: String, keyrings: Vec<PathBuf> },
    #[error(
        "suite {suite} went back in time: image.lock has its release of {locked}, the mirror has the one of {found}\n  help: the mirror is behind, or it holds back updates: try again later or use another mirror. If the older release is right, accept it with `--accept-older-release {suite}`; the lock records that"
    )]
    OlderRelease { suite: String, locked: String, found: String },
    #[error(
        "suite {suite} is signed by other keys than the locked release\n  locked: {}\n  found:  {}\n  help: archives sign with the old key and the new while they change keys: find out why this one does not. If the new key is right, accept it with `--accept-signer {}`; the lock records that",
        locked.join(", "), found.join(", "), found.first().map_or("FINGERPRINT", String::as_str)
    )]
    OtherSigner { suite: String, locked: Vec<String>, found: Vec<String> },
    #[error(
        "image.lock: the date `{value}` of suite {suite} is not one\n  help: restore the file from version control, or delete it to lock without a memory"
    )]
    LockedDate { suite: String, value: String },
    #[error(transparent)]
    Changed(#[from] ChangedFiles),
    #[error("{first}\n  at: {at}\n  also tried:{}", others.iter().map(|other| format!("\n  - {other}")).collect::<String>())]
    Several { first: Box<DebianError>, at: String, others: Vec<String> },
    #[error("the InRelease file of suite {suite}: {fault}")]
    Release { suite: String, fault: ReleaseFault },
    #[error(
        "asked for suite {asked}, the mirror answered with {}\n  help: check the name in `debian.suites` and the mirror's address",
        [suite, codename].into_iter().flatten().cloned().collect::<Vec<_>>().join(" (") + if suite.is_some() && codename.is_some() { ")" } else { "" }
    )]
    WrongSuite { asked: String, suite: Option<String>, codename: Option<String> },
    #[error(
        "the index of suite {suite} is stale: it was valid until {valid_until} (written {date})\n  help: the mirror is behind, or somebody holds back updates. Use another mirror, or accept it with `--accept-stale`; the lock records that"
    )]
    Stale { suite: String, date: String, valid_until: String },
    #[error("the index of suite {suite} is dated in the future: {date}\n  help: check this machine's clock")]
    NotYet { suite: String, date: String },
    #[error(
        "suite {suite} has no index for {arch}: {path} is not in its InRelease file\n  help: remove the suite or the platform from the definition"
    )]
    NoIndex { suite: String, arch: String, path: String },
    #[error("the index of suite {suite} for {arch} cannot be read: {problem}")]
    Index { suite: String, arch: String, problem: String },
    #[error("debian.exclude: there is no package `{name}` in {suites}{}", near.as_ref().map(|n| format!("\n  help: did you mean `{n}`?")).unwrap_or_default())]
    UnknownExclude { name: String, suites: String, near: Option<String> },
    #[error("{0}")]
    Resolve(#[from] ResolveError),
    #[error(transparent)]
    Stanza(#[from] BadStanza),
    #[error("the archive of package {package} {version} cannot be read: {fault}\n  file: {}", path.display())]
    Deb { package: String, version: String, path: PathBuf, fault: DebFault },
    #[error("{}", shown(.0))]
    UnknownScripts(Vec<UnknownScript>),
    #[error("cannot use {}: {source}", path.display())]
    Cache { path: PathBuf, source: io::Error },
}

impl DebianError {
    /// The first line, without details and advice.
    pub(super) fn headline(&self) -> String {
        self.to_string().lines().next().unwrap_or_default().to_owned()
    }

    /// When no address gave the suite: the failure that says most, and the others in a line each.
    pub(super) fn of_all(suite: &str, mut failures: Vec<(String, Self)>) -> Self {
        let rank = |error: &Self| match error {
            Self::Foreign { .. } | Self::ForeignKey { .. } => 1,
            Self::Fetch(FetchError::Gone { .. }) => 2,
            _ => 0,
        };
        // Of equals the first: the addresses are sorted by how likely they are to be the archive's.
        let Some(telling) = (0..failures.len()).min_by_key(|at| rank(&failures[*at].1)) else {
            let help = "configure one under [mirrors] in deploy.toml".to_owned();
            return FetchError::NoMirror { what: format!("suite {suite}"), help }.into();
        };
        let (at, first) = failures.remove(telling);
        if failures.is_empty() {
            return first;
        }
        let others = failures.iter().map(|(base, error)| format!("{base}: {}", error.headline())).collect();
        Self::Several { first: Box::new(first), at, others }
    }
}

fn list(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn shown(scripts: &[UnknownScript]) -> String {
    let all: Vec<String> = scripts.iter().map(ToString::to_string).collect();
    all.join("\n\n")
}
