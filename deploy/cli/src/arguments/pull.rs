//! Options of the commands for hosts that pull.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub struct PublishOptions {
    /// Hosts, fleets, @TAG, or patterns such as 'edge-*'
    #[arg(value_name = "HOST", required = true)]
    pub hosts: Vec<String>,
    /// The cache to write to [default: `publish_to` or `cache` of the host's [pull] section]
    #[arg(long, value_name = "URL")]
    pub to: Option<String>,
    /// Seal secrets to pull.recipient of this host although it is not the key of the last time; may be
    /// given again
    #[arg(long, value_name = "HOST")]
    pub accept_recipient: Vec<String>,
    /// The secret key that signs
    #[arg(long, value_name = "FILE", env = "DEPLOY_CACHE_KEY")]
    pub key: PathBuf,
    /// Why, for the hosts' records
    #[arg(long, short, value_name = "TEXT")]
    pub message: Option<String>,
    /// Write over a pointer that this publication cannot follow: junk, one that is signed by a key that
    /// is not trusted, or one whose number is ahead of the clock
    #[arg(long)]
    pub replace: bool,
    /// No host takes the pointer after this time; one that has taken it goes on running [default: never]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub expires: Option<Duration>,
}

#[derive(Debug, Subcommand)]
pub enum CacheKeyAction {
    /// Make a pair, keep the secret key in a new file, print the public one
    Generate {
        /// Which key it is, for people: web-1
        name: String,
        file: PathBuf,
    },
    /// Print the public key of a secret one
    Show { file: PathBuf },
}

#[derive(Debug, Args)]
pub struct UserDataOptions {
    #[arg(value_name = "HOST")]
    pub host: String,
}

fn duration(text: &str) -> Result<Duration, String> {
    cairn_recipe::duration::parse(text).ok_or_else(|| "write a whole number and s, m, h or d, such as 30d".to_owned())
}
