//! The command line.

mod certs;
mod history;
mod hosts;
mod notify;
mod operate;
mod pull;
mod rollout;
mod secrets;

use std::path::PathBuf;
use std::time::Duration;

use cairn_formats::Platform;
use cairn_lock::ExcludeNewer;
use clap::builder::FalseyValueParser;
use clap::{Args, Parser, Subcommand};

pub use certs::{CertsAction, CertsStatusOptions};
pub use history::{DiffOptions, DiffTo, GcOptions, HistoryOptions, PinOptions, PlanAction, PlanOptions, UnlockOptions};
pub use hosts::{AdoptOptions, BootstrapOptions, DoctorOptions, UninstallOptions};
pub use notify::NotifyAction;
pub use operate::{
    ExecOptions, LogsOptions, MaintenanceAction, MaintenanceOptions, RestartOptions, SshOptions, StatusOptions,
};
pub use pull::{CacheKeyAction, PublishOptions, UserDataOptions};
pub use rollout::{ReachOptions, RolloutOptions};
pub use secrets::{SecretsAction, SecretsOptions};

#[derive(Debug, Parser)]
#[command(
    name = "deploy",
    version,
    about = "Reproducible images and hosts from locked inputs, activated atomically over SSH",
    after_help = "Examples:
  deploy lock images.api             resolve packages and write images/api/image.lock
  deploy build images hosts.local    build every image and one host closure
  deploy switch local                show what would change, then make it live
  deploy rollback local              go back to the generation before
  deploy status                      what every host runs

Exit codes: 0 done; 1 failed, nothing changed; 2 usage; 3 failed and reverted;
4 some hosts failed; 5 the host is locked by somebody else.",
    propagate_version = true,
    disable_help_subcommand = true
)]
pub struct Arguments {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
pub struct Global {
    /// The project's folder [default: the one around the current folder]
    #[arg(long, global = true, value_name = "DIR", env = "DEPLOY_PROJECT")]
    pub project: Option<PathBuf>,
    /// Root of the store [default: ~/.local/share/cairn]
    #[arg(long, global = true, value_name = "ROOT", env = "DEPLOY_STORE")]
    pub store: Option<PathBuf>,
    /// Let definitions read this folder, which [files] of deploy.toml names; remembered for the project
    #[arg(long, global = true, value_name = "DIR", env = "DEPLOY_ALLOW_OUTSIDE", value_delimiter = ':')]
    pub allow_outside: Vec<PathBuf>,
    /// Print one JSON document instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// No progress, only results and errors
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// As root, build also where the system makes no user namespaces, in a weaker sandbox
    #[arg(long, global = true, env = "DEPLOY_ALLOW_WEAK_SANDBOX", value_parser = FalseyValueParser::new())]
    pub allow_weak_sandbox: bool,
    /// How long one build step may take: 90s, 30m, 2h [default: 30m]
    #[arg(long, global = true, value_name = "DURATION", env = "DEPLOY_STEP_TIMEOUT", value_parser = rollout::time)]
    pub step_timeout: Option<Duration>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Resolve what images are made of and write their locks
    #[command(after_help = "Examples:
  deploy lock                        every image
  deploy lock images.api             one image
  deploy lock --accept-stale         although the mirror's index is past its date
  deploy lock --accept-older-release bookworm
                                     although the mirror's release is older than the locked one
  deploy lock --accept-signer 4CB50190207B4758A3F73A796ED0E7B82643E131
                                     although none of the locked keys signed, if this one did
  deploy lock --accept-changed-hash numpy
                                     although the locked version of numpy is another file now
  deploy lock --exclude-newer 2026-11-01
                                     without Python packages uploaded since; kept until `none`

A lock remembers: against the lock before, an older release, another signer or another file
of the same version is an error. The lock records what an `--accept` flag let pass.")]
    Lock(LockOptions),
    /// Build images and host closures
    #[command(after_help = "Examples:
  deploy build images                every image
  deploy build images.api hosts.local
  deploy build images.api --platform linux/arm64
  deploy build images.api --check    build again and compare
  deploy build images.api --out api.oci   copy the OCI layout to a folder")]
    Build(BuildOptions),
    /// Show what the environment of services is, and what can be set
    #[command(
        subcommand,
        after_help = "Examples:
  deploy config show local               every variable, its value, and where that comes from
  deploy config template api > .env      a commented file of all that can be set
  deploy config template --docs          the same as tables in Markdown"
    )]
    Config(ConfigAction),
    /// Bring closures to hosts without switching, so that the switch has nothing left to send
    #[command(after_help = "Examples:
  deploy copy local                  build, and send what the host lacks
  deploy copy @web && deploy switch @web

