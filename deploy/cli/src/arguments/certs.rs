//! `deploy certs`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub enum CertsAction {
    /// Look at the certificates that hosts show to clients
    #[command(after_help = "Examples:
  deploy certs status                      every host of the project that serves TLS
  deploy certs status staging --days 30    a fleet, and earlier than a renewal is late
  deploy certs status staging-edge --ca pebble.pem

Asks each address in `listen.tls` for each of the service's `names`, as a client would. Exit code 1
when one is not for its name, is not trusted, or has too few days left, or a host does not answer.")]
    Status(CertsStatusOptions),
}

#[derive(Debug, Args)]
pub struct CertsStatusOptions {
    /// Hosts, fleets, @TAG, or patterns such as 'edge-*' [default: every host of the project that serves TLS]
    #[arg(value_name = "HOST")]
    pub hosts: Vec<String>,
    /// Fewer days left are a fault
    #[arg(long, value_name = "N", default_value_t = 21)]
    pub days: u32,
    /// Also trust the authorities in this file (PEM); may be given again
    #[arg(long, value_name = "FILE")]
    pub ca: Vec<PathBuf>,
}
