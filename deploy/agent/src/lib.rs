//! The program on the host.
//!
//! `cairn-agent serve` speaks [`cairn_protocol`] on its standard input and output, which SSH
//! connects to the command on an operator's machine. [`receive`] takes in closures; everything
//! else that a request asks for is done by the module of that name, and [`serve`] only passes it on.
//!
//! [`examine`] looks at a host, ours or not; [`install`] makes it ours, [`adopted`] takes what was
//! there before into its keeping, and [`uninstall`] gives the host back.
//!
//! systemd runs the agent as well: `activate ID` is an activation, detached from SSH; `revert ID`
//! cleans up after one, however it ended; `boot` prepares `/run`; `pull` fetches and activates
//! by itself what a pointer in a binary cache names; and from the directory of
//! generators it emits the committed generation's units.

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod activation;
pub mod adopted;
pub mod arrive;
pub mod boot;
pub mod collect;
pub mod condition;
pub mod drain;
pub mod enter;
pub mod error;
pub mod examine;
pub mod files;
#[cfg(test)]
mod fixtures;
pub mod folder;
#[doc(hidden)]
pub mod fuzzing;
pub mod generations;
pub mod generator;
pub mod health;
pub mod history;
pub mod host_record;
pub mod install;
pub mod logs;
pub mod maintenance;
pub mod manifests;
pub mod output;
pub mod paths;
pub mod ports;
pub mod private;
pub mod process;
pub mod pull;
pub mod reading;
pub mod receive;
pub mod restart;
pub mod retention;
pub mod secrets;
pub mod serve;
pub mod services;
pub mod shutdown;
pub mod status;
pub mod system;
pub mod systemd;
pub mod tcp;
pub mod traces;
pub mod uninstall;
pub mod unlock;
