//! A project in a temporary folder, operators' identities, and hosts with real SSH host keys.
#![allow(dead_code, clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cairn_secrets::{Identities, Index, NewValue, Recipient, Sealing, SecretBytes, SecretName, Vault, make_identity};
use tempfile::TempDir;

pub struct Project {
    pub dir: TempDir,
}

/// An operator or a host: a private key file and its public key.
pub struct Party {
    pub file: PathBuf,
    pub public: Recipient,
}

impl Party {
    pub fn identities(&self) -> Identities {
        Identities::read(std::slice::from_ref(&self.file)).unwrap()
    }

    pub fn private(&self) -> Vec<u8> {
        fs::read(&self.file).unwrap()
    }
}

impl Project {
    /// With `index` as the index; `{alice}` and so on stand for public keys.
    pub fn new() -> Self {
        let dir = TempDir::new().unwrap();
        fs::create_dir(dir.path().join("secrets")).unwrap();
        Self { dir }
    }

    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    pub fn operator(&self, name: &str) -> Party {
        let file = self.path(&format!("keys/{name}.txt"));
        let public = make_identity(&file).unwrap();
        Party { file, public }
    }

    /// A key as sshd's package makes it.
    pub fn ssh_key(&self, name: &str, passphrase: &str) -> Party {
        let file = self.path(&format!("keys/{name}"));
        fs::create_dir_all(self.path("keys")).unwrap();
        tool(
            Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", passphrase, "-C", "root@host", "-f"])
                .arg(&file),
        );
        let public = fs::read_to_string(file.with_extension("pub")).unwrap();
        Party { file, public: Recipient::parse(&public).unwrap() }
    }

    pub fn host(&self, name: &str) -> Party {
        self.ssh_key(name, "")
    }

    pub fn index(&self, text: &str) -> Vault {
        fs::write(self.path("secrets/secrets.toml"), text).unwrap();
        self.vault()
    }

    pub fn index_text(&self) -> String {
        fs::read_to_string(self.path("secrets/secrets.toml")).unwrap()
    }

    pub fn edit_index(&self, from: &str, to: &str) -> Vault {
        let text = self.index_text();
        assert!(text.contains(from), "{from:?} is not in\n{text}");
        self.index(&text.replacen(from, to, 1))
    }

    pub fn vault(&self) -> Vault {
        Vault::open(self.root()).unwrap()
    }

    pub fn file(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(&format!("secrets/{name}.age"))).unwrap()
    }
}

pub fn name(text: &str) -> SecretName {
    SecretName::parse(text).unwrap()
}

pub fn given(text: &str) -> NewValue {
    NewValue::Given(SecretBytes::new(text.as_bytes().to_vec()))
}

/// Approves every reader.
pub fn anyone(_: &Index, _: &[Sealing<'_>]) -> cairn_secrets::Result<()> {
    Ok(())
}

/// Runs a tool of the machine; it must end well. Gives its output.
#[track_caller]
pub fn tool(command: &mut Command) -> Vec<u8> {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
