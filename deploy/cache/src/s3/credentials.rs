//! Where credentials come from, in the order that AWS's own tools have: the environment, a file, the
//! role of the instance.

use std::path::{Path, PathBuf};

use rusty_s3::Credentials;

use super::instance;
use crate::error::{CacheError, Result};

/// `None` when there are none anywhere.
pub fn find(profile: Option<&str>) -> Result<Option<Credentials>> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    // Who names a profile means that one.
    if profile.is_none()
        && let Some(found) = of_environment(&variable)?
    {
        return Ok(Some(found));
    }
    let file = variable("AWS_SHARED_CREDENTIALS_FILE")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(variable("HOME")?).join(".aws/credentials")));
    let named = profile.map(str::to_owned).or_else(|| variable("AWS_PROFILE"));
    if let Some(found) = file.map(|file| of_file(&file, named.as_deref())).transpose()?.flatten() {
        return Ok(Some(found));
    }
    if let Some(profile) = named {
        return Err(CacheError::Credentials { reason: format!("no file of credentials has a profile `{profile}`") });
    }
    if variable("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(None);
    }
    let endpoint = variable("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    instance::role(endpoint.as_deref().unwrap_or(instance::ENDPOINT))
}

fn of_environment(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Credentials>> {
    match (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY")) {
        (None, None) => Ok(None),
        (Some(key), Some(secret)) => Ok(Some(with_token(key, secret, variable("AWS_SESSION_TOKEN")))),
        _ => Err(CacheError::Credentials {
            reason: "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together, and one of them is not set".to_owned(),
        }),
    }
}

fn with_token(key: String, secret: String, token: Option<String>) -> Credentials {
    match token {
        Some(token) => Credentials::new_with_token(key, secret, token),
        None => Credentials::new(key, secret),
    }
}

fn of_file(file: &Path, profile: Option<&str>) -> Result<Option<Credentials>> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(of_text(&text, profile.unwrap_or("default"))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(CacheError::Credentials { reason: format!("cannot read {}: {e}", file.display()) }),
    }
}

/// `[PROFILE]`, and below it `KEY = VALUE`.
pub(crate) fn of_text(text: &str, profile: &str) -> Option<Credentials> {
    let (mut within, mut key, mut secret, mut token) = (false, None, None, None);
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            within = name.trim() == profile;
        } else if let Some((name, value)) = line.split_once('=').filter(|_| within) {
            let value = Some(value.trim().to_owned());
            match name.trim() {
                "aws_access_key_id" => key = value,
                "aws_secret_access_key" => secret = value,
                "aws_session_token" => token = value,
                _ => {}
            }
        }
    }
    Some(with_token(key?, secret?, token))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_profile_of_a_file_is_read() {
        let text = "# c\n[default]\naws_access_key_id = A\naws_secret_access_key=B=\n\n[ ci ]\n\
                    aws_access_key_id = C\naws_secret_access_key = D\naws_session_token = E\n[half]\naws_access_key_id = F\n";
        let read = |profile| {
            of_text(text, profile).map(|c| (c.key().to_owned(), c.secret().to_owned(), c.token().map(str::to_owned)))
        };
        assert_eq!(read("default"), Some(("A".to_owned(), "B=".to_owned(), None)));
        assert_eq!(read("ci"), Some(("C".to_owned(), "D".to_owned(), Some("E".to_owned()))));
        assert_eq!((read("half"), read("none")), (None, None));
    }

    #[test]
    fn half_of_a_pair_is_an_error() {
        let environment = |set: &'static [&'static str]| {
            of_environment(&move |name| set.contains(&name).then(|| name.to_owned())).map(|found| found.is_some())
        };
        assert!(!environment(&[]).unwrap());
        assert!(environment(&["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]).unwrap());
        assert!(environment(&["AWS_ACCESS_KEY_ID"]).unwrap_err().to_string().contains("go together"));
    }
}
