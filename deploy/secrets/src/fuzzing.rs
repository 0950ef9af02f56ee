//! Entry points for the fuzz targets in `fuzz/`: private parsers of foreign bytes. Not an API.

use std::path::Path;

use crate::header::Header;
use crate::index::Editor;
use crate::{Index, Recipient, Result, SecretName};

/// The numbers of native and of SSH recipients that a sealed file's header names.
pub fn header(file: &[u8]) -> Option<(usize, usize)> {
    Header::read(file).map(|header| (header.native, header.ssh.len()))
}

/// Adds an operator and a secret to the text of an index, as `deploy secrets` does.
pub fn edit(file: &Path, text: &str, operator: &Recipient, secret: &SecretName) -> Result<(String, Index)> {
    let mut editor = Editor::new(file, text)?;
    editor.set_key("operators", "fuzz-operator", operator);
    editor.declare(secret, &[]);
    editor.finish(file)
}
