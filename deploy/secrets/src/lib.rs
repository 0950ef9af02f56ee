//! Secrets in the repository, encrypted to the people and hosts that may read them.
//!
//! ```text
//! secrets/secrets.toml      who may read what, versions; no secret in it
//! secrets/NAME.age          one value, for every operator and each matching host's SSH host key
//! .cairn/secrets/           values for machines on this computer (see [`LocalVault`]); not committed
//! ```
//!
//! The files are plain age files in ASCII armour: `age -d -i KEY secrets/NAME.age` reads them. A
//! value enters through [`Vault::set`] and leaves through [`Vault::reveal`] for an operator, and
//! through [`Vault::for_host`] and [`open()`] for a host. In between it is [`SecretBytes`]: wiped
//! when dropped, hidden from `Debug`, without `Display`. No error holds a value.
//!
//! * `version` in the index rises when a value changes and not when its readers do, so a host
//!   restarts a service for the one and not for the other.
//! * `sealed-to` in the index names the keys that a file is encrypted to. A file's header cannot:
//!   `age1…` keys stand there without a name. `rekey` writes only files where it differs.
//! * A person who can write to the repository can put another value in place of a secret, but not the
//!   value of another secret, which they cannot decrypt: each file says which secret of which project it
//!   holds, and links in `secrets/` are not followed.
//! * A reader that somebody adds to the repository gets nothing silently: whatever encrypts takes an
//!   [`Approve`], and [`Accepted`] keeps, outside of the repository, the keys that were approved before.
//!
//! The feature `vault` (on by default) is the operator's side. A host needs only [`open()`]:
//!
//! ```no_run
//! let key = std::fs::read("/etc/ssh/ssh_host_ed25519_key")?;
//! let file = std::fs::read("database-password.age")?;
//! let value = cairn_secrets::open(&file, &key)?;
//! assert!(!format!("{value:?}").contains("hunter2"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod header;
mod open;
mod value;

pub use open::{MAX_FILE, OpenError, open, open_secret};
pub use value::{MAX_VALUE, SecretBytes};

#[cfg(feature = "vault")]
mod accepted;
#[cfg(feature = "vault")]
mod check;
#[cfg(feature = "vault")]
mod editor;
#[cfg(feature = "vault")]
mod error;
#[cfg(feature = "vault")]
mod files;
#[cfg(feature = "vault")]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "vault")]
mod generate;
#[cfg(feature = "vault")]
mod host;
#[cfg(feature = "vault")]
mod identity;
#[cfg(feature = "vault")]
mod index;
#[cfg(feature = "vault")]
mod init;
#[cfg(feature = "vault")]
mod local;
#[cfg(feature = "vault")]
mod name;
#[cfg(feature = "vault")]
mod prompt;
#[cfg(feature = "vault")]
mod recipient;
#[cfg(feature = "vault")]
mod seal;
#[cfg(feature = "vault")]
mod vault;

#[cfg(feature = "vault")]
pub use self::{
    accepted::{Accepted, Approve, NewReader, Novelty, Sealing, Way},
    check::{Fault, Findings, ProjectHost, State},
    editor::edit,
    error::{Result, SecretsError},
    generate::Generator,
    host::{ForHost, Sealed},
    identity::{IDENTITY_VARIABLE, Identities, default_file, make_identity},
    index::{Entry, Index, Reader, SealedTo},
    init::{Initialised, init},
    local::LocalVault,
    name::{HostPattern, SecretName},
    prompt::{ask_hidden, read_all},
    recipient::Recipient,
    vault::{FOLDER, INDEX, NewValue, Rekeyed, Vault},
};

#[cfg(feature = "vault")]
pub(crate) use self::error::MISPLACED;

/// The candidate closest to `name`, when it is close enough to have been meant.
#[cfg(feature = "vault")]
fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = candidates.map(|c| (strsim::damerau_levenshtein(name, c), c)).min();
    near.filter(|(distance, c)| *distance <= 2.max(c.len() / 3)).map(|(_, c)| c)
}
