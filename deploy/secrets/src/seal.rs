//! Encrypts.

use std::collections::BTreeSet;
use std::io::Write as _;

use age::Encryptor;
use age::armor::{ArmoredWriter, Format};

use crate::header::{Header, Label};
use crate::index::Reader;
use crate::recipient::Recipient;
use crate::value::SecretBytes;

/// Encrypts to all of these, as ASCII text that says what it holds. The reason, when it cannot.
pub(crate) fn seal<'a>(
    value: &SecretBytes,
    recipients: impl IntoIterator<Item = &'a Recipient>,
    label: Option<&Label>,
) -> Result<Vec<u8>, String> {
    let recipients: Vec<_> =
        recipients.into_iter().map(|r| r.to_age().ok_or_else(|| format!("{r} is no key"))).collect::<Result<_, _>>()?;
    let all = recipients.iter().map(|r| &**r as &dyn age::Recipient);
    let all = all.chain(label.map(|label| label as &dyn age::Recipient));
    let encryptor = Encryptor::with_recipients(all);
    let encryptor = encryptor.map_err(|e| e.to_string())?;
    let write = || -> std::io::Result<Vec<u8>> {
        let armour = ArmoredWriter::wrap_output(Vec::new(), Format::AsciiArmor)?;
        let mut writer = encryptor.wrap_output(armour)?;
        writer.write_all(value.expose())?;
        writer.finish()?.finish()
    };
    write().map_err(|e| e.to_string())
}

impl Header {
    /// The header that a file to these readers has.
    pub fn of(readers: &[Reader<'_>], label: Option<Label>) -> Self {
        let ssh: BTreeSet<String> = readers.iter().filter_map(|r| r.key.tag()).collect();
        Self { native: readers.len() - ssh.len(), ssh, label }
    }
}
