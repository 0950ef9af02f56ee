//! What maintainer scripts and a first boot would have made, computed from the packages instead.
//!
//! | file | module |
//! |---|---|
//! | users and groups | [`accounts`] |
//! | bundle of certificates | [`certificates`] |
//! | cache of the dynamic loader | [`libraries`] finds them, [`ld_cache`] is the format |
//! | mount points and files that a read-only root must have | [`mount_points`] |

pub mod accounts;
pub mod certificates;
pub(crate) mod ld_cache;
pub mod libraries;
pub mod mount_points;
