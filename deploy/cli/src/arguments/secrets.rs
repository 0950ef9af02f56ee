//! `deploy secrets`.

use std::path::PathBuf;

use cairn_secrets::{Generator, HostPattern, SecretName};
use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub struct SecretsOptions {
    /// A private key to decrypt with; may be given again [default: the files in DEPLOY_IDENTITY,
    /// else ~/.config/cairn/identity.txt, else ~/.ssh/id_ed25519]
    #[arg(long, global = true, value_name = "FILE")]
    pub identity: Vec<PathBuf>,
    #[command(subcommand)]
    pub action: SecretsAction,
}

#[derive(Debug, Subcommand)]
pub enum SecretsAction {
    /// Make what is missing: the index, your identity, values that are generated
    #[command(after_help = "Examples:
  deploy secrets init
  deploy secrets init --operator alice --identity ~/keys/work.txt

The private key is made with mode 0600 and stays on this computer: keep a copy where you keep
passwords. Run again, this changes nothing.")]
    Init {
        /// Your name among the operators [default: the account's]
        #[arg(long, value_name = "NAME")]
        operator: Option<String>,
        /// Encrypt to new readers without asking; they are printed
        #[arg(long, short)]
        yes: bool,
    },
    /// Give a secret a value
    #[command(after_help = "Examples:
  deploy secrets set smtp-password                    ask for it, without showing it
  pass smtp | deploy secrets set smtp-password        from a pipe, without the last line's end
  deploy secrets set tls-key --from-file server.key   every byte of a file
  deploy secrets set database-password --generate     as the index says
  deploy secrets set api-token --host 'web-*' --generate hex:32

The readers are named before anything is written. One that is new since the last time on this computer
is asked about.

A value is never an argument: arguments stand in process lists and in the shell's history.")]
    Set {
        #[arg(value_name = "NAME")]
        name: SecretName,
        /// Make the value: password:N, hex:N or base64:N [default: what the index says]
        #[arg(long, value_name = "KIND", value_parser = Generator::parse, conflicts_with = "from_file")]
        generate: Option<Option<Generator>>,
        /// Take the value from a file, as it is
        #[arg(long, value_name = "FILE")]
        from_file: Option<PathBuf>,
        /// For a new secret: a host that may read it, by name or glob; may be given again
        #[arg(long = "host", value_name = "HOST", value_parser = host_pattern)]
        hosts: Vec<HostPattern>,
        /// Encrypt to new readers without asking; they are printed
        #[arg(long, short)]
        yes: bool,
    },
    /// Change a value in your editor, on a file in memory
    #[command(after_help = "Example:
  EDITOR=nano deploy secrets edit smtp-password")]
    Edit {
        #[arg(value_name = "NAME")]
        name: SecretName,
        /// Encrypt to new readers without asking; they are printed
        #[arg(long, short)]
        yes: bool,
    },
    /// Print a value
    #[command(after_help = "Example:
  deploy secrets show database-password --reveal")]
    Show {
        #[arg(value_name = "NAME")]
        name: SecretName,
        /// Yes, print it where anybody beside you may read it
        #[arg(long)]
        reveal: bool,
    },
    /// List secrets, their versions and who can read them
    List,
    /// Encrypt files anew whose readers have changed
    #[command(after_help = "Examples:
  deploy secrets rekey                     every secret
  deploy secrets rekey database-password
  deploy secrets rekey --yes               also to readers that are new on this computer

Values and versions stay. Who lost the right to read a value may have read it: change the value.")]
    Rekey {
        #[arg(value_name = "NAME")]
        names: Vec<SecretName>,
        /// Encrypt to new readers without asking; they are printed
        #[arg(long, short)]
        yes: bool,
    },
    /// Check every file, key and host name
    #[command(after_help = "Example:
  deploy secrets check          tells all faults; exit code 1 when there are any

Without an identity everything is checked that needs none, as in a CI job.")]
    Check,
}

fn host_pattern(text: &str) -> Result<HostPattern, String> {
    HostPattern::parse(text).ok_or_else(|| "write a host's name, or a glob with `*` and `?`".to_owned())
}
