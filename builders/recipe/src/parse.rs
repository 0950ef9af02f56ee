//! TOML into types, with errors that name file, line, column and the key that was probably meant.

use std::path::{Path, PathBuf};

use cairn_formats::report::{self, Position, meant};
use serde::de::DeserializeOwned;

use crate::error::DefinitionError;

pub fn toml<T: DeserializeOwned>(file: &Path, text: &str) -> Result<T, DefinitionError> {
    let document = toml::Deserializer::parse(text).map_err(|e| syntax(file, text, &e, None))?;
    serde_path_to_error::deserialize(document).map_err(|e| {
        let key = report::key(&e.path().to_string());
        syntax(file, text, &e.into_inner(), key)
    })
}

/// A document that was put together of several. `place` says where a key stands.
pub fn merged<T: DeserializeOwned>(
    table: toml::Table,
    place: impl FnOnce(&[&str]) -> (PathBuf, Position),
) -> Result<T, DefinitionError> {
    serde_path_to_error::deserialize(table).map_err(|e| {
        let path = e.path().to_string();
        let message = e.into_inner().message().trim_end().to_owned();
        let key = report::key(&path);
        // An item of a list, `names[1]`, is two parts.
        let split = |key: &'_ str| key.replace('[', ".").replace(']', "");
        let spelt = key.as_deref().map(split).unwrap_or_default();
        let mut parts: Vec<&str> = spelt.split('.').filter(|part| !part.is_empty()).collect();
        let unknown = message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
        if let Some(unknown) = unknown
            && parts.last() != Some(&unknown)
        {
            parts.push(unknown);
        }
        let (file, Position { line, column }) = place(&parts);
        let help = meant(&message).map(|near| format!("did you mean `{near}`?"));
        let message = match &key {
            Some(key) if unknown.is_none() => format!("{key}: {message}"),
            _ => message,
        };
        DefinitionError::Syntax { file, line, column, message, help }
    })
}

fn syntax(file: &Path, text: &str, error: &toml::de::Error, key: Option<String>) -> DefinitionError {
    let Position { line, column } = Position::of(text, error.span().map_or(0, |span| span.start));
    let message = error.message().trim_end().to_owned();
    let help = meant(&message).map(|near| format!("did you mean `{near}`?"));
    let message = match key {
        Some(key) if !message.starts_with("unknown field") => format!("{key}: {message}"),
        _ => message,
    };
    DefinitionError::Syntax { file: file.to_owned(), line, column, message, help }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[allow(dead_code)]
        replicas: u32,
    }
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[allow(dead_code)]
        service: Inner,
    }

    fn error(text: &str) -> String {
        toml::<Outer>(Path::new("hosts/x.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn errors_name_place_value_and_remedy() {
        let typo = error("[service]\nreplicsa = 3\n");
        assert!(typo.starts_with("hosts/x.toml:2:1: unknown field `replicsa`"), "{typo}");
        assert!(typo.ends_with("did you mean `replicas`?"), "{typo}");
        let wrong = error("[service]\nreplicas = \"many\"\n");
        assert!(wrong.starts_with("hosts/x.toml:2:12: service.replicas: invalid type: string \"many\""), "{wrong}");
        let broken = error("[service\n");
        assert!(broken.starts_with("hosts/x.toml:1:"), "{broken}");
        let missing = error("[service]\n");
        assert!(missing.contains("missing field `replicas`"), "{missing}");
    }
}