What is copied stays until the host collects what no generation needs.")]
    Copy(CopyOptions),
    /// Make hosts run what the project says
    #[command(after_help = "Examples:
  deploy switch local                show the plan, ask, switch
  deploy switch local --yes          without asking
  deploy switch local --dry-run      only show the plan
  deploy switch production @edge 'db-*'     a fleet, a tag, a pattern over names
  deploy switch @web --canary 1 --wait 2m   one first; the others when it stays healthy
  deploy switch @web --batch 25% --on-failure revert
  deploy switch --plan local.plan    what `deploy plan local --out local.plan` has shown
  deploy switch @web --yes --events /dev/fd/3 3>events.jsonl    what happens, for programs

Hosts go in waves (`after`, and those with tasks first), and within a wave as `[rollout]` in the
fleet's fleet.toml says, or the options here. With `revert`, a failure takes every host that was
switched already back to the generation it ran before. After Ctrl-C no further host is begun.")]
    Switch(SwitchOptions),
    /// Build what hosts should run, and put it where they pull it from
    #[command(after_help = "Examples:
  deploy publish web                 build, upload what the cache lacks, and move the pointer
  deploy publish web -m 'new search' --key ~/.config/cairn/cache.key
  deploy publish web --expires 30d   no host takes this pointer after a month
  deploy publish web --to s3://caches/web?region=eu-west-1

For hosts with a [pull] section. The cache is one of Nix's, to be read by Nix as well; the pointer,
cairn/HOST.json in it, is what the hosts look at, and is written last. To go back, publish the earlier
revision: a pointer is never taken back.")]
    Publish(PublishOptions),
    /// Print the script that makes a fresh host pull, for cloud-init
    #[command(after_help = "Examples:
  deploy user-data web > user-data   the agent by its hash, whom to trust, where to look; no secret
  aws ec2 create-launch-template … --launch-template-data UserData=$(deploy user-data web | base64 -w0)")]
    UserData(UserDataOptions),
    /// Keys that sign what hosts pull
    #[command(
        subcommand,
        name = "cache-key",
        after_help = "Examples:
  deploy cache-key generate web-1 ~/.config/cairn/cache.key    prints the public key
  deploy cache-key show ~/.config/cairn/cache.key

Keys are those of Nix: `nix-store --generate-binary-cache-key` makes such pairs, too."
    )]
    CacheKey(CacheKeyAction),
    /// Make an earlier generation live again
    #[command(after_help = "Examples:
  deploy rollback local              the generation before
  deploy rollback local --to 3       generation 3
  deploy rollback @web --skip-unreachable")]
    Rollback(RollbackOptions),
    /// List the generations of a host: pinned ones, revisions, messages
    Generations(GenerationsOptions),
    /// Show what hosts run and how they are
    #[command(after_help = "Examples:
  deploy status                      every host of the project
  deploy status local --watch        again every two seconds
  deploy status staging --json

DRIFT counts units that are otherwise than the generation says: edited or overridden in /etc, failed,
down though they should run, up though they should not. Each is told below the table.

