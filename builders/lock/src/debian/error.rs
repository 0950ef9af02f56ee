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
        searched.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
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
        faults.iter().map(|f| format!("\n  - {f}")).collect::<String>(), keyring.display()
    )]
    Signature { suite: String, keyring: PathBuf, faults: Vec<String> },
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

fn shown(scripts: &[UnknownScript]) -> String {
    let all: Vec<String> = scripts.iter().map(ToString::to_string).collect();
    all.join("\n\n")
}
