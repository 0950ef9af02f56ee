//! Changes to the index's text. The user's comments, order and spacing stay.

use std::path::Path;

use toml_edit::{Array, DocumentMut, Item, Table, value};

use super::{Entry, Index};
use crate::generate::Generator;
use crate::name::{HostPattern, SecretName};
use crate::recipient::Recipient;
use crate::{Result, SecretsError};

/// The text of an index, being changed.
pub(crate) struct Editor {
    document: DocumentMut,
}

impl Editor {
    /// Only for a text that [`Index::parse`] takes.
    pub fn new(file: &Path, text: &str) -> Result<Self> {
        let parsed = text.parse::<DocumentMut>();
        let mut document =
            parsed.map_err(|e| SecretsError::Index { faults: vec![format!("{}: {e}", file.display())] })?;
        // Comments of an index that declares nothing yet are its end; they belong before what comes.
        let comments = document.trailing().as_str().unwrap_or_default().to_owned();
        if document.is_empty() && !comments.is_empty() {
            let mut first = Table::new();
            first.decor_mut().set_prefix(comments + "\n");
            document.insert("operators", Item::Table(first));
            document.set_trailing("");
        }
        Ok(Self { document })
    }

    /// The new text, and what it says.
    pub fn finish(self, file: &Path) -> Result<(String, Index)> {
        let text = self.document.to_string();
        let index = Index::parse(file, &text)?;
        Ok((text, index))
    }

    pub fn set_key(&mut self, section: &str, name: &str, key: &Recipient) {
        set(section_of(self.document.as_table_mut(), section), name, value(key.as_str()));
    }

    /// Says which project the files belong to.
    pub fn set_vault(&mut self, id: &str) {
        set(self.document.as_table_mut(), "vault", value(id));
    }

    /// Adds a secret that is not there yet.
    pub fn declare(&mut self, name: &SecretName, hosts: &[HostPattern]) {
        let secrets = section_of(self.document.as_table_mut(), "secrets");
        // Only `[secrets.NAME]` headers, no `[secrets]` of its own.
        secrets.set_implicit(true);
        let mut entry = Table::new();
        entry.insert("hosts", value(hosts.iter().map(HostPattern::as_str).collect::<Array>()));
        secrets.insert(name.as_str(), Item::Table(entry));
    }

    pub fn set_generator(&mut self, name: &SecretName, generator: Generator) {
        self.set_in_secret(name, "generate", value(generator.to_string()));
    }

    /// What `deploy` records about a file.
    pub fn set_sealed(&mut self, name: &SecretName, entry: &Entry) {
        self.set_in_secret(name, "version", value(i64::try_from(entry.version).unwrap_or(i64::MAX)));
        let readers = entry.sealed_to.iter().map(ToString::to_string).collect::<Array>();
        self.set_in_secret(name, "sealed-to", value(readers));
    }

    fn set_in_secret(&mut self, name: &SecretName, key: &str, item: Item) {
        let secrets = section_of(self.document.as_table_mut(), "secrets");
        if let Some(entry) = secrets.get_mut(name.as_str()).and_then(Item::as_table_like_mut) {
            set(entry, key, item);
        }
    }
}

/// A table of the document, made at its end when there is none. Inline tables are opened up, so
/// that they can take comments and long lines.
fn section_of<'a>(document: &'a mut Table, name: &str) -> &'a mut Table {
    let item = document.entry(name).or_insert_with(|| Item::Table(Table::new()));
    if !item.is_table() {
        let table = std::mem::take(item).into_table().unwrap_or_default();
        *item = Item::Table(table);
    }
    match item {
        Item::Table(table) => table,
        _ => unreachable!("it was made a table just now"),
    }
}

/// Replaces a value and keeps what is written around it: a comment after it, spaces before it.
fn set(table: &mut dyn toml_edit::TableLike, key: &str, item: Item) {
    match (table.get_mut(key), item) {
        (Some(Item::Value(old)), Item::Value(mut new)) => {
            *new.decor_mut() = old.decor().clone();
            *old = new;
        }
        (_, item) => drop(table.insert(key, item)),
    }
}