Exit code 0 when all is well, else 1: a host that does not answer or is not healthy, drift, a reboot
that is due, a disk that is used to 90 percent, a certificate with fewer than 21 days left. A machine
that is stopped, maintenance and a running activation are shown and are no fault.")]
    Status(StatusOptions),
    /// What a service has written to the journal
    #[command(after_help = "Examples:
  deploy logs api                    the last 100 lines of every host that has the service, by time
  deploy logs api local -f           as they come, until Ctrl-C (exit code 0)
  deploy logs api --since 10m --grep timeout
  deploy logs migrate local -n 20    a task's as well
  deploy logs api --json             one JSON object a line")]
    Logs(LogsOptions),
    /// Log in to a host, by the way that deploy takes
    #[command(after_help = "Examples:
  deploy ssh local
  deploy ssh local -- uptime
  deploy ssh local -- 'journalctl -n 5 | cat'

Ends with the exit code of the command; 255 is ssh's own.")]
    Ssh(SshOptions),
    /// Run a command where a service runs: its files, user, environment and network
    #[command(after_help = "Examples:
  deploy exec api                    a shell, if the image has one
  deploy exec api local -- /usr/bin/python3.11 -V
  deploy exec postgres local --replica 1 -- /usr/bin/busybox id

Ends with the exit code of the command.")]
    Exec(ExecOptions),
    /// Restart a service, one replica after the other
    #[command(after_help = "Examples:
  deploy restart api                 on every host that has it, one host after the other
  deploy restart api local

Each replica is waited for until it is healthy before the next one stops, and takes no new requests
before it stops: with several replicas nothing is dropped. The first that does not come up again ends
the restart with exit code 1; those after it are left as they are.")]
    Restart(RestartOptions),
    /// Let services say that they are in maintenance
    #[command(
        subcommand,
        after_help = "Examples:
  deploy maintenance on local        503 with Retry-After, from now on
  deploy maintenance on local --for 30m    ends by itself
  deploy maintenance status
  deploy maintenance off local

For services whose image says by `maintenance` in image.toml that it honours such a file. It stays on
over switches, rollbacks and reboots until it is switched off, or until the end that was given."
    )]
    Maintenance(MaintenanceAction),
    /// Those who are told of switches and rollbacks
    #[command(
        subcommand,
        after_help = "Example:
  deploy notify test                 a message to every [[notify]] of deploy.toml; exit code 1 if one fails"
    )]
    Notify(NotifyAction),
    /// Certificates, as clients see them
    #[command(subcommand)]
    Certs(CertsAction),
    /// Passwords and keys, encrypted in the repository to operators and hosts
    #[command(after_help = "Examples:
  deploy secrets init                make what is missing, and add yourself to the operators
  deploy secrets set smtp-password   ask for a value and encrypt it
  deploy secrets rekey               after operators or hosts have changed
  deploy secrets check")]
    Secrets(SecretsOptions),
    /// Systemd machines on this computer, for trying and testing
    #[command(subcommand)]
    Machine(MachineAction),
    /// Look after the store
    #[command(subcommand)]
    Store(StoreAction),
    /// Show what a switch would change on hosts
    #[command(after_help = "Examples:
  deploy plan local                  services, packages, secrets, units and configuration
  deploy plan production --out production.plan
  deploy switch --plan production.plan    exactly that, or nothing")]
    Plan(PlanOptions),
    /// Show what was tried on hosts, by whom, and how it ended
    #[command(after_help = "Examples:
  deploy history                     every host of the project, the newest first
  deploy history local --limit 5")]
    History(HistoryOptions),
    /// Compare two generations of a host, or one and what the project would build now
    #[command(after_help = "Examples:
  deploy diff local 3                generation 3 and the live one
  deploy diff local 3 4
  deploy diff local 4 next           generation 4 and what a switch would make live")]
    Diff(DiffOptions),
    /// Keep a generation, whatever the retention says
    Pin(PinOptions),
    /// Leave a generation to the retention again
    Unpin(PinOptions),
    /// Remove generations that need not stay, and what only they needed, from hosts
    #[command(after_help = "Examples:
  deploy gc local --dry-run          what would go
  deploy gc production               every host of a fleet

