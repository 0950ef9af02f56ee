//! Encrypts, and reads what a file's header tells without a key.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};

use age::Encryptor;
use age::armor::{ArmoredReader, ArmoredWriter, Format};

use crate::index::Reader;
use crate::recipient::Recipient;
use crate::value::SecretBytes;

/// Encrypts to all of these, as ASCII text. The reason, when it cannot.
pub(crate) fn seal<'a>(
    value: &SecretBytes,
    recipients: impl IntoIterator<Item = &'a Recipient>,
) -> Result<Vec<u8>, String> {
    let recipients: Vec<_> =
        recipients.into_iter().map(|r| r.to_age().ok_or_else(|| format!("{r} is no key"))).collect::<Result<_, _>>()?;
    let encryptor = Encryptor::with_recipients(recipients.iter().map(|r| &**r as &dyn age::Recipient));
    let encryptor = encryptor.map_err(|e| e.to_string())?;
    let write = || -> std::io::Result<Vec<u8>> {
        let armour = ArmoredWriter::wrap_output(Vec::new(), Format::AsciiArmor)?;
        let mut writer = encryptor.wrap_output(armour)?;
        writer.write_all(value.expose())?;
        writer.finish()?.finish()
    };
    write().map_err(|e| e.to_string())
}

/// Whom a file is encrypted to, as far as its header says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Header {
    /// Number of `age1…` keys.
    pub native: usize,
    /// Tags of SSH keys.
    pub ssh: BTreeSet<String>,
}

impl Header {
    /// `None`: this is no age file.
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
                _ => {}
            }
        }
        None
    }

    /// The header that a file to these readers has.
    pub fn of(readers: &[Reader<'_>]) -> Self {
        let ssh: BTreeSet<String> = readers.iter().filter_map(|r| r.key.tag()).collect();
        Self { native: readers.len() - ssh.len(), ssh }
    }
}
