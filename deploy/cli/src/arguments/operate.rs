//! Operating hosts that run a generation: `logs`, `ssh`, `exec`, `restart`, `maintenance`, `status`.

use std::time::Duration;

use cairn_formats::time::parse_rfc3339;
use clap::{Args, Subcommand};

use super::rollout::duration;

#[derive(Debug, Args)]
pub struct LogsOptions {
    /// A service of the hosts; all its replicas and instances
    pub service: String,
    /// [default: every host of the project that has the service]
    #[arg(value_name = "HOST")]
    pub hosts: Vec<String>,
    /// Go on with new lines as they come
    #[arg(long, short)]
    pub follow: bool,
    /// From then on: `10m`, `2h`, or as journalctl reads it: `yesterday`, `2026-11-25 12:00`
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub since: Option<String>,
    /// The last lines of each host [default: 100, with --since all]
    #[arg(long = "lines", short = 'n', value_name = "N")]
    pub lines: Option<u32>,
    /// Only lines that match this pattern (PCRE2; in lower case it matches both)
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub grep: Option<String>,
}

#[derive(Debug, Args)]
pub struct SshOptions {
    pub host: String,
    /// For the host's shell, which gets the words with blanks between, as from ssh
    #[arg(value_name = "COMMAND", last = true)]
    pub command: Vec<String>,
}

#[derive(Debug, Args)]
pub struct ExecOptions {
    pub service: String,
    /// [default: the one host of the project that has the service]
    pub host: Option<String>,
    /// The replica's number [default: the first that runs]
    #[arg(long, value_name = "N")]
    pub replica: Option<u32>,
    /// A program of the image and its arguments, word for word [default: the image's shell]
    #[arg(value_name = "COMMAND", last = true)]
    pub command: Vec<String>,
}

#[derive(Debug, Args)]
pub struct RestartOptions {
    pub service: String,
    /// [default: every host of the project that has the service]
    #[arg(value_name = "HOST")]
    pub hosts: Vec<String>,
    /// Why, for whoever finds the host locked meanwhile
    #[arg(long, short, value_name = "TEXT")]
    pub message: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum MaintenanceAction {
    /// From now on, over switches and reboots
    #[command(after_help = "Examples:
  deploy maintenance on local --for 30m
  deploy maintenance on local --until 2026-11-25T18:30Z --message 'a move'
  deploy maintenance on local --until 2026-11-25T19:30+01:00

With an end, the host ends it by itself, and Retry-After tells clients when. Switched on again, it
has the end that is given then, or none.")]
    On {
        #[command(flatten)]
        of: MaintenanceOptions,
        /// Why, for whoever asks
        #[arg(long, short, value_name = "TEXT")]
        message: Option<String>,
        /// How long: 30m, 2h
        #[arg(long = "for", value_name = "DURATION", value_parser = duration, conflicts_with = "until")]
        length: Option<Duration>,
        /// When it ends by itself, as RFC 3339 has it, with Z or an offset
        #[arg(long, value_name = "TIME", value_parser = time)]
        until: Option<i64>,
    },
    /// Answer as usual again
    Off {
        #[command(flatten)]
        of: MaintenanceOptions,
    },
    /// Which services are in maintenance
    Status {
        #[command(flatten)]
        of: MaintenanceOptions,
    },
}

#[derive(Debug, Args)]
pub struct MaintenanceOptions {
    /// [default: every host of the project with a service that honours it]
    #[arg(value_name = "HOST")]
    pub hosts: Vec<String>,
    /// One service [default: every service whose image says that it honours maintenance]
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
}

#[derive(Debug, Args)]
pub struct StatusOptions {
    /// [default: every host of the project]
    #[arg(value_name = "HOST")]
    pub hosts: Vec<String>,
    /// Again and again, every so many seconds
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2", value_parser = clap::value_parser!(u64).range(1..))]
    pub watch: Option<u64>,
}

fn time(text: &str) -> Result<i64, &'static str> {
    parse_rfc3339(text).ok_or("write date, time and zone, as in 2026-11-25T18:30Z or 2026-11-25T19:30+01:00")
}
