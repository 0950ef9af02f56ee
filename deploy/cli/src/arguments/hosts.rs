//! Hosts that existed before us: `bootstrap`, `doctor`, `adopt`, `uninstall`.

use clap::Args;

#[derive(Debug, Args)]
pub struct BootstrapOptions {
    #[arg(value_name = "HOST")]
    pub host: String,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    /// Pin the key that the host shows in its definition, if it has this fingerprint
    #[arg(long, value_name = "SHA256:…")]
    pub accept_host_key: Option<String>,
}

#[derive(Debug, Args)]
pub struct DoctorOptions {
    /// Hosts, fleets, @TAG, or patterns such as 'edge-*'
    #[arg(value_name = "HOST", required = true)]
    pub hosts: Vec<String>,
    /// Read every file of the hosts' stores and compare hashes
    #[arg(long)]
    pub verify: bool,
    /// Also what is well
    #[arg(long, short)]
    pub all: bool,
}

#[derive(Debug, Args)]
pub struct AdoptOptions {
    #[arg(value_name = "HOST")]
    pub host: String,
    /// Files of the host below /etc
    #[arg(value_name = "PATH", required_unless_present_any = ["unit", "list"])]
    pub paths: Vec<String>,
    /// A unit of the host in whose place the next switch comes
    #[arg(long, value_name = "UNIT")]
    pub unit: Vec<String>,
    /// Show what is adopted
    #[arg(long, conflicts_with_all = ["paths", "unit"])]
    pub list: bool,
}

#[derive(Debug, Args)]
pub struct UninstallOptions {
    #[arg(value_name = "HOST")]
    pub host: String,
    /// Do not ask; the state of services stays without --delete-data
    #[arg(long, short)]
    pub yes: bool,
    /// Leave the state of services on the host, without asking
    #[arg(long, conflicts_with = "delete_data")]
    pub keep_data: bool,
    /// Delete the state of services as well
    #[arg(long)]
    pub delete_data: bool,
    /// Why, for whoever finds the host locked meanwhile
    #[arg(long, short, value_name = "TEXT")]
    pub message: Option<String>,
}
