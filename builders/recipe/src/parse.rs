//! TOML into types, with errors that name file, line, column and the key that was probably meant.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::{DefinitionError, nearest};

pub fn toml<T: DeserializeOwned>(file: &Path, text: &str) -> Result<T, DefinitionError> {
    let document = toml::Deserializer::parse(text).map_err(|e| syntax(file, text, &e, None))?;
    serde_path_to_error::deserialize(document).map_err(|e| {
        let path = e.path().to_string();
        let path = (path != ".").then_some(path);
        syntax(file, text, &e.into_inner(), path)
    })
}

fn syntax(file: &Path, text: &str, error: &toml::de::Error, path: Option<String>) -> DefinitionError {
    let offset = error.span().map_or(0, |span| span.start.min(text.len()));
    let before = &text.as_bytes()[..offset];
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|b| **b != b'\n').count() + 1;
    let message = error.message().trim_end().to_owned();
    let help = unknown_key_help(&message);
    let message = match path {
        Some(path) if !message.starts_with("unknown field") => format!("{path}: {message}"),
        _ => message,
    };
    DefinitionError::Syntax { file: file.to_owned(), line, column, message, help }
}

/// serde words an unknown key as: unknown field `x`, expected one of `a`, `b`.
fn unknown_key_help(message: &str) -> Option<String> {
    if !message.starts_with("unknown field") && !message.starts_with("unknown variant") {
        return None;
    }
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = quoted.next()?;
    let known: Vec<&str> = quoted.collect();
    let near = nearest(unknown, known.iter().copied())?;
    Some(format!("did you mean `{near}`?"))
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
