//! Debian archives: from requirements to exact packages.
//!
//! The way through: [`archive`] fetches a suite's InRelease file, [`keys`] says which keys count for
//! it, [`clearsign`] and [`keyring`] verify its signature, [`release`] reads it, [`continuity`]
//! compares it with the one locked before; [`packages`] reads the indexes whose hashes it has
//! into a pool; [`resolver`] chooses; [`inspect`] fetches what was chosen and [`scripts`] judges
//! the maintainer scripts, none of which is ever run; [`layers`] says which layer of the image
//! each package belongs to.

pub mod archive;
pub mod clearsign;
pub mod continuity;
pub mod date;
pub mod deb;
pub mod debhelper;
mod error;
mod explain;
pub mod inspect;
pub mod keyring;
pub mod keys;
pub mod layers;
mod locking;
pub mod packages;
pub mod relation;
pub mod release;
pub mod requirement;
pub mod resolver;
pub mod scripts;
pub mod stanza;
pub mod strength;
pub mod version;

pub use error::DebianError;
pub use locking::{DebianLock, DebianRequest, lock_debs};

#[cfg(test)]
mod memory_tests;
#[cfg(test)]
mod sources_tests;
#[cfg(test)]
mod strength_tests;
#[cfg(test)]
mod test_archive;
