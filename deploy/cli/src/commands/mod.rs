//! One command a file. Each gives its exit code.

pub mod build;
pub mod certs;
pub mod config;
pub mod copy;
pub mod diff;
pub mod each;
pub mod exec;
pub mod gc;
pub mod generations;
pub mod history;
pub mod lock;
pub mod logs;
pub mod machine;
pub mod maintenance;
pub mod notify;
mod of_service;
pub mod pin;
pub mod plan;
pub mod restart;
pub mod rollback;
pub mod secrets;
pub mod shell;
pub mod ssh;
pub mod status;
pub mod store;
pub mod switch;
pub mod unlock;
