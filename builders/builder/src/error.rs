//! What can go wrong in a step. Every message names the input, the member or path, and the reason.

use std::io;
use std::path::{Path, PathBuf};

use cairn_formats::RelPath;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The failure of a step, as its caller reports it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the request cannot be read: {0}; it must be one JSON document with `step`, `inputs` and `out`")]
    Request(#[from] serde_json::Error),
    #[error("the input `{label}` holds {got} paths where the step needs {needs}")]
    Input { label: String, needs: &'static str, got: usize },
    #[error("the parameter `{name}` is `{value}`: {reason}")]
    Parameter { name: &'static str, value: String, reason: String },
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{archive}: {reason}")]
    Archive { archive: String, reason: String },
    #[error("{archive}: `{member}` {problem}")]
    Member { archive: String, member: String, problem: Problem },
    #[error("`{path}` comes from {first} ({first_is}) and from {second} ({second_is}); remove it from one of them")]
    Conflict { path: RelPath, first: String, first_is: String, second: String, second_is: String },
    #[error("`{path}` comes from {owner}, but the builder writes it; declare it in the definition instead")]
    Brought { path: RelPath, owner: String },
    #[error("{}: {source}", path.display())]
    Meta { path: PathBuf, source: serde_json::Error },
    #[error(transparent)]
    Image(#[from] cairn_oci::OciError),
    #[error(transparent)]
    Host(#[from] cairn_closure::ClosureError),
    #[error("`{command}` {outcome}{}", indented(said))]
    Refused { command: String, outcome: String, said: String },
    #[error("cannot run `{command}` of the image: {source}")]
    Command { command: String, source: io::Error },
    #[error(
        "the recipe asks for the compressor `{wanted}`, which this builder lacks; use `deploy` and builder of one version"
    )]
    Compressor { wanted: String },
    #[error("compiling Python with {}: {reason}", interpreter.display())]
    Bytecode { interpreter: PathBuf, reason: String },
}

/// Characters of a member's name that a message shows.
const SHOWN: usize = 300;

impl Error {
    pub(crate) fn member(archive: &str, member: impl Into<String>, problem: impl Into<Problem>) -> Self {
        let mut member = member.into();
        if let Some((end, _)) = member.char_indices().nth(SHOWN) {
            member.truncate(end);
            member.push('…');
        }
        Self::Member { archive: archive.to_owned(), member, problem: problem.into() }
    }

    pub(crate) fn archive(archive: &str, reason: impl Into<String>) -> Self {
        Self::Archive { archive: archive.to_owned(), reason: reason.into() }
    }

    pub(crate) fn parameter(name: &'static str, value: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Parameter { name, value: value.into(), reason: reason.into() }
    }

    /// For `map_err`: says what was being done with which path.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}

/// Why one member of an archive, or one file of a tree, cannot be taken. Reads after its name.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("is not a path below the root (absolute, `..`, an empty or `.` part, or NUL)")]
    Escapes,
    #[error("is a {0}; only files, directories and links are unpacked")]
    Kind(&'static str),
    #[error("has a path of more than {limit} bytes, which Linux cannot open")]
    PathTooLong { limit: usize },
    #[error("would be written through the symbolic link `{link}`")]
    ThroughLink { link: RelPath },
    #[error("lies below `{parent}`, which is a file")]
    BelowFile { parent: RelPath },
    #[error("is named twice")]
    Twice,
    #[error("is a hard link to `{target}`, which is no file that comes before it in the archive")]
    HardLink { target: String },
    #[error("is a hard link to `{target}`, which the definition excludes; exclude both or neither")]
    HardLinkExcluded { target: RelPath },
    #[error("replaces the top-level directory `/{0}`, which must stay a link to `/usr/{0}`")]
    MergedUsr(String),
    #[error("is a symbolic link to `{0}`, which is empty or holds NUL")]
    Target(String),
    #[error("has {got} bytes where {expected} were declared")]
    Size { expected: u64, got: u64 },
    #[error("has the {algorithm} `{got}`, and RECORD says `{expected}`")]
    Digest { algorithm: &'static str, expected: String, got: String },
    #[error("is not listed in RECORD")]
    NotInRecord,
    #[error("is listed in RECORD, but the archive does not hold it")]
    Absent,
    #[error("lies more than {limit} directories deep; nest fewer directories")]
    TooDeep { limit: usize },
    #[error("has a name that is not UTF-8")]
    NotUtf8,
    #[error("would unpack to more than {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("{0}")]
    Other(String),
    #[error("cannot be unpacked: {0}")]
    Io(#[from] io::Error),
}

/// What a command said, below the line that tells of it.
fn indented(said: &str) -> String {
    said.lines().map(|line| format!("\n  {line}")).collect()
}

/// How messages name an input: by the last part of its path, which in a store says what it is.
pub(crate) fn label(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}
