//! The program on the host.
//!
//! `cairn-agent serve` speaks [`cairn_protocol`] on its standard input and output, which SSH
//! connects to the command on an operator's machine. [`receive`] takes in closures; everything
//! else that a request asks for is done by the module of that name, and [`serve`] only passes it on.
//!
//! systemd runs the agent as well: `activate ID` is an activation, detached from SSH; `revert ID`
//! cleans up after one, however it ended; `boot` prepares `/run`; and from the directory of
//! generators it emits the committed generation's units.

pub mod activation;
pub mod arrive;
pub mod boot;
pub mod collect;
pub mod condition;
pub mod drain;
pub mod enter;
pub mod error;
pub mod files;
pub mod generations;
pub mod generator;
pub mod health;
pub mod history;
pub mod logs;
pub mod maintenance;
pub mod manifests;
pub mod paths;
pub mod process;
pub mod reading;
pub mod receive;
pub mod restart;
pub mod retention;
pub mod secrets;
pub mod serve;
pub mod services;
pub mod status;
pub mod systemd;
pub mod unlock;
