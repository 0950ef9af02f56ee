//! Debian archives: from requirements to exact packages.
//!
//! The way through: [`archive`] fetches a suite's InRelease file, [`clearsign`] and [`keyring`]
//! verify its signature, [`release`] reads it; [`packages`] reads the indexes whose hashes it has
//! into a pool; [`resolver`] chooses; [`inspect`] fetches what was chosen and [`scripts`] judges
//! the maintainer scripts, none of which is ever run; [`layers`] says which layer of the image
//! each package belongs to.

pub mod archive;
pub mod clearsign;
pub mod date;
pub mod deb;
pub mod debhelper;
mod error;
mod explain;
pub mod inspect;
pub mod keyring;
pub mod layers;
mod locking;
pub mod packages;
pub mod relation;
pub mod release;
pub mod requirement;
pub mod resolver;
pub mod scripts;
pub mod stanza;
pub mod version;

pub use error::DebianError;
pub use locking::{DebianLock, DebianRequest, lock_debs};
