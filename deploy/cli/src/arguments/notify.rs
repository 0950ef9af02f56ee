//! `deploy notify`.

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum NotifyAction {
    /// Send a test message to every [[notify]] of deploy.toml
    Test,
}