What stays is said by [generations] in the definition of a host, and by `deploy pin`.")]
    Gc(GcOptions),
    /// Show who holds the lock of a host, and end that
    #[command(after_help = "Examples:
  deploy unlock local                who, for what, since when; asks whether to end it
  deploy unlock local --yes          ends it; its activation goes back by itself")]
    Unlock(UnlockOptions),
    /// Look at a host that exists already, and make it ours
    #[command(after_help = "Examples:
  deploy bootstrap web-1             what is found, what is to be done; asks
  deploy bootstrap web-1 --yes
  deploy bootstrap web-1 --accept-host-key SHA256:nThbg6kXUpJWGl7E1IGOCspRomTxdCARLviKw6E5SY8

Nothing is changed while anything is wrong (exit code 1), or if there is nothing to do. Without it the
first switch makes the host ours by itself. The account that logs in is root, or has sudo without a
password: `USER ALL=(root) NOPASSWD: ALL` in /etc/sudoers.d.")]
    Bootstrap(BootstrapOptions),
    /// Find out what is wrong with hosts, why that matters, and the next step
    #[command(after_help = "Examples:
  deploy doctor web-1                what is not well
  deploy doctor @web --all --verify  every check, and every file of the stores
  deploy doctor web-1 --json

Changes nothing, on a host that is ours or is not yet. Exit code 0 when nothing is wrong, else 1; notes
are no fault.")]
    Doctor(DoctorOptions),
    /// Let generations take the place of files and units of a host
    #[command(after_help = "Examples:
  deploy adopt web-1 /etc/motd /etc/logrotate.d/app
  deploy adopt web-1 --unit nginx.service     gives its port to the next switch
  deploy adopt web-1 --list

Nothing is seen of it before the next switch. A file is copied with owner, mode and attributes, and comes
back when no generation declares it any more. A unit stops in the switch, stays masked while a generation
has its place, and runs again after a switch that failed or a rollback to before. `deploy uninstall`
gives all of it back.")]
    Adopt(AdoptOptions),
    /// Give a host back: nothing of ours stays but, unless that is asked for, the state of services
    #[command(after_help = "Examples:
  deploy uninstall web-1             what would go, what comes back, what stays; asks
  deploy uninstall web-1 --yes       the state of services stays
  deploy uninstall web-1 --yes --delete-data

