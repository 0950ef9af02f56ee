//! `deploy secrets init`: from nothing, or from a colleague's clone, to a vault one can use.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::accepted::Approve;
use crate::check::ProjectHost;
use crate::error::at;
use crate::identity::{Identities, default_file, make_identity};
use crate::name::{SecretName, is_plain};
use crate::recipient::Recipient;
use crate::vault::{FOLDER, INDEX, NewValue, Vault, new_id};
use crate::{Result, files};

/// What a new index holds.
const TEMPLATE: &str = "\
# Who may read which secret. There is no secret in this file: values lie beside it, encrypted, in
# NAME.age. `deploy secrets --help` says how to change them; `deploy secrets check` checks them.
#
# Operators may read and change every secret:
#
#   [operators]
#   alice = \"age1…\" or \"ssh-ed25519 AAAA…\"
#
# A host reads with its SSH host key (`ssh-keyscan -t ed25519 ADDRESS`, compared on the host):
#
#   [hosts]
#   web-1 = \"ssh-ed25519 AAAA…\"
#
# A secret, and which hosts may read it (names, or globs such as `web-*`):
#
#   [secrets.database-password]
#   hosts = [\"web-1\"]
#   generate = \"password:32\"      # optional: made, never typed; or hex:32, base64:32
#   help = \"the API's own role\"   # optional
#
# Which project the files belong to; written by deploy:
";

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Initialised {
    /// The index, when it was made.
    pub index: Option<PathBuf>,
    /// The identity, when it was made.
    pub identity: Option<PathBuf>,
    /// The name under which the operator was added, and the key.
    pub operator: Option<String>,
    pub key: Option<Recipient>,
    /// Secrets that got their first value.
    pub generated: Vec<SecretName>,
    /// Secrets that every computer makes for its own machines.
    pub left_to_machines: Vec<SecretName>,
    /// Secrets with a value that the new operator cannot read yet.
    pub unreadable: Vec<SecretName>,
}

/// Makes what is missing: the index, an identity, the operator's entry, and values that are
/// declared with `generate`. Run again, it changes nothing.
///
/// Values that are made are encrypted to every reader, so `approve` is asked for them.
pub fn init(
    project: &Path,
    operator: &str,
    named: &[PathBuf],
    hosts: &[ProjectHost],
    approve: Approve<'_>,
) -> Result<Initialised> {
    let mut done = Initialised::default();
    // A file that is named and does not exist is where the identity is wanted.
    let wanted = named.iter().find(|file| !file.exists());
    let identities = if wanted.is_some() { Identities::none() } else { Identities::find(named)? };
    let key = match identities.public().next() {
        Some(key) => key.clone(),
        None => {
            let file = wanted.cloned().map_or_else(default_file, Ok)?;
            let key = make_identity(&file)?;
            done.identity = Some(file);
            key
        }
    };
    let dir = project.join(FOLDER);
    if dir.is_symlink() {
        let reason = io::Error::other("it is a link: put the folder itself there");
        return Err(at("write to", &dir)(reason));
    }
    fs::create_dir_all(&dir).map_err(at("make", &dir))?;
    if !Vault::exists(project) {
        let file = dir.join(INDEX);
        let text = format!("{TEMPLATE}vault = \"{}\"\n", new_id());
        files::create(&file, text.as_bytes(), 0o644).map_err(at("make", &file))?;
        done.index = Some(file);
    }
    let mut vault = Vault::open(project)?;
    if !vault.index().operators.values().any(|known| *known == key) {
        let name = free_name(&vault, operator, &key);
        vault.set_key("operators", &name, &key)?;
        done.unreadable = vault.index().secrets.keys().filter(|name| vault.file(name).exists()).cloned().collect();
        (done.operator, done.key) = (Some(name), Some(key));
    }
    let absent: Vec<SecretName> = vault
        .index()
        .secrets
        .iter()
        .filter(|(name, entry)| entry.generate.is_some() && !vault.file(name).exists())
        .map(|(name, _)| name.clone())
        .collect();
    for name in absent {
        if crate::check::is_for_machines_only(vault.entry(&name)?, hosts) {
            done.left_to_machines.push(name);
        } else {
            vault.set(&name, NewValue::Generated(None), &[], approve)?;
            done.generated.push(name);
        }
    }
    Ok(done)
}

/// The operator's name, or the name with a number when somebody else has it.
fn free_name(vault: &Vault, operator: &str, key: &Recipient) -> String {
    let plain: String = operator.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(48).collect();
    let plain = if is_plain(&plain) { plain } else { format!("operator-{}", &key.fingerprint()[..8]) };
    let taken = |name: &String| vault.index().operators.contains_key(name);
    let numbered = (2..).map(|n| format!("{plain}-{n}"));
    std::iter::once(plain.clone()).chain(numbered).find(|name| !taken(name)).unwrap_or(plain)
}
