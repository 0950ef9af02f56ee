//! What the header of an age file says without a key.
//!
//! A file that `deploy` writes also says which secret it holds, in a stanza of its own kind:
//!
//! ```text
//! age-encryption.org/v1
//! -> X25519 …
//! -> cairn-secret NAME VAULT [notifications]
//!
//! --- MAC
//! ```
//!
//! `VAULT` is the id in the project's index. age(1) passes over stanzas that it does not know, and the
//! header is authenticated with the file's own key. So a person who cannot decrypt the file can neither
//! change what it says, nor put it in the place of another secret.

use std::collections::{BTreeSet, HashSet};
use std::io::Read as _;

use age::EncryptError;
use age::armor::ArmoredReader;
use age_core::format::{FileKey, Stanza};

const TAG: &str = "cairn-secret";
const NOTIFICATIONS: &str = "notifications";

/// Which secret a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Label {
    pub name: String,
    /// The id of the project's secrets.
    pub vault: String,
    /// The value was made when the index said that notifications may use it.
    pub notifications: bool,
}

/// It wraps no key: nothing can be decrypted with it.
impl age::Recipient for Label {
    fn wrap_file_key(&self, _: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        let mut args = vec![self.name.clone(), self.vault.clone()];
        args.extend(self.notifications.then(|| NOTIFICATIONS.to_owned()));
        Ok((vec![Stanza { tag: TAG.to_owned(), args, body: Vec::new() }], HashSet::new()))
    }
}

/// Whom a file is encrypted to, and what it holds, as far as its header says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Header {
    /// Number of `age1…` keys.
    pub native: usize,
    /// Tags of SSH keys.
    pub ssh: BTreeSet<String>,
    /// Absent in files of age itself and of earlier versions.
    pub label: Option<Label>,
}

impl Header {
    /// `None` for bytes that are not an age file.
    pub fn read(file: &[u8]) -> Option<Self> {
        let mut text = Vec::new();
        // The header of a hundred recipients has 20 kB; a damaged end does not matter here.
        let _ = ArmoredReader::new(file).take(1 << 20).read_to_end(&mut text);
        let mut header = Self::default();
        let mut lines = text.split(|byte| *byte == b'\n').map(String::from_utf8_lossy);
        if lines.next()? != "age-encryption.org/v1" {
            return None;
        }
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["---", ..] => return Some(header),
                ["->", "X25519", ..] => header.native += 1,
                ["->", "ssh-ed25519", tag, ..] => drop(header.ssh.insert(tag.to_owned())),
                ["->", TAG, name, vault, ref rest @ ..] => {
                    header.label.get_or_insert(Label {
                        name: name.to_owned(),
                        vault: vault.to_owned(),
                        notifications: rest.contains(&NOTIFICATIONS),
                    });
                }
                _ => {}
            }
        }
        None
    }
}
