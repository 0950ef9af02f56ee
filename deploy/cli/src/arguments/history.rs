//! Options of the commands on what a host ran, runs and would run.

use std::path::PathBuf;

use cairn_formats::Platform;
use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub struct HistoryOptions {
    /// Hosts or fleets [default: every host of the project]
    #[arg(value_name = "HOST")]
    pub hosts: Vec<String>,
    /// The newest N of each host
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: u32,
}

#[derive(Debug, Args)]
pub struct DiffOptions {
    #[arg(value_name = "HOST")]
    pub host: String,
    /// The number of a generation
    #[arg(value_name = "A")]
    pub from: u64,
    /// The number of another, or `next`: what the project would build now [default: the live one]
    #[arg(value_name = "B", value_parser = DiffTo::parse)]
    pub to: Option<DiffTo>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiffTo {
    Generation(u64),
    Next,
}

impl DiffTo {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "next" => Ok(Self::Next),
            number => number
                .parse()
                .map(Self::Generation)
                .map_err(|_| "write the number of a generation, or `next`".to_owned()),
        }
    }
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, disable_help_subcommand = true)]
pub struct PlanOptions {
    #[command(subcommand)]
    pub action: Option<PlanAction>,
    /// Hosts or fleets
    #[arg(value_name = "HOST", required = true)]
    pub hosts: Vec<String>,
    /// Keep the plan in this file, for `deploy switch --plan FILE`
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum PlanAction {
    /// Print the graph of an image in JSON
    #[command(hide = true)]
    Image {
        name: String,
        #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
        platform: Vec<Platform>,
        /// Write to this file
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub struct PinOptions {
    #[arg(value_name = "HOST")]
    pub host: String,
    /// The number of a generation
    #[arg(value_name = "N")]
    pub generation: u64,
}

#[derive(Debug, Args)]
pub struct GcOptions {
    /// Hosts or fleets
    #[arg(value_name = "HOST", required = true)]
    pub hosts: Vec<String>,
    /// Only say what would go
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct UnlockOptions {
    #[arg(value_name = "HOST")]
    pub host: String,
    /// End the holder without asking
    #[arg(long, short)]
    pub yes: bool,
}