Works again after it was broken off. Exit code 5 while an activation runs.")]
    Uninstall(UninstallOptions),
    /// Print completions for a shell
    #[command(after_help = "Example:
  deploy completions bash > /etc/bash_completion.d/deploy")]
    Completions { shell: clap_complete::Shell },
    /// Print the licences of what this program is made of
    Notices,
    /// Write the manual pages
    Man {
        /// Folder to write to [default: print the main page]
        dir: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub struct LockOptions {
    /// `images` or `images.NAME`
    #[arg(value_name = "TARGET", default_value = "images")]
    pub targets: Vec<String>,
    /// Take a package index although it is past its date
    #[arg(long)]
    pub accept_stale: bool,
    /// Take an older release of this suite than the locked one; may be repeated
    #[arg(long, value_name = "SUITE")]
    pub accept_older_release: Vec<String>,
    /// Take a release signed by this key and none of the locked ones; may be repeated
    #[arg(long, value_name = "FINGERPRINT")]
    pub accept_signer: Vec<String>,
    /// Take another file for the locked version of this package; may be repeated
    #[arg(long, value_name = "NAME")]
    pub accept_changed_hash: Vec<String>,
    /// Leave out Python packages uploaded at this time or later: a date, an RFC 3339 time, or `none`
    /// [default: as locked before]
    #[arg(long, value_name = "TIME")]
    pub exclude_newer: Option<ExcludeNewer>,
}

#[derive(Debug, Args)]
pub struct BuildOptions {
    /// `images`, `hosts`, `images.NAME` or `hosts.NAME`
    #[arg(value_name = "TARGET", required = true)]
    pub targets: Vec<String>,
    /// Platforms of images; several give one image index [default: this machine's]
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    pub platform: Vec<Platform>,
    /// Run every step again and say which file differs
    #[arg(long)]
    pub check: bool,
    /// Copy the result of the one target here
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Steps at once [default: one more than there are processors]
    #[arg(long, short, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub jobs: usize,
}

#[derive(Debug, Subcommand)]
pub enum ConfigAction {
    /// Variables of a host's services, with the file and line that set each
    Show { host: String },
    /// What can be set, as an environment file
    Template {
        /// [default: every image that describes its environment]
        #[arg(value_name = "IMAGE")]
        images: Vec<String>,
        /// As tables in Markdown
        #[arg(long)]
        docs: bool,
    },
}

#[derive(Debug, Args)]
pub struct CopyOptions {
    /// Hosts, fleets, @TAG, or patterns such as 'edge-*'
    #[arg(value_name = "HOST", required = true)]
    pub hosts: Vec<String>,
    #[command(flatten)]
    pub reach: ReachOptions,
}

#[derive(Debug, Args)]
pub struct SwitchOptions {
    /// Hosts, fleets, @TAG, or patterns such as 'edge-*'
    #[arg(value_name = "HOST", required_unless_present = "plan")]
    pub hosts: Vec<String>,
    /// Apply exactly this plan of `deploy plan --out`, if the hosts are still where it was made
    #[arg(long, value_name = "FILE", conflicts_with = "hosts")]
    pub plan: Option<PathBuf>,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    /// Seal secrets to the key of this host although it is not the one of the last time; may be given again
    #[arg(long, value_name = "HOST")]
    pub accept_recipient: Vec<String>,
    /// Build, show the plan, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Add what happens to this file, FIFO or descriptor: one JSON object a line (docs/events.md)
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    pub events: Option<PathBuf>,
    /// Why, for the host's records
    #[arg(long, short, value_name = "TEXT")]
    pub message: Option<String>,
    /// Seconds for the confirmation over a fresh connection, else the host goes back
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub confirm_within: u32,
    #[command(flatten)]
    pub rollout: RolloutOptions,
    #[command(flatten)]
    pub reach: ReachOptions,
}

#[derive(Debug, Args)]
pub struct RollbackOptions {
    /// Hosts, fleets, @TAG, or patterns such as 'edge-*'
    #[arg(value_name = "HOST", required = true)]
    pub hosts: Vec<String>,
    /// The generation to make live [default: the one before the current]
    #[arg(long, value_name = "N")]
    pub to: Option<u64>,
    /// Add what happens to this file, FIFO or descriptor: one JSON object a line (docs/events.md)
    #[arg(long, value_name = "FILE")]
    pub events: Option<PathBuf>,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    /// Why, for the host's records
    #[arg(long, short, value_name = "TEXT")]
    pub message: Option<String>,
    /// Seconds for the confirmation over a fresh connection, else the host goes back
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub confirm_within: u32,
    #[command(flatten)]
    pub reach: ReachOptions,
}

#[derive(Debug, Args)]
pub struct GenerationsOptions {
    #[arg(value_name = "HOST")]
    pub host: String,
}

#[derive(Debug, Subcommand)]
pub enum MachineAction {
    /// List machines
    List,
    /// Make and boot the machine of a host
    Start { host: String },
    /// Shut a machine down; its disk stays
    Stop { host: String },
    /// Remove a machine and all it left on this computer
    Remove { host: String },
}

#[derive(Debug, Subcommand)]
pub enum StoreAction {
    /// Check that the store is whole
    Verify {
        /// Read every file and compare hashes
        #[arg(long)]
        check_contents: bool,
    },
    /// Delete what nothing needs any more
    Gc {
        /// Only say what would go
        #[arg(long)]
        dry_run: bool,
    },
    /// Print where the store lies
    Path,
}
