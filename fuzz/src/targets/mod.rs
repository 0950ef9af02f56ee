//! The targets, by where the bytes come from.

pub mod cache;
pub mod certificates;
pub mod debian;
pub mod definitions;
pub mod host;
pub mod images;
pub mod packages;
pub mod protocol;
pub mod python;
pub mod secrets;
pub mod ssh;
